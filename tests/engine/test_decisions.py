"""Datasets with fewer, several or coarser classes than the classifier has."""

import numpy as np
import pytest

from jaxbench.data import ArraySource, load_images, open_dataset, take
from jaxbench.data.scoring import Scoring, num_outputs
from jaxbench.data.source import relabel
from jaxbench.engine import calibrate, evaluate
from jaxbench.errors import UserError
from jaxbench.metrics import group_logits
from model_zoo import InputSpec, classifier_from_function

OUTPUTS = 8
MASK = np.array([1, 0, 1, 1, 0, 0, 1, 1], bool)
GROUPS = np.array([0, 0, 1, -1, 2, 2, 2, -1], np.int32)


class Scored:
    """A source with a scoring of its own."""

    def __init__(self, base, scoring, *, labels=None, class_names=None):
        self._base, self.scoring = base, scoring
        self.name = "scored"
        self.labels = base.labels if labels is None else labels
        self.class_names = class_names or base.class_names
        self.ids = base.ids
        self.fingerprint = base.fingerprint + scoring.digest

    def __len__(self):
        return len(self._base)

    def __getitem__(self, index):
        return self._base[index]._replace(label=int(self.labels[index]))


def linear(variables, images):
    return images.reshape(len(images), -1) @ variables["kernel"]


def linear_model(classes=OUTPUTS):
    spec = InputSpec(size=(8, 8), crop_fraction=1.0, mean=(0.5,) * 3, std=(0.25,) * 3)
    return classifier_from_function(
        linear, name="linear", num_classes=classes, input_spec=spec
    )


def kernel(classes=OUTPUTS):
    # Class means, which are right more often than not, and noise.
    train = load_images(open_dataset("digits@train"), linear_model(classes).input_spec)
    pixels = (train.images.reshape(len(train.images), -1) / 255 - 0.5) / 0.25
    means = [pixels[train.labels == c].mean(axis=0) for c in range(classes)]
    draw = np.random.default_rng(0).normal(size=(192, classes), scale=0.2)
    return {"kernel": ((np.stack(means, 1) + draw) / 40).astype(np.float32)}


@pytest.fixture(scope="module")
def model():
    return linear_model()


@pytest.fixture(scope="module")
def variables():
    return kernel()


@pytest.fixture(scope="module")
def digits():
    return take(open_dataset("digits@test"), 60)


@pytest.fixture(scope="module")
def logits(model, variables, digits):
    found = evaluate(model, variables, digits, num_resamples=0, keep_logits=True)
    return np.asarray(found.logits, np.float64)


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def run(model, variables, dataset, **options):
    return evaluate(
        model,
        variables,
        dataset,
        metrics=("accuracy",),
        num_resamples=0,
        batch_size=16,
        **options,
    )


def masked_source(digits):
    allowed = np.flatnonzero(MASK[digits.labels])
    part = take(digits, allowed)
    return Scored(part, Scoring(OUTPUTS, class_mask=MASK)), allowed


def test_class_mask(model, variables, digits, logits):
    source, rows = masked_source(digits)
    found = run(model, variables, source, temperature=2.0)
    z = np.where(MASK, logits[rows], -np.inf)
    p = softmax(z)
    np.testing.assert_array_equal(found.columns["prediction"], p.argmax(axis=1))
    # float32 logits and softmax.
    np.testing.assert_allclose(found.columns["confidence"], p.max(axis=1), rtol=1e-5)
    np.testing.assert_allclose(
        found.columns["confidence_ts"], softmax(z / 2).max(axis=1), rtol=1e-5
    )


def label_sets(digits):
    labels = np.asarray(digits.labels)
    sets = np.full((len(labels), 3), -1, np.int32)
    sets[:, 0] = labels
    sets[::2, 1] = (labels[::2] + 1) % OUTPUTS
    sets[::3, 2] = (labels[::3] + 5) % OUTPUTS
    return sets


@pytest.mark.parametrize("in_memory", [False, True])
def test_label_sets(model, variables, digits, logits, in_memory):
    sets = label_sets(digits)
    source = Scored(digits, Scoring(OUTPUTS, label_sets=sets))
    dataset = load_images(source, model.input_spec) if in_memory else source
    found = run(model, variables, dataset)
    predictions = logits.argmax(axis=1)
    right = [p in set(s[s >= 0]) for p, s in zip(predictions, sets, strict=True)]
    np.testing.assert_array_equal(found.columns["correct"], right)
    best = [
        s[s >= 0][np.argmax(z[s[s >= 0]])] for z, s in zip(logits, sets, strict=True)
    ]
    np.testing.assert_array_equal(found.columns["label"], best)
    assert np.mean(right) > np.mean(predictions == digits.labels)


def test_label_sets_follow_their_rows(model, variables, digits):
    sets = label_sets(digits)
    source = Scored(digits, Scoring(OUTPUTS, label_sets=sets))
    whole = run(model, variables, source)
    rows = np.arange(len(digits))[::-3]
    part = run(model, variables, take(source, rows))
    np.testing.assert_array_equal(
        part.columns["correct"], whole.columns["correct"][rows]
    )


def coarse_source(digits):
    labels = np.asarray(digits.labels) % 3
    return Scored(
        digits,
        Scoring(OUTPUTS, groups=GROUPS),
        labels=labels.astype(np.int32),
        class_names=("a", "b", "c"),
    )


def test_groups(model, variables, digits, logits):
    source = coarse_source(digits)
    found = run(model, variables, source, temperature=3.0)
    p = softmax(logits)
    means = np.stack([p[:, g == GROUPS].mean(axis=1) for g in range(3)], axis=1)
    p = means / means.sum(axis=1, keepdims=True)
    np.testing.assert_array_equal(found.columns["prediction"], p.argmax(axis=1))
    np.testing.assert_allclose(found.columns["confidence"], p.max(axis=1), rtol=1e-5)
    # A temperature would change the decisions, so there is none.
    assert found.temperature is None
    assert "confidence_ts" not in found.columns
    assert num_outputs(source) == OUTPUTS


def test_group_logits_keep_the_order_of_what_underflows():
    z = np.array([[0.0, -200.0, -201.0, 5.0]], np.float32)
    found = group_logits(z, np.array([0, 1, 2, -1], np.int32), num_groups=3)
    norm = np.log(np.exp(z.astype(np.float64)).sum())
    np.testing.assert_allclose(found[0], z[0, :3] - norm, rtol=1e-6)


def test_ood_images_are_scored_as_their_reference(model, variables, digits):
    source, _ = masked_source(digits)
    reference = run(model, variables, source)
    unknown = take(open_dataset("digits-ood"), 40)
    found = run(model, variables, unknown, role="ood", reference=reference)
    # No probability outside the mask: no prediction there.
    assert MASK[found.columns["prediction"]].all()


def test_calibration_knows_the_mask(model, variables, digits):
    source, _ = masked_source(digits)
    assert calibrate(model, variables, source) != pytest.approx(
        calibrate(model, variables, take(digits, np.flatnonzero(MASK[digits.labels]))),
        rel=1e-3,
    )
    with pytest.raises(UserError, match="one label each"):
        calibrate(model, variables, coarse_source(digits))


def test_another_number_of_classes_is_refused(digits):
    other = linear_model(5)
    with pytest.raises(UserError, match="scored on 8 classes"):
        run(other, kernel(5), coarse_source(digits))


def test_relabelled_scoring():
    names = tuple("abcdefgh")
    images = np.zeros((3, 8, 8, 3), np.uint8)
    base = ArraySource(
        "three", images, np.array([0, 2, 3], np.int32), class_names=names
    )
    sets = np.array([[0, 2], [2, -1], [3, 7]], np.int32)
    source = Scored(base, Scoring(OUTPUTS, class_mask=MASK, label_sets=sets))
    wanted = ("x", *reversed(names))
    view = relabel(source, wanted)
    moved = {names[i] for i in np.flatnonzero(MASK)}
    assert {wanted[i] for i in np.flatnonzero(view.scoring.class_mask)} == moved
    np.testing.assert_array_equal(view.scoring.label_sets, [[8, 6], [6, -1], [5, 1]])


def test_coarse_classes_follow_the_order_of_the_outputs(digits):
    names = tuple("abcdefgh")
    scoring = Scoring(OUTPUTS, groups=GROUPS, output_names=names)
    source = Scored(digits, scoring, class_names=("one", "two", "three"))
    assert relabel(source, names) is source
    wanted = tuple(reversed(names))
    view = relabel(source, wanted)
    np.testing.assert_array_equal(view.scoring.groups, GROUPS[::-1])
    assert view.class_names == ("one", "two", "three")
    assert view.fingerprint != source.fingerprint
    with pytest.raises(UserError, match="lack h"):
        relabel(source, names[:-1])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"class_mask": np.ones(3, bool)}, "shape"),
        ({"class_mask": np.zeros(OUTPUTS, bool)}, "allows no class"),
        ({"label_sets": np.array([[1], [-1]])}, "empty set"),
        ({"groups": GROUPS, "class_mask": MASK}, "stand alone"),
        ({"groups": np.where(GROUPS == 1, -1, GROUPS)}, "without a gap"),
        ({"groups": np.full(OUTPUTS, -1)}, "without a gap"),
        ({"label_sets": np.array([[1, OUTPUTS]])}, "has the label 8"),
    ],
)
def test_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Scoring(OUTPUTS, **fields)
