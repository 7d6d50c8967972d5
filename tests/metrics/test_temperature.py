import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbench.metrics import (
    fit_temperature,
    negative_log_likelihood,
    score_examples,
)
from tests.reference import metrics as reference

LOWEST, HIGHEST = 0.01, 100.0


def test_temperature_is_the_float64_minimum(cases):
    for name in ("random", "skilled", "tied", "saturated"):
        case = cases[name]
        twin = reference.temperature(*case)
        # The NLL is flat at its minimum: float32 sums place it to about 1e-4.
        assert float(fit_temperature(*case)) == pytest.approx(twin, rel=2e-4), name


def test_scaling_the_logits_scales_the_temperature(cases):
    case = cases["random"]
    base = float(fit_temperature(*case))
    for factor in (0.1, 3.0, 12.0):
        scaled = case.logits * np.float32(factor)
        found = float(fit_temperature(scaled, case.labels))
        assert found == pytest.approx(base * factor, rel=1e-4)


def test_sampled_labels_recover_their_temperature():
    rng = np.random.default_rng(0)
    logits = (rng.normal(size=(20_000, 5)) * 2).astype(np.float32)
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(1).astype(np.int32)
    found = float(fit_temperature(logits * np.float32(2.5), labels))
    assert found == pytest.approx(2.5, rel=0.03)


def test_vmap_fits_each_model_and_jit_agrees(cases):
    chosen = [cases["random"], cases["all right"], cases["all wrong"]]
    logits = np.stack([case.logits for case in chosen])
    labels = np.stack([case.labels for case in chosen])
    together = jax.jit(jax.vmap(fit_temperature))(logits, labels)
    alone = [float(fit_temperature(*case)) for case in chosen]
    np.testing.assert_allclose(together, alone, rtol=1e-5)


def test_degenerate_fits_end_at_the_bounds(cases):
    assert float(fit_temperature(*cases["all right"])) == pytest.approx(LOWEST)
    assert float(fit_temperature(*cases["all wrong"])) == pytest.approx(HIGHEST)
    assert float(fit_temperature(*cases["equal logits"])) == 1.0


def test_fit_improves_the_likelihood_and_skips_masked_rows(cases, pad):
    case = cases["random"]
    temperature = fit_temperature(*case)
    after = score_examples(*case, temperature=temperature).nll.mean()
    assert after < negative_log_likelihood(*case)
    padded, mask = pad(case, 23)
    masked = fit_temperature(*padded, mask=mask)
    assert float(masked) == pytest.approx(float(temperature), rel=1e-5)


def test_class_mask_fits_on_the_classes_that_are_left(cases):
    case = cases["random"]
    keep = np.arange(10) < 6
    labels = case.labels % 6
    narrow = fit_temperature(case.logits[:, :6], labels)
    logits = case.logits.copy()
    logits[:, 8] = np.inf
    masked = fit_temperature(logits, labels, class_mask=keep)
    assert float(masked) == pytest.approx(float(narrow), rel=1e-5)
    assert np.isnan(fit_temperature(logits, labels + 4, class_mask=keep))


def test_broken_rows_and_labels_make_the_fit_nan(cases):
    case = cases["random"]
    logits, labels = case.logits.copy(), case.labels.copy()
    logits[7, 1] = np.nan
    assert np.isnan(fit_temperature(logits, case.labels))
    labels[7] = -1
    assert np.isnan(fit_temperature(case.logits, labels))
    mask = jnp.arange(160) != 7
    assert np.isfinite(fit_temperature(logits, labels, mask=mask))


def test_nothing_to_fit_is_an_error_outside_jit_and_nan_inside(cases):
    nothing = np.zeros(160, bool)
    with pytest.raises(ValueError, match="excludes all 160 rows"):
        fit_temperature(*cases["random"], mask=nothing)
    inside = jax.jit(lambda m: fit_temperature(*cases["random"], mask=m))
    assert np.isnan(inside(nothing))


def test_wrong_arguments_are_named_all_at_once(cases, users_types):
    logits, labels = cases["random"]
    mask, classes = np.ones(160, bool), np.ones(10, bool)
    wrong = {
        "labels of dtype float32": dict(labels=labels.astype(np.float32)),
        r"labels of shape \(160, 1\) and dtype int32.* labels\[:, 0\]": dict(
            labels=labels[:, None]
        ),
        r"labels of shape \(159,\).*wanted integers of shape \(160,\)": dict(
            labels=labels[1:]
        ),
        r"logits of shape \(10,\); wanted \[n, k\]": dict(logits=logits[0]),
        r"logits of shape \(160, 0\)": dict(logits=logits[:, :0]),
        "logits of dtype int32": dict(logits=logits.astype(np.int32)),
        r"mask of shape \(10,\)": dict(mask=classes),
        # As an index, 0 and 1 would pick rows.
        "mask of dtype int32": dict(mask=mask.astype(np.int32)),
        r"class_mask of shape \(160,\)": dict(class_mask=mask),
        "(?s)labels of dtype float32.*class_mask of dtype float32": dict(
            labels=labels.astype(np.float32), class_mask=classes.astype(np.float32)
        ),
    }
    for message, changed in wrong.items():
        arguments = dict(logits=logits, labels=labels) | changed
        with pytest.raises(ValueError, match=message):
            fit_temperature(**arguments)
        # Shapes and dtypes are known under jit, too.
        with pytest.raises(ValueError, match=message):
            jax.jit(fit_temperature)(**arguments)
    with pytest.raises(ValueError, match="logits has 0 rows"):
        fit_temperature(logits[:0], labels[:0])
