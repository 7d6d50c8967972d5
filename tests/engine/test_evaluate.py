"""The engine: the same numbers however the work is cut, and nothing lost."""

import inspect
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbench.data import ArraySource, ImageArrays, load_images, open_dataset
from jaxbench.engine import calibrate, evaluate, make_data_mesh
from jaxbench.engine.step import STEPS_PER_FETCH, Stepper
from jaxbench.errors import UserError
from model_zoo import InputSpec, classifier_from_function, create_model

EIGHT = InputSpec(size=(8, 8), crop_fraction=1.0, mean=(0.5,) * 3, std=(0.25,) * 3)


@pytest.fixture(scope="module")
def model():
    return create_model("resnet_micro", num_classes=8)


@pytest.fixture(scope="module")
def variables(model):
    return model.init(jax.random.key(3))


@pytest.fixture(scope="module")
def digits(model) -> ImageArrays:
    return load_images(open_dataset("digits@test"), model.input_spec)


@pytest.fixture(scope="module")
def whole(model, variables, digits):
    """One device, one batch: what every other way of cutting must give."""
    return evaluate(
        model,
        variables,
        digits,
        batch_size=len(digits.labels),
        mesh=make_data_mesh(1),
        num_resamples=0,
        keep_logits=True,
    )


def linear(variables, images):
    """A user's own model: a plain function of flat pixels."""
    return images.reshape(len(images), -1) @ variables["kernel"]


def linear_model(apply=linear, classes: int = 8):
    return classifier_from_function(
        apply, name="linear", num_classes=classes, input_spec=EIGHT
    )


def kernel(classes: int = 8):
    draw = np.random.default_rng(0).normal(size=(192, classes))
    return {"kernel": draw.astype(np.float32)}


def assert_same(first, second):
    assert first.num_examples == second.num_examples
    assert first.columns["id"].tolist() == second.columns["id"].tolist()
    assert first.columns.keys() == second.columns.keys()
    for name, column in first.columns.items():
        if column.dtype.kind == "f":
            # float32 rounding of a forward pass whose sums are ordered differently.
            np.testing.assert_allclose(
                column, second.columns[name], rtol=1e-4, atol=1e-5, err_msg=name
            )
        else:
            np.testing.assert_array_equal(column, second.columns[name], err_msg=name)
    for name, value in first.metrics.items():
        assert value == pytest.approx(second.metrics[name], abs=1e-5), name


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_batch_size_changes_nothing(model, variables, digits, whole, batch_size):
    found = evaluate(
        model,
        variables,
        digits,
        batch_size=batch_size,
        mesh=make_data_mesh(1),
        num_resamples=0,
    )
    assert found.batch_size == batch_size
    assert_same(found, whole)


@pytest.mark.parametrize("devices", [2, 8])
@pytest.mark.parametrize("batch_size", [1, 7, 64, 289])
def test_device_count_changes_nothing(
    model, variables, digits, whole, devices, batch_size
):
    found = evaluate(
        model,
        variables,
        digits,
        batch_size=batch_size,
        mesh=make_data_mesh(devices),
        num_resamples=0,
    )
    assert found.num_devices == devices
    assert found.batch_size % devices == 0
    assert_same(found, whole)


def test_reading_from_a_source_gives_the_same(model, variables, whole):
    source = open_dataset("digits@test")
    found = evaluate(model, variables, source, batch_size=100, num_resamples=0)
    assert_same(found, whole)


def test_columns_agree_with_logits_in_float64(whole, digits):
    logits = whole.logits.astype(np.float64)
    log_z = np.log(np.exp(logits).sum(1))
    nll = log_z - logits[np.arange(len(logits)), digits.labels]
    np.testing.assert_allclose(whole.columns["nll"], nll, rtol=1e-5, atol=1e-5)
    correct = logits.argmax(1) == digits.labels
    assert whole.metrics["accuracy"] == pytest.approx(correct.mean(), abs=1e-6)
    assert whole.metrics["nll"] == pytest.approx(nll.mean(), rel=1e-5)
    assert whole.columns["id"].tolist() == list(digits.ids)


def test_more_steps_than_one_fetch(digits):
    """Buffers are handed over while the pass goes on."""
    assert len(digits.labels) > 2 * STEPS_PER_FETCH
    weights, one = kernel(), make_data_mesh(1)
    small = evaluate(
        linear_model(), weights, digits, batch_size=1, mesh=one, num_resamples=0
    )
    large = evaluate(
        linear_model(), weights, digits, batch_size=512, mesh=one, num_resamples=0
    )
    assert_same(small, large)


def test_progress_is_in_images(digits):
    seen = []
    evaluate(
        linear_model(),
        kernel(),
        digits,
        batch_size=128,
        mesh=make_data_mesh(1),
        num_resamples=0,
        progress=lambda done, total: seen.append((done, total)),
    )
    # The last batch is padded.
    assert seen == [(128, 289), (256, 289), (289, 289)]


def test_compiles_once_for_all_datasets_and_weights(digits):
    traces = []

    def counting(variables, images):
        traces.append(images.shape)
        return linear(variables, images)

    own, part = linear_model(counting), [leaf[:50] for leaf in digits[:3]]
    fewer = ImageArrays(*part, skipped=())
    evaluate(own, kernel(), digits, batch_size=64, num_resamples=0)
    before = len(traces)
    other = {"kernel": kernel()["kernel"] * 2}
    found = evaluate(own, other, fewer, batch_size=64, num_resamples=0)
    assert len(traces) == before
    assert found.timing.compile_seconds == 0.0


def test_no_implicit_transfer(model, variables, digits):
    with jax.transfer_guard("disallow"):
        found = evaluate(model, variables, digits, batch_size=96, num_resamples=0)
    assert found.num_examples == len(digits.labels)


def test_temperature_in_the_same_pass(digits):
    weights, own = kernel(), linear_model()
    fit = load_images(open_dataset("digits@validation"), EIGHT)
    found = evaluate(
        own, weights, digits, calibration=fit, batch_size=128, num_resamples=0
    )
    assert found.temperature == pytest.approx(calibrate(own, weights, fit))
    assert found.temperature != pytest.approx(1.0, abs=0.05)
    cooled = linear_model(lambda v, x: linear(v, x) / jnp.float32(found.temperature))
    twin = evaluate(cooled, weights, digits, batch_size=128, num_resamples=0)
    for name in ("nll", "brier", "ece", "auroc", "aurc", "accuracy"):
        assert found.metrics[f"{name}_ts"] == pytest.approx(
            twin.metrics[name], rel=1e-4, abs=1e-5
        ), name
    assert found.metrics["nll_ts"] < found.metrics["nll"]


def test_intervals_hold_the_value(model, variables, digits):
    found = evaluate(
        model, variables, digits, num_resamples=200, key=jax.random.key(0)
    ).metrics
    assert found["nll_low"] < found["nll"] < found["nll_high"]
    assert found["accuracy_low"] <= found["accuracy"] <= found["accuracy_high"]


def test_out_of_distribution_against_scikit_learn(digits):
    from sklearn.metrics import roc_auc_score

    own, weights = linear_model(), kernel()
    clean = evaluate(own, weights, digits, num_resamples=0)
    ood = evaluate(
        own,
        weights,
        open_dataset("digits-ood"),
        role="ood",
        reference=clean,
        num_resamples=50,
        key=jax.random.key(1),
    )
    low = ood.metrics["ood_auroc_energy_low"]
    assert low < ood.metrics["ood_auroc_energy"] < ood.metrics["ood_auroc_energy_high"]
    assert set(ood.columns["label"]) == {-1}
    score = np.concatenate([clean.columns["energy"], ood.columns["energy"]])
    truth = np.arange(len(score)) < clean.num_examples
    assert ood.metrics["ood_auroc_energy"] == pytest.approx(
        roc_auc_score(truth, score), abs=1e-6
    )


def test_reference_goes_with_ood_only(digits):
    with pytest.raises(ValueError, match='goes with role "ood"'):
        evaluate(linear_model(), kernel(), digits, role="ood", num_resamples=0)


def test_nonfinite_logits_are_counted_never_averaged(digits):
    def broken(variables, images):
        bright = images.mean((1, 2, 3))[:, None] > -0.8
        return jnp.where(bright, jnp.nan, linear(variables, images))

    found = evaluate(linear_model(broken), kernel(), digits, num_resamples=0)
    assert 0 < found.num_nonfinite < found.num_examples
    assert found.num_nonfinite == (~found.columns["finite"]).sum()
    assert np.isnan(found.metrics["nll"])


@pytest.mark.parametrize("family", ["resnet", "vit", "convnext", "mixer"])
def test_nan_in_the_weights_reaches_the_scores(family, digits):
    """XLA's reductions for CPUs can drop a NaN; the engine compiles without them."""
    own = create_model(f"{family}_micro", num_classes=8)
    weights = own.init(jax.random.key(0))
    stem = next(name for name in own.shapes if name.endswith("kernel"))
    weights[stem] = np.full_like(weights[stem], np.nan)
    found = evaluate(own, weights, digits, batch_size=64, num_resamples=0)
    assert found.num_nonfinite == found.num_examples
    assert np.isnan(found.metrics["nll"])


def test_all_wrong_arguments_at_once(digits):
    # Without the annotations' own check, as users run it.
    unchecked = inspect.unwrap(evaluate)
    with pytest.raises(ValueError, match="evaluate: ") as error:
        unchecked(
            linear_model(),
            kernel(),
            digits,
            role="oood",
            metrics=["accuracyy"],
            on_error="skp",
            batch_size=0,
            temperature=-1.0,
        )
    for part in (
        "'ood'",
        "'accuracy'",
        "'skip'",
        "batch_size is 0",
        "temperature is -1.0",
        "key is None",
    ):
        assert part in str(error.value)


def test_calibration_on_the_evaluated_images_is_refused():
    source = open_dataset("digits@test")
    with pytest.raises(ValueError, match="same images"):
        evaluate(linear_model(), kernel(), source, calibration=source, num_resamples=0)


def test_features_that_a_model_does_not_give(digits):
    with pytest.raises(ValueError, match="linear gives no features"):
        evaluate(linear_model(), kernel(), digits, keep_features=True, num_resamples=0)


def test_out_of_memory_halves_the_batch(digits, monkeypatch, caplog):
    build = Stepper.build.__func__

    def limited(cls, plan, variables, rules):
        if plan.batch_size > 20:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        return build(cls, plan, variables, rules)

    own, weights, one = linear_model(), kernel(), make_data_mesh(1)
    expected = evaluate(own, weights, digits, mesh=one, num_resamples=0)
    monkeypatch.setattr(Stepper, "build", classmethod(limited))
    with caplog.at_level(logging.WARNING):
        found = evaluate(own, weights, digits, batch_size=64, mesh=one, num_resamples=0)
    assert found.batch_size == 16
    assert "out of memory with batch size 64" in caplog.text
    assert_same(found, expected)


def test_out_of_memory_in_the_middle_starts_again(digits, monkeypatch):
    """A half-counted dataset would show in the number of rows."""
    call, calls = Stepper.__call__, []

    def failing(self, *arguments):
        calls.append(self.plan.batch_size)
        if self.plan.batch_size == 64 and len(calls) == 3:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        return call(self, *arguments)

    monkeypatch.setattr(Stepper, "__call__", failing)
    found = evaluate(
        linear_model(),
        kernel(),
        digits,
        batch_size=64,
        mesh=make_data_mesh(1),
        num_resamples=0,
    )
    assert found.batch_size == 32
    assert found.num_examples == len(digits.labels)


def test_other_runtime_errors_pass_through(digits, monkeypatch):
    def failing(cls, plan, variables, rules):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    monkeypatch.setattr(Stepper, "build", classmethod(failing))
    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        evaluate(linear_model(), kernel(), digits, num_resamples=0)


def test_labels_out_of_range(digits):
    with pytest.raises(UserError, match=r"labels 0 to 7.*5 classes.*num_classes=8"):
        evaluate(linear_model(classes=5), kernel(5), digits, num_resamples=0)


def test_images_of_another_size(digits):
    larger = create_model("resnet_micro", num_classes=8, image_size=16)
    with pytest.raises(ValueError, match=r"\(8, 8, 3\).*\(16, 16, 3\)"):
        evaluate(larger, larger.init(jax.random.key(0)), digits, num_resamples=0)


class Holed(ArraySource):
    """A source with one file that is not an image."""

    def __getitem__(self, index):
        example = super().__getitem__(index)
        return example._replace(image=b"no image") if index == 5 else example


def holed(digits: ImageArrays) -> Holed:
    return Holed("holed", digits.images, digits.labels)


def test_unreadable_image_raises_by_name(digits):
    source = holed(digits)
    with pytest.raises(UserError, match=source[5].id):
        evaluate(linear_model(), kernel(), source, num_resamples=0)


@pytest.mark.parametrize("devices", [1, 4])
def test_unreadable_image_is_skipped_and_counted(digits, devices):
    source = holed(digits)
    found = evaluate(
        linear_model(),
        kernel(),
        source,
        on_error="skip",
        mesh=make_data_mesh(devices),
        batch_size=32,
        num_resamples=0,
    )
    assert found.num_skipped == 1
    assert [one.id for one in found.skipped] == [source[5].id]
    assert found.num_examples == len(digits.labels) - 1
    assert source[5].id not in found.columns["id"]


def test_features_and_logits_only_if_asked_for(model, variables, digits, whole):
    assert whole.features is None
    found = evaluate(
        model, variables, digits, batch_size=50, keep_features=True, num_resamples=0
    )
    assert found.logits is None
    assert found.features.shape == (len(digits.labels), model.num_features)


def test_timing_is_measured(model, variables, digits):
    timing = evaluate(model, variables, digits, batch_size=24, num_resamples=0).timing
    assert timing.compile_seconds > 0
    assert 0 < timing.step_median_seconds <= timing.step_p95_seconds
    assert 0 <= timing.input_wait_seconds < timing.run_seconds
    assert timing.peak_memory_bytes > 0
    assert timing.host_memory_bytes > timing.peak_memory_bytes
