"""A loop over stacked weights computes what the blocks written out do."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from model_zoo import create_model
from model_zoo.layers import stack
from model_zoo.layers.linear import parameter
from model_zoo.layers.norms import BatchNorm
from model_zoo.layers.stack import apply_blocks
from model_zoo.layers.stochastic import DropPath

DEPTH = 8


def of_three(name, **changes):
    model = create_model(name, num_classes=5, **changes)
    architecture = dataclasses.replace(model.architecture, depth=3)
    return dataclasses.replace(model, architecture=architecture)


def gradient_program(model, key):
    """The lowered gradient of a loss by the variables."""
    images = jax.random.normal(key, (2, *model.input_spec.size, 3))

    def loss(variables):
        outputs, _ = model.apply_train(variables, images, key)
        return jax.nn.log_softmax(outputs.logits)[:, 1].mean()

    return jax.jit(jax.grad(loss)).trace(model.shapes)


# Compiling takes longer than running, the less optimised the less.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


@pytest.mark.parametrize("name", ["vit_micro", "mixer_micro"])
def test_gradients_are_those_of_blocks_written_out(monkeypatch, key, name):
    model = of_three(name)
    written = gradient_program(model, key)
    assert "scan" not in str(written.jaxpr)
    monkeypatch.setattr(stack, "_WRITTEN_OUT", 2)
    looped = gradient_program(model, key)
    assert "scan" in str(looped.jaxpr)
    variables = {k: jnp.asarray(v) for k, v in model.init(key).items()}
    got, wanted = (
        program.lower().compile(compiler_options=QUICK)(variables)
        for program in (looped, written)
    )
    for leaf, array in wanted.items():
        error = jnp.abs(got[leaf] - array).max()
        assert error <= 1e-5 * jnp.abs(array).max(), leaf


def test_loops_in_bfloat16_too(monkeypatch, key):
    monkeypatch.setattr(stack, "_WRITTEN_OUT", 2)
    program = gradient_program(of_three("vit_micro", dtype=jnp.bfloat16), key)
    assert "scan" in str(program.jaxpr)


class Branch(nnx.Module):
    """Adds its own column, or nothing where the branch is dropped."""

    def __init__(self, rate):
        self.weight = parameter(DEPTH)
        self.drop_path = DropPath(rate)

    def __call__(self, x, rngs):
        return x + self.drop_path(jnp.broadcast_to(self.weight[...], x.shape), rngs)


def training(blocks):
    modes = {"deterministic": False, "use_running_average": False}
    return [nnx.view(b, raise_if_not_found=False, **modes) for b in blocks]


def test_every_block_keeps_its_own_rate(key):
    rates = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    blocks = [Branch(rate) for rate in rates]
    for block, row in zip(blocks, jnp.eye(DEPTH), strict=True):
        block.weight.set_value(row)
    rows = 4000
    blocks, rngs, zeros = training(blocks), nnx.Rngs(dropout=key), (rows, DEPTH)
    first = apply_blocks(blocks, jnp.zeros(zeros), rngs)
    columns = apply_blocks(blocks, jnp.zeros(zeros), rngs)
    assert (first != columns).any()
    kept = np.asarray(columns != 0)
    # Four standard deviations of a frequency among 4,000.
    np.testing.assert_allclose(kept.mean(0), 1 - np.array(rates), atol=0.032)
    np.testing.assert_allclose(columns.mean(0), 1, atol=0.1)
    # Blocks draw apart: rows that lose one block are not likelier to lose the next.
    together = np.corrcoef(kept[:, 1:].T) - np.eye(DEPTH - 1)
    assert np.abs(together).max() < 0.07


class Other(Branch):
    """Differs from a branch in its class alone."""


class Wider(nnx.Module):
    """Every second one has more weights."""

    count = 0

    def __init__(self, rate):
        Wider.count += 1
        self.weight = parameter(1 + Wider.count % 2)

    def __call__(self, x, rngs):
        return x + self.weight[...].sum()


class Counting(nnx.Module):
    """Keeps statistics, which a loop would lose."""

    def __init__(self, rate):
        self.norm = BatchNorm(DEPTH, dtype=jnp.float32)

    def __call__(self, x, rngs):
        return self.norm(x[:, None, None])[:, 0, 0]


@pytest.mark.parametrize(
    ("kinds", "loops"),
    [
        ([Branch] * DEPTH, True),
        ([Branch] * (DEPTH - 1), False),
        ([Branch] * (DEPTH - 1) + [Other], False),
        ([Wider] * DEPTH, False),
        ([Counting] * DEPTH, False),
    ],
    ids=["equal", "few", "of another class", "of other shapes", "with statistics"],
)
def test_what_is_looped(key, kinds, loops):
    def run(x, rngs=None):
        blocks = [kind(0.1) for kind in kinds]
        for _, leaf in nnx.to_flat_state(nnx.state(blocks)):
            leaf.set_value(jnp.ones(leaf.get_value().shape))
        return apply_blocks(blocks if rngs is None else training(blocks), x, rngs)

    x = jnp.ones((2, DEPTH))
    looped = str(jax.make_jaxpr(lambda x: run(x, nnx.Rngs(dropout=key)))(x))
    assert ("scan" in looped) == loops
    assert "scan" not in str(jax.make_jaxpr(run)(x))


def test_members_and_keys_vary_over_devices_while_images_do_not(key):
    mesh = jax.make_mesh((2,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    spec, rows = jax.sharding.PartitionSpec, 4

    def run(weights, x, key):
        blocks = [Branch(0.5) for _ in range(DEPTH)]
        for block in blocks:
            block.weight.set_value(weights[0])
        return apply_blocks(training(blocks), x, nnx.Rngs(dropout=key[0]))

    keys = jax.random.split(key, 2)
    weights = jnp.stack([jnp.ones(DEPTH), jnp.full(DEPTH, 100.0)])
    sharded = jax.shard_map(
        run,
        mesh=mesh,
        in_specs=(spec("d"), spec(), spec("d")),
        out_specs=spec("d"),
    )
    found = sharded(weights, jnp.zeros((rows, DEPTH)), keys)
    for i in range(2):
        alone = run(weights[i : i + 1], jnp.zeros((rows, DEPTH)), keys[i : i + 1])
        np.testing.assert_allclose(found[i * rows : (i + 1) * rows], alone, rtol=1e-6)
