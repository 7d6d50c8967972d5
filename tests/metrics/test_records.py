"""States and results are not sequences: they add up, or say that they do not."""

import inspect
import operator
from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbench import metrics as m
from jaxbench.metrics import ClassificationState, FeatureMoments
from tests.metrics.sharded_calls import ARRAYS, CLASSES

RECORDS = [
    value
    for value in vars(m).values()
    if inspect.isclass(value) and issubclass(value, tuple)
]
STATES = (ClassificationState, FeatureMoments)


def filled(record):
    return record(*(np.float32([1, 2]) for _ in record._fields))


def state_of(rows):
    empty = ClassificationState.empty(num_classes=CLASSES)
    return empty.update_from_logits(ARRAYS["logits"][rows], ARRAYS["labels"][rows])


def moments_of(rows):
    return FeatureMoments.empty(3).update(ARRAYS["features_a"][rows])


PARTS = slice(0, 16), slice(16, 24), slice(24, 32)


def assert_same(one, two, rtol=1e-6):
    assert type(one) is type(two)
    assert jax.tree.structure(one) == jax.tree.structure(two)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-5), one, two
    )


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_case_29_operators_of_sequences_are_refused(record):
    one = filled(record)
    for act in (operator.mul, operator.lt, operator.le, operator.gt, operator.ge):
        with pytest.raises(TypeError, match=record.__name__):
            act(one, 2 if act is operator.mul else one)
    with pytest.raises(TypeError, match=record.__name__):
        2 * one
    for other in (1, (1, 2)):
        with pytest.raises(TypeError, match=record.__name__):
            one + other
        with pytest.raises(TypeError, match=record.__name__):
            other + one
    if record not in STATES:
        with pytest.raises(TypeError, match=r"\+ is not defined for"):
            one + one
        with pytest.raises(TypeError, match=r"\+ is not defined for"):
            sum([one, one])


@pytest.mark.parametrize("part", [state_of, moments_of], ids=["counts", "moments"])
def test_case_29_states_add_up(part):
    one, two, three = (part(rows) for rows in PARTS)
    merged = one.merge(two).merge(three)
    assert_same(one + two + three, merged)
    assert_same(sum([one, two, three]), merged)
    assert_same(reduce(operator.add, [one, two, three]), merged)
    assert_same(jax.jit(operator.add)(one + two, three), merged)
    assert int(merged.num_examples) == 32
    with pytest.raises(TypeError, match="unsupported operand"):
        one + tuple(two)


def test_case_29_stacked_states_name_the_remedy():
    members = [state_of(rows) for rows in PARTS[:2]]
    stack = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)
    batch = ARRAYS["logits"], ARRAYS["labels"]
    scores = m.score_examples(*batch)
    for name, arguments in (
        ("compute", ()),
        ("error_bounds", ()),
        ("update", (scores,)),
        ("update_from_logits", batch),
    ):
        remedy = rf"stacked to \(2,\); jax.vmap\(ClassificationState.{name}\)"
        with pytest.raises(ValueError, match=remedy):
            getattr(stack, name)(*arguments)
    with pytest.raises(ValueError, match=r"\(2,\) and \(\) do not merge; jax.vmap"):
        stack.merge(members[0])
    found = jax.vmap(ClassificationState.compute)(stack)
    for i, member in enumerate(members):
        for name, value in member.compute().items():
            np.testing.assert_allclose(found[name][i], value, rtol=1e-6, atol=1e-7)
    to_all = jax.vmap(ClassificationState.merge, in_axes=(0, None))(stack, members[0])
    assert to_all.num_examples.tolist() == [32, 24]
    both = stack + stack
    assert both.num_examples.tolist() == [32, 16]


def test_case_29_stacked_moments_name_the_remedy():
    members = [moments_of(rows) for rows in PARTS[:2]]
    stack = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)
    for name, arguments in (
        ("covariance", ()),
        ("merge", (stack,)),
        ("update", (ARRAYS["features_a"],)),
    ):
        remedy = rf"stacked to \(2,\); jax.vmap\(FeatureMoments.{name}\)"
        with pytest.raises(ValueError, match=remedy):
            getattr(stack, name)(*arguments)
    with pytest.raises(ValueError, match=r"jax.vmap\(frechet_distance_of_moments\)"):
        m.frechet_distance_of_moments(stack, stack)
    found = jax.vmap(FeatureMoments.covariance)(stack)
    np.testing.assert_allclose(found[1], members[1].covariance(), rtol=1e-6)


def test_case_29_moments_are_the_carry_of_a_scan_inside_shard_map(mesh):
    features = ARRAYS["features_a"]
    spec = jax.sharding.PartitionSpec

    def local(rows):
        def step(state, batch):
            return state.update(batch), None

        empty = FeatureMoments.empty(3, varying=("data",))
        state, _ = jax.lax.scan(step, empty, rows.reshape(2, 2, 3))
        return state.all_reduce("data")

    total = jax.jit(
        jax.shard_map(local, mesh=mesh, in_specs=spec("data"), out_specs=spec())
    )(features)
    assert_same(total, moments_of(slice(None)), rtol=1e-5)
