"""Each row of the table against the same optimizer in other people's code.

The trajectories in `trajectories/` come from `scripts/make_trajectories.py`: 20 steps
in float64 of torch, timm or pytorch_optimizer. A row without one fails.
"""

import functools
import itertools
import json
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxbench.errors import UserError
from jaxbench.training.optimizers import (
    OPTIMIZERS,
    Hyper,
    Leaves,
    get_optimizer,
    hyper_for,
)
from jaxbench.training.optimizers.kernels import occasionally
from jaxbench.training.planning import pairing_problems
from jaxbench.training.recipes import get_recipe
from jaxbench.training.specs import UpdateSpec
from jaxbench.training.starts import Start
from tests.training.trajectories import problem

FOLDER = Path(__file__).parent / "trajectories"
LEAVES = Leaves(problem.DECAY, problem.OUTPUT)

# float32 over 20 steps of at most 0.05; parameters are of order one.
TOLERANCE = {"rtol": 2e-5, "atol": 5e-6}
# The smallest of SOAP's eigenvalues are a thousandth of the largest, and float32 has
# their eigenvectors to three digits or less: its trajectory is compared in float64.
IN_FLOAT64 = {"soap"}
LOOSER = {"soap": {"rtol": 1e-4, "atol": 1e-3}}


class Reference(NamedTuple):
    """One stored trajectory, and what it was made with."""

    source: str
    factors: np.ndarray
    hyper: Hyper
    parameters: dict[str, dict[str, np.ndarray]]


@functools.cache
def reference(name):
    with np.load(FOLDER / f"{name}.npz") as file:
        arrays = dict(file)
    parameters = {}
    for key in arrays:
        if "/" in key:
            prefix, _, leaf = key.partition("/")
            parameters.setdefault(prefix, {})[leaf] = arrays[key]
    rates, options = arrays["rates"], json.loads(str(arrays["options"]))
    hyper = hyper_for(
        OPTIMIZERS[name], rates[0], float(arrays["weight_decay"]), **options
    )
    return Reference(str(arrays["source"]), rates / rates[0], hyper, parameters)


def single(tree):
    return {name: jnp.asarray(value, jnp.float32) for name, value in tree.items()}


START = single(problem.START)
NOISE = jax.tree.map(lambda *steps: jnp.stack(steps), *map(single, problem.NOISE))


class Followed(NamedTuple):
    """Parameters after every step, and those to evaluate at the end."""

    parameters: dict[str, jax.Array]
    evaluated: dict[str, jax.Array]


def trajectory(name, hyper, start, factors, noise, pull):
    """The optimizer rebuilt in each step from scalars that are traced."""
    row = OPTIMIZERS[name]
    initial = hyper_for(row, 0.0, 0.0)

    def transformation(hyper):
        return optax.with_extra_args_support(row.build(hyper, LEAVES))

    def step(carry, inputs):
        parameters, state = carry
        index, factor, noise = inputs
        tx = transformation(hyper._replace(learning_rate=hyper.learning_rate * factor))
        others = {"value": jnp.float32(1)}
        if row.curvature_every:
            # What is given in steps in which it is not due must not be looked at.
            due = jnp.where(index % row.curvature_every == 0, 1, jnp.nan)
            others["curvature"] = jax.tree.map(
                lambda c: due * c, problem.curvature(noise)
            )
        slopes = problem.gradient(parameters, noise, pull)
        updates, state = tx.update(slopes, state, parameters, **others)
        parameters = optax.apply_updates(parameters, updates)
        return (parameters, state), parameters

    # Optax itself is not written for JAX's strict promotion of dtypes.
    with jax.numpy_dtype_promotion("standard"):
        steps = (jnp.arange(problem.STEPS), factors, noise)
        begin = (start, transformation(initial).init(start))
        # The scan refuses a state whose structure, shapes or dtypes change.
        (last, state), path = jax.lax.scan(step, begin, steps)
        evaluated = row.evaluated(hyper, state, last) if row.evaluated else last
    return Followed(path, evaluated)


@functools.cache
def compiled(name, *, stacked):
    run = functools.partial(trajectory, name)
    if stacked:
        run = jax.vmap(run, in_axes=(0, None, None, None, None))
    # Most of the time of these tests is compilation.
    return jax.jit(run, compiler_options={"xla_backend_optimization_level": 0})


def follow(name, hyper, *, stacked=False, noise=NOISE, pull=problem.PULL):
    run = compiled(name, stacked=stacked)
    factors = jnp.asarray(reference(name).factors, jnp.float32)
    return jax.device_get(run(hyper, START, factors, noise, jnp.float32(pull)))


def follow_in_float64(name, hyper):
    noise = jax.tree.map(lambda *steps: np.stack(steps), *problem.NOISE)
    factors, pull = reference(name).factors, np.float64(problem.PULL)
    with jax.enable_x64(True):
        wide = jax.tree.map(np.float64, hyper)
        run = compiled(name, stacked=False)
        return jax.device_get(run(wide, problem.START, factors, noise, pull))


def varied(name):
    """The reference's hyper-parameters, and others that differ in one each."""
    base = reference(name).hyper
    members = {
        "reference": base,
        "learning_rate": base._replace(learning_rate=base.learning_rate / 2),
        "weight_decay": base._replace(weight_decay=jnp.float32(0)),
    }
    for option, value in base.options.items():
        # Half of most epsilons is as invisible as the whole.
        other = jnp.float32(0.1) if option == "epsilon" else value / 2
        other = jnp.float32(10) if option == "delta" else other
        members[option] = base._replace(options={**base.options, option: other})
    return members


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_trajectory_follows_the_reference(name):
    expected = reference(name)
    got = (follow_in_float64 if name in IN_FLOAT64 else follow)(name, expected.hyper)
    for step in problem.STORED:
        for leaf, value in expected.parameters[f"{step}"].items():
            np.testing.assert_allclose(
                got.parameters[leaf][step - 1],
                value,
                **TOLERANCE,
                err_msg=f"{leaf} after step {step}, against {expected.source}",
            )
    assert ("evaluated" in expected.parameters) == (
        OPTIMIZERS[name].evaluated is not None
    )
    for leaf, value in expected.parameters.get("evaluated", {}).items():
        np.testing.assert_allclose(got.evaluated[leaf], value, **TOLERANCE)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_vmap_over_all_hyper_parameters_equals_separate_runs_and_each_has_an_effect(
    name,
):
    members = varied(name)
    stack = jax.tree.map(lambda *values: jnp.stack(values), *members.values())
    together = follow(name, stack, stacked=True)
    tolerance = LOOSER.get(name, TOLERANCE)
    alone = {key: follow(name, hyper) for key, hyper in members.items()}
    for index, (key, path) in enumerate(alone.items()):
        for leaf, expected in path.parameters.items():
            got = together.parameters[leaf][index]
            np.testing.assert_allclose(got, expected, **tolerance, err_msg=key)
    for key in list(alone)[1:]:
        differences = jax.tree.map(
            lambda a, b: np.abs(a - b).max(), alone["reference"], alone[key]
        )
        assert max(jax.tree.leaves(differences)) > 1e-6, key


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_without_gradients_only_what_decays_moves(name):
    still = jax.tree.map(jnp.zeros_like, NOISE)
    path = follow(name, reference(name).hyper, noise=still, pull=0.0)
    for leaf, start in START.items():
        assert np.isfinite(path.parameters[leaf]).all()
        stays = np.array_equal(path.parameters[leaf][-1], start)
        assert stays != problem.DECAY[leaf], leaf


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_first_state_ignores_the_hyper_parameters(name):
    row = OPTIMIZERS[name]
    other = {option: value / 2 for option, value in row.options.items()}
    hypers = hyper_for(row, 0.0, 0.0), hyper_for(row, 0.1, 0.3, **other)
    states = (row.build(hyper, LEAVES).init(START) for hyper in hypers)
    jax.tree.map(np.testing.assert_array_equal, *states)


# Their states mix the steps of all parameters.
WITH_A_SINGLE_RATE = {"prodigy", "schedule_free_adamw"}
RATES = dict(zip(sorted(problem.START), itertools.cycle((0.25, 1.0, 0.5))))


def with_rates_by_layer(name, steps=4):
    """Ours, and the largest gap to an optimizer for each rate as torch has groups.

    Both see the gradients at our parameters, so that their states stay comparable.
    """
    row, hyper = OPTIMIZERS[name], reference(name).hyper
    spec = UpdateSpec(
        row,
        None,
        frozenset(n for n, decays in problem.DECAY.items() if decays),
        frozenset(n for n, is_output in problem.OUTPUT.items() if is_output),
        tuple(RATES.items()),
    )

    def grouped(rate):
        # Both of AdaBound's rates fall: else all layers would end with one rate.
        options = {
            option: rate * value if option == "final_learning_rate" else value
            for option, value in hyper.options.items()
        }
        scaled = Hyper(rate * hyper.learning_rate, hyper.weight_decay, options)
        return optax.with_extra_args_support(row.build(scaled, LEAVES))

    @jax.jit
    def run(parameters):
        ours = spec.transformation(hyper, parameters)
        groups = {rate: grouped(rate) for rate in set(RATES.values())}
        state = ours.init(parameters)
        states = {rate: group.init(parameters) for rate, group in groups.items()}
        gaps = []
        for index in range(steps):
            noise = jax.tree.map(lambda leaf, at=index: leaf[at], NOISE)
            slopes = problem.gradient(parameters, noise, jnp.float32(problem.PULL))
            others = {"value": jnp.float32(1), "curvature": problem.curvature(noise)}
            raw, state = ours.update(slopes, state, parameters, **others)
            updates = {n: RATES[n] * update for n, update in raw.items()}
            for rate, group in groups.items():
                wanted, states[rate] = group.update(
                    slopes, states[rate], parameters, **others
                )
                gaps += [
                    jnp.abs(updates[n] - wanted[n]).max() / jnp.abs(wanted[n]).max()
                    for n in updates
                    if RATES[n] == rate
                ]
            parameters = optax.apply_updates(parameters, updates)
        return jnp.nanmax(jnp.stack(gaps))

    with jax.numpy_dtype_promotion("standard"):
        return float(run(START))


@pytest.mark.parametrize("name", sorted(OPTIMIZERS.keys() - WITH_A_SINGLE_RATE))
def test_case_20_rates_by_layer_are_those_of_parameter_groups(name):
    assert OPTIMIZERS[name].single_rate is None
    # float32 rounding of steps that are scaled before or after.
    assert with_rates_by_layer(name) < 1e-5


@pytest.mark.parametrize("name", sorted(WITH_A_SINGLE_RATE))
def test_case_20_a_state_with_a_single_rate_is_refused_rates_by_layer(name):
    begin = Start(None, layer_decay=0.5)
    found = list(pairing_problems(OPTIMIZERS[name], get_recipe("plain"), begin, None))
    assert len(found) == 1
    assert found[0].startswith(f"{name} cannot have rates by layer")


def test_lars_has_its_rate_within_the_momentum():
    # Its trajectory, from timm, has a constant rate, where both are equal.
    factors = 1 - np.arange(problem.STEPS) / problem.STEPS
    hyper = hyper_for(OPTIMIZERS["lars"], 5.0, 0.1)
    parameters = dict(problem.START)
    momentum = dict.fromkeys(parameters, 0.0)
    for factor, noise in zip(factors, problem.NOISE, strict=True):
        slopes = problem.gradient(parameters, noise)
        for leaf, g in slopes.items():
            p = parameters[leaf]
            if problem.DECAY[leaf]:
                length = np.linalg.norm(p)
                ratio = 0.001 * length / (np.linalg.norm(g) + 0.1 * length)
                g = ratio * (g + 0.1 * p)
            momentum[leaf] = 0.9 * momentum[leaf] + 5.0 * factor * g
            parameters[leaf] = p - momentum[leaf]
    run = compiled("lars", stacked=False)
    pull = jnp.float32(problem.PULL)
    got = run(hyper, START, jnp.asarray(factors, jnp.float32), NOISE, pull)
    for leaf, expected in parameters.items():
        np.testing.assert_allclose(got.parameters[leaf][-1], expected, **TOLERANCE)


def test_what_is_due_occasionally_is_skipped_under_vmap_too():
    calls = []

    def expensive(operand):
        jax.debug.callback(lambda: calls.append(1))
        return operand + 1

    run = jax.jit(jax.vmap(lambda due, x: occasionally(due, expensive, x), (0, None)))
    for due in ([False, False], [True, False]):
        calls.clear()
        got = run(jnp.asarray(due), jnp.arange(3.0))
        jax.effects_barrier()
        assert bool(calls) == any(due)
        for row, is_due in zip(got, due, strict=True):
            np.testing.assert_array_equal(row, np.arange(3.0) + is_due)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_rows_carry_reference_defaults_title_and_documentation(name):
    row = OPTIMIZERS[name]
    assert row.name == name
    assert row.title
    assert row.reference.startswith("https://")
    assert row.reference in (row.build.__doc__ or "")
    assert set(row.defaults) == {"learning_rate", "weight_decay"}
    assert row.defaults["learning_rate"] > 0


def test_every_trajectory_belongs_to_a_row():
    assert {path.stem for path in FOLDER.glob("*.npz")} == set(OPTIMIZERS)


def test_an_unknown_name_gets_a_suggestion():
    with pytest.raises(UserError, match="did you mean 'adamw'"):
        get_optimizer("adam_w")
    with pytest.raises(UserError, match=r"option of adam .*did you mean 'beta1'"):
        hyper_for(OPTIMIZERS["adam"], 1e-3, 0.0, beta_1=0.5)
