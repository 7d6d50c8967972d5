"""Each row of the table against its formula in NumPy float64."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxbench.errors import UserError
from jaxbench.training import OPTIMIZERS, Hyper, get_optimizer

STEPS = 20
MASK = {"bias": False, "kernel": True}
RNG = np.random.default_rng(0)
START = {"bias": RNG.normal(size=3), "kernel": RNG.normal(size=(4, 3))}
GRADIENTS = [
    {name: RNG.normal(size=value.shape) for name, value in START.items()}
    for _ in range(STEPS)
]


def rate(step, peak):
    return peak * (1 - step / STEPS)


def sgd(p, gradients, rates, decay):
    momentum = 0.0
    for g, eta in zip(gradients, rates, strict=True):
        momentum = 0.9 * momentum + (g + decay * p)
        p = p - eta * momentum
    return p


def adamw(p, gradients, rates, decay):
    m = v = 0.0
    for t, (g, eta) in enumerate(zip(gradients, rates, strict=True), start=1):
        p = p * (1 - eta * decay)  # torch's order of the two
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        p = p - eta * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return p


def lion(p, gradients, rates, decay):
    m = 0.0
    for g, eta in zip(gradients, rates, strict=True):
        p = p - eta * (np.sign(0.9 * m + 0.1 * g) + decay * p)
        m = 0.99 * m + 0.01 * g
    return p


REFERENCES = {"sgd": sgd, "adamw": adamw, "lion": lion}


def reference(name, peak, decay):
    rates = [rate(step, peak) for step in range(STEPS)]
    return {
        leaf: REFERENCES[name](
            start, [g[leaf] for g in GRADIENTS], rates, decay if MASK[leaf] else 0.0
        )
        for leaf, start in START.items()
    }


def single(tree):
    return {name: jnp.asarray(value, jnp.float32) for name, value in tree.items()}


def trajectory(name, peak, decay):
    """The optimizer rebuilt in each step from scalars that may be traced."""
    build = OPTIMIZERS[name].build
    parameters = single(START)
    state = build(Hyper(jnp.float32(0), jnp.float32(0)), MASK).init(parameters)
    for step, gradient in enumerate(GRADIENTS):
        tx = build(Hyper(rate(step, peak), decay), MASK)
        # Optax itself is not written for JAX's strict promotion of dtypes.
        with jax.numpy_dtype_promotion("standard"):
            updates, state = tx.update(single(gradient), state, parameters)
        parameters = optax.apply_updates(parameters, updates)
    return parameters, state


# float32 over 20 steps; parameters are of order one.
TOLERANCE = {"rtol": 2e-5, "atol": 2e-6}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_jitted_trajectory_follows_the_formula(name):
    peak, decay = jnp.float32(0.05), jnp.float32(0.1)
    got, _ = jax.jit(trajectory, static_argnums=0)(name, peak, decay)
    for leaf, expected in reference(name, 0.05, 0.1).items():
        np.testing.assert_allclose(got[leaf], expected, **TOLERANCE)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_decay_acts_on_masked_parameters_and_only_there(name):
    run = jax.jit(trajectory, static_argnums=0)
    without, _ = run(name, jnp.float32(0.05), jnp.float32(0.0))
    decayed, _ = run(name, jnp.float32(0.05), jnp.float32(0.1))
    np.testing.assert_array_equal(without["bias"], decayed["bias"])
    assert np.abs(without["kernel"] - decayed["kernel"]).max() > 1e-3


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_vmap_over_hyper_parameters_equals_separate_runs(name):
    peaks, decays = jnp.asarray([1e-3, 0.02, 0.3]), jnp.asarray([0.0, 0.1, 0.5])
    run = jax.jit(jax.vmap(lambda peak, decay: trajectory(name, peak, decay)[0]))
    together = run(peaks, decays)
    for member, (peak, decay) in enumerate(zip(peaks, decays, strict=True)):
        for leaf, expected in reference(name, float(peak), float(decay)).items():
            np.testing.assert_allclose(together[leaf][member], expected, **TOLERANCE)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_keeps_its_shapes_and_dtypes_and_ignores_the_hyper_parameters(name):
    build, parameters = OPTIMIZERS[name].build, single(START)
    states = [
        build(Hyper(jnp.float32(a), jnp.float32(b)), MASK).init(parameters)
        for a, b in ((0, 0), (0.1, 0.3))
    ]
    assert jax.tree.structure(states[0]) == jax.tree.structure(states[1])
    jax.tree.map(np.testing.assert_array_equal, *states)
    _, after = jax.eval_shape(
        lambda a, b: trajectory(name, a, b), jnp.float32(0.1), jnp.float32(0.3)
    )
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), after) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), states[0]
    )


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_rows_carry_reference_defaults_and_documentation(name):
    row = OPTIMIZERS[name]
    assert row.name == name
    assert row.reference.startswith("https://")
    assert row.reference in (row.build.__doc__ or "")
    assert set(row.defaults) == {"learning_rate", "weight_decay"}
    assert row.defaults["learning_rate"] > 0


def test_an_unknown_name_gets_a_suggestion():
    with pytest.raises(UserError, match="did you mean 'adamw'"):
        get_optimizer("adam_w")
