"""Features: what a pass gives, and that a second one is not needed."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxbench.data import load_images, open_dataset, take
from jaxbench.engine import evaluate
from jaxbench.errors import UserError
from jaxbench.probing import (
    FeatureCache,
    Features,
    LinearHead,
    extract_features,
    features_key,
    fit_probe_temperature,
    score_columns,
)
from model_zoo import InputSpec, create_model
from tests.probing import twins

SPEC = InputSpec(size=(8, 8))


@pytest.fixture(scope="module")
def model():
    classifier = create_model("mixer_micro", num_classes=8)
    return classifier, classifier.init(jax.random.key(0))


@pytest.fixture(scope="module")
def images(model):
    source = take(open_dataset("digits@test"), 50)
    return load_images(source, model[0].input_spec)


@pytest.fixture(scope="module")
def passed(model, images):
    return evaluate(
        *(*model, images),
        metrics=("accuracy",),
        num_resamples=0,
        batch_size=16,
        keep_logits=True,
        keep_features=True,
    )


def test_features_are_those_of_an_evaluation(model, images, passed):
    found = extract_features(*model, images, batch_size=16)
    # The same network in another program: rounding of the last bit.
    np.testing.assert_allclose(found.values, passed.features, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found.labels, images.labels)
    assert found.ids.tolist() == list(images.ids)
    assert found.values.dtype == np.float32
    assert found.seconds > 0


def test_a_head_of_other_classes_or_none_is_not_looked_at(model, images):
    whole = extract_features(*model, images, batch_size=16)
    headless = create_model("mixer_micro", num_classes=0)
    kept = {name: model[1][name] for name in headless.shapes if "head" not in name}
    shapes = headless.shapes
    rest = {n: np.zeros(shapes[n].shape, np.float32) for n in shapes.keys() - kept}
    found = extract_features(headless, kept | rest, images, batch_size=16)
    np.testing.assert_allclose(found.values, whole.values, rtol=1e-6, atol=1e-6)


def test_features_that_are_not_finite_are_refused(model, images):
    classifier, variables = model
    name = next(name for name in variables if name.endswith("kernel"))
    broken = variables | {name: np.full_like(variables[name], np.nan)}
    with pytest.raises(UserError, match="50 of 50 images have features"):
        extract_features(classifier, broken, images, batch_size=16)


def test_the_models_own_head_scores_as_the_model_does(model, passed):
    """Columns of a linear head over features are those of the whole network."""
    _, variables = model
    head = LinearHead(
        np.asarray(variables["head.kernel"]),
        np.asarray(variables["head.bias"]),
        np.zeros(passed.features.shape[1], np.float32),
        np.ones(passed.features.shape[1], np.float32),
    )
    labels = passed.columns["label"].astype(np.int32)
    features = Features(passed.features, labels, passed.columns["id"].astype(str))
    logits = head.logits(features)
    np.testing.assert_allclose(logits, passed.logits, rtol=1e-4, atol=1e-5)
    columns = score_columns(logits, features)
    assert columns.keys() == passed.columns.keys()
    for name, column in passed.columns.items():
        if column.dtype.kind == "f":
            np.testing.assert_allclose(columns[name], column, rtol=1e-4, atol=1e-5)
        else:
            np.testing.assert_array_equal(columns[name], column)
    warm = score_columns(logits, features, temperature=2.0)
    halved = score_columns(logits / 2, features)
    for name in ("nll", "confidence", "brier"):
        np.testing.assert_allclose(warm[f"{name}_ts"], halved[name], rtol=1e-5)
        np.testing.assert_array_equal(warm[name], columns[name])
    unknown = score_columns(logits, features, unlabelled=True)
    assert set(unknown["label"]) == {-1}
    assert not unknown["correct"].any()
    assert np.isnan(unknown["nll"]).all()


def test_the_temperature_is_the_least_nll():
    features = twins.blobs(0, 300)
    logits = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
    logits[np.arange(300), features.labels] += 1.0
    found = fit_probe_temperature(5 * logits, features, None)
    grid = np.linspace(0.8, 1.2, 81) * found
    rows = np.arange(300)
    nll = [
        -np.log(twins.softmax(5 * logits / t)[rows, features.labels]).mean()
        for t in grid
    ]
    # The middle of the grid is the fitted one.
    assert abs(int(np.argmin(nll)) - 40) <= 1


def test_a_cache_makes_features_once(tmp_path):
    made = []

    def make():
        made.append(1)
        return twins.blobs(len(made), 20)

    cache = FeatureCache(tmp_path)
    first = cache.get("one", make)
    assert cache.get("one", make).values is first.values
    again = FeatureCache(tmp_path).get("one", make)
    assert len(made) == 1
    np.testing.assert_array_equal(again.values, first.values)
    np.testing.assert_array_equal(again.labels, first.labels)
    assert again.ids.tolist() == first.ids.tolist()
    assert again.seconds == 0
    # Without the folder, nothing of it is seen.
    FeatureCache(tmp_path).get("one", make, keep=False)
    assert len(made) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.npy", "one.npz"]


@pytest.mark.parametrize("suffix", ["npy", "npz"])
@pytest.mark.parametrize("damage", ["gone", "cut", "nonsense"])
def test_a_damaged_file_is_made_again(tmp_path, suffix, damage):
    FeatureCache(tmp_path).get("one", lambda: twins.blobs(0, 20))
    path = tmp_path / f"one.{suffix}"
    if damage == "gone":
        path.unlink()
    else:
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"no array")
    found = FeatureCache(tmp_path).get("one", lambda: twins.blobs(7, 20))
    np.testing.assert_array_equal(found.values, twins.blobs(7, 20).values)
    again = FeatureCache(tmp_path).get("one", lambda: twins.blobs(8, 20))
    np.testing.assert_array_equal(again.values, found.values)


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_case_11_one_bit_of_kept_features(tmp_path, suffix):
    whole = twins.blobs(0, 20)
    FeatureCache(tmp_path).get("one", lambda: whole)
    path = tmp_path / f"one.{suffix}"
    content, made = path.read_bytes(), []
    for bit in np.random.default_rng(11).integers(0, len(content) * 8, 60):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bytes(changed))
        found = FeatureCache(tmp_path).get(
            "one", lambda: made.append(1) or twins.blobs(0, 20)
        )
        for name in ("values", "labels", "ids"):
            np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))
        assert found.num_skipped == whole.num_skipped
        path.write_bytes(content)
    assert made


def test_memory_holds_the_newest_up_to_a_size():
    cache = FeatureCache(max_bytes=2 * 20 * 6 * 4)
    made = []
    for key in ("a", "b", "c", "b", "a"):
        cache.get(key, lambda key=key: made.append(key) or twins.blobs(0, 20))
    assert made == ["a", "b", "c", "a"]


def test_everything_that_decides_features_is_in_their_key():
    options = {"dtype": "float32", "on_error": "raise"}
    base = ("resnet18", "weights", "images", SPEC)
    keys = {features_key(*base, **options)}
    for place, other in enumerate(("resnet34", "other", "others")):
        changed = [*base]
        changed[place] = other
        keys.add(features_key(*changed, **options))
    for field in dataclasses.fields(SPEC):
        value = {
            "size": (9, 9),
            "crop_fraction": 0.5,
            "crop_mode": "squash",
            "interpolation": "bilinear",
            "mean": (0.1, 0.1, 0.1),
            "std": (0.1, 0.1, 0.1),
        }[field.name]
        spec = dataclasses.replace(SPEC, **{field.name: value})
        keys.add(features_key(*base[:3], spec, **options))
    keys.add(features_key(*base, dtype="bfloat16"))
    keys.add(features_key(*base, on_error="skip"))
    assert len(keys) == 1 + 3 + len(dataclasses.fields(SPEC)) + 2
