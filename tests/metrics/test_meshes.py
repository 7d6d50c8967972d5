"""Everything public takes sharded arrays, on meshes of every kind, as it takes others.

The table of calls is made of the package's public names: see `sharded_calls.py`.
"""

import inspect
from contextlib import nullcontext
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxbench import metrics as m
from jaxbench.metrics.sums import ExactSum
from tests.metrics.public import public_functions
from tests.metrics.sharded_calls import ARRAYS, CALLS, CLASSES, ROWS, spec_of

KERNELS = Path(m.__file__).parent
EXPLICIT, AUTO = AxisType.Explicit, AxisType.Auto

# Sums over devices add up in another order than those of one; the iterations of a fit
# end within 1e-6 of each other.
TOLERANCE = {"rtol": 3e-6, "atol": 2e-6}

# Results with a row for each row of the input, which keep its sharding.
BY_ROW = {
    "score_examples",
    "score_examples label_sets",
    "score_examples probabilities",
    "prediction_sets",
    "group_logits",
    "holm",
    "benjamini_hochberg",
    "clopper_pearson_upper",
    "wilson_interval",
    "VectorScaling.apply",
    "BiasCorrectedTemperature.apply",
}

# What is not called with arrays, and why.
EXEMPT = {
    "ClassificationState.empty": "takes none; every call on a state begins with it",
    "FeatureMoments.empty": "takes none; every call on a state begins with it",
    "FeatureMoments.all_reduce": "is for shard_map alone: test_frechet.py",
    "ArrayMetric.function": "a field, called for every row of the catalog",
}


def mesh_of(count, kind):
    return jax.make_mesh((count,), ("data",), axis_types=(kind,))


def placed(mesh, names, axis="data"):
    return {
        name: jax.device_put(ARRAYS[name], NamedSharding(mesh, spec_of(name, axis)))
        for name in names
    }


def called(call):
    return lambda arrays: call.function(**arrays)


def sums(result):
    """States by their totals: what a sum lost depends on the order of its terms."""
    return jax.tree.map(
        lambda x: x.total if isinstance(x, ExactSum) else x,
        result,
        is_leaf=lambda x: isinstance(x, ExactSum),
    )


def assert_equals(found, expected):
    found, expected = sums(found), sums(expected)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, **TOLERANCE), found, expected
    )


def public_names():
    yield from public_functions()
    for name in m.__all__:
        value = getattr(m, name)
        if inspect.isclass(value):
            for method, of in vars(value).items():
                own = inspect.isfunction(of) or isinstance(of, classmethod)
                if own and not method.startswith("_"):
                    yield f"{name}.{method}"


def test_case_28_every_public_name_is_called():
    called_names = {name.split()[0] for name in CALLS}
    names = set(public_names())
    assert names - called_names <= set(EXEMPT), "add calls, or say why there is none"
    # All rows of the catalogs of scores are measured by the two summaries.
    assert {f"METRICS {name}" for name in m.ARRAY_METRICS} <= set(CALLS)


def test_case_28_kernels_are_compiled_in_one_way():
    for path in KERNELS.glob("*.py"):
        assert ("jax.jit(" in path.read_text()) == (path.name == "meshes.py"), path
        assert "@jax.jit" not in path.read_text(), path


# Outside jit these do what `area_under_roc` does, and their kernels are measured by
# `summarize`. An option that takes another way has a name with a space.
ALIKE = {
    "area_under_generalized_risk_coverage",
    "area_under_risk_coverage",
    "average_precision",
    "brier_reliability",
    "brier_resolution",
    "brier_uncertainty",
    "coverage_at_95_accuracy",
    "coverage_at_99_accuracy",
    "coverage_at_accuracy",
    "ece_equal_mass",
    "excess_area_under_generalized_risk_coverage",
    "excess_area_under_risk_coverage",
    "fpr_at_tpr",
    "mce_equal_mass",
    "risk_at_80_coverage",
    "risk_at_coverage",
    "top_5_accuracy",
}
WAYS = [
    pytest.param(name, marks=pytest.mark.slow) if " " in name or name in ALIKE else name
    for name in CALLS
]


@pytest.mark.parametrize("name", WAYS)
def test_case_28_explicit_axes_outside_jit(name):
    call = CALLS[name]
    expected = call.function(**{n: ARRAYS[n] for n in call.names})
    found = call.function(**placed(mesh_of(8, EXPLICIT), call.names))
    assert_equals(found, expected)
    for leaf in jax.tree.leaves(found):
        by_row = name in BY_ROW
        assert leaf.sharding.is_fully_replicated != by_row
        assert not by_row or jax.typeof(leaf).sharding.spec[0] == "data"


@pytest.mark.slow
@pytest.mark.parametrize("kind", [EXPLICIT, AUTO], ids=str)
@pytest.mark.parametrize("count", [1, 2, 8])
def test_case_28_values_on_devices(count, kind):
    for call in CALLS.values():
        expected = jax.jit(called(call))({n: ARRAYS[n] for n in call.names})
        found = jax.jit(called(call))(placed(mesh_of(count, kind), call.names))
        assert_equals(found, expected)


# In the default run what compiles fast stands for all: a row alone, a sort, a scatter
# and a loop.
SOME = ("score_examples", "area_under_roc", "confusion_matrix", "fit_temperature")


@pytest.mark.parametrize("kind", [EXPLICIT, AUTO], ids=str)
@pytest.mark.parametrize("count", [1, 2, 8])
def test_case_28_some_values_on_devices(count, kind):
    for name in SOME:
        expected = CALLS[name].function(**{n: ARRAYS[n] for n in CALLS[name].names})
        arrays = placed(mesh_of(count, kind), CALLS[name].names)
        assert_equals(jax.jit(called(CALLS[name]))(arrays), expected)


@pytest.mark.parametrize("count", [1, 2, 8])
def test_case_28_explicit_axes_under_jit(count):
    # Shardings are types: whether a program accepts them is decided when it is lowered.
    mesh = mesh_of(count, EXPLICIT)
    for call in CALLS.values():
        with jax.set_mesh(mesh) if count == 8 else nullcontext():
            jax.jit(called(call)).trace(placed(mesh, call.names)).lower()


def test_case_28_inside_shard_map():
    mesh = mesh_of(8, EXPLICIT)
    for call in CALLS.values():

        def local(arrays, call=call):
            found = call.function(**arrays)
            return jax.tree.map(lambda x: jnp.asarray(x)[None], found)

        specs = {name: spec_of(name, "data") for name in call.names}
        mapped = jax.shard_map(local, mesh=mesh, in_specs=(specs,), out_specs=P("data"))
        jax.jit(mapped).trace(placed(mesh, call.names)).lower()


def test_case_28_two_axes_and_sharded_classes():
    mesh = jax.make_mesh((4, 2), ("data", "model"))
    by_class = NamedSharding(mesh, P("data", "model"))
    for call in CALLS.values():
        arrays = placed(mesh, call.names, ("data", "model"))
        if "logits" in arrays:
            arrays["logits"] = jax.device_put(ARRAYS["logits"], by_class)
        jax.jit(called(call)).trace(arrays).lower()
    arrays = placed(mesh, ["labels"]) | {
        "logits": jax.device_put(ARRAYS["logits"], by_class)
    }
    found = m.score_examples(arrays["logits"], arrays["labels"])
    assert_equals(found, m.score_examples(ARRAYS["logits"], ARRAYS["labels"]))
    assert jax.typeof(found.nll).sharding.spec == P("data")


def losses():
    """What has a gradient, as functions of the logits."""
    labels = ARRAYS["labels"]

    def calibration(error, **options):
        def loss(z):
            scores = m.score_examples(z, labels)
            return error(scores.confidence, scores.correct, **options)

        return loss

    def columns(z):
        scores = m.score_examples(z, labels)
        return jnp.sum(scores.entropy * scores.margin + scores.energy)

    return {
        "nll": lambda z: m.negative_log_likelihood(z, labels),
        "brier": lambda z: m.brier_score(z, labels),
        "columns": columns,
        "ece": calibration(m.expected_calibration_error),
        "smooth_ece": calibration(m.smooth_calibration_error, bandwidth=0.1),
        "frechet": lambda z: m.frechet_distance(z, ARRAYS["logits"] ** 2),
        "groups": lambda z: jnp.mean(
            m.group_logits(z, np.arange(CLASSES) % 2, num_groups=2) ** 2
        ),
    }


@pytest.mark.parametrize("name", losses())
def test_case_28_gradients(name):
    loss, z = losses()[name], ARRAYS["logits"]
    expected = jax.grad(loss)(z)
    assert np.isfinite(expected).all()
    assert np.abs(expected).max() > 0
    sharded = placed(mesh_of(8, EXPLICIT), ["logits"])["logits"]
    found = jax.jit(jax.grad(loss))(sharded)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert jax.typeof(found).sharding.spec[0] == "data"


def test_case_28_gradients_outside_jit():
    loss, z = losses()["nll"], ARRAYS["logits"]
    for kind in (EXPLICIT, AUTO):
        mesh = mesh_of(8, kind)
        with jax.set_mesh(mesh):
            found = jax.grad(loss)(placed(mesh, ["logits"])["logits"])
        np.testing.assert_allclose(found, jax.grad(loss)(z), rtol=1e-5, atol=1e-6)
    # Where neither jit nor a mesh says on which devices, JAX names the remedy.
    with pytest.raises(ValueError, match=r"jax\.set_mesh"):
        jax.grad(loss)(placed(mesh_of(8, EXPLICIT), ["logits"])["logits"])


def test_case_28_vmap_and_scan_over_sharded_members():
    mesh = mesh_of(8, EXPLICIT)
    rng = np.random.default_rng(3)
    z = rng.normal(size=(8, ROWS, CLASSES)).astype(np.float32)
    y = rng.integers(0, CLASSES, (8, ROWS)).astype(np.int32)
    expected = [m.negative_log_likelihood(*pair) for pair in zip(z, y, strict=True)]

    def step(total, pair):
        nll = m.negative_log_likelihood(*pair)
        return total + nll, nll

    for spec in (P("data"), P(None, "data")):
        pairs = [jax.device_put(a, NamedSharding(mesh, spec)) for a in (z, y)]
        found = jax.vmap(m.negative_log_likelihood)(*pairs)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    start = jax.device_put(np.float32(0), NamedSharding(mesh, P()))
    total, found = jax.lax.scan(step, start, tuple(pairs))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(total, sum(expected), rtol=1e-6)


def test_case_28_mixed_inputs():
    mesh, z, y = mesh_of(8, EXPLICIT), ARRAYS["logits"], ARRAYS["labels"]
    expected = m.negative_log_likelihood(z, y)
    on_mesh = placed(mesh, ["logits", "labels"])
    on_auto = placed(mesh_of(8, AUTO), ["logits", "labels"])
    # What nobody has put on a device goes where the rest is, and so does what lies on
    # the same devices under another kind of axes.
    for logits, labels in (
        (on_mesh["logits"], y),
        (on_mesh["logits"], jnp.asarray(y)),
        (z, on_mesh["labels"]),
        (on_mesh["logits"], on_auto["labels"]),
        (on_auto["logits"], on_mesh["labels"]),
    ):
        found = m.negative_log_likelihood(logits, labels)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    with pytest.raises(ValueError, match=r"incompatible devices.*labels"):
        m.negative_log_likelihood(
            on_mesh["logits"], jax.device_put(y, jax.devices()[1])
        )


def test_case_28_bad_values_are_refused_on_a_mesh():
    arrays = placed(mesh_of(8, EXPLICIT), ["logits", "labels", "confidence", "correct"])
    with pytest.raises(ValueError, match=r"rows of labels outside"):
        m.score_examples(arrays["logits"], arrays["labels"] + CLASSES)
    with pytest.raises(ValueError, match="confidence lies in"):
        m.expected_calibration_error(arrays["confidence"] * 9, arrays["correct"])
