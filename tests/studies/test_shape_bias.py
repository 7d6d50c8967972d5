"""Shape bias: the study's own answers give its own counts."""

import csv
import math
from collections import Counter

import jax
import numpy as np
import pytest

from jaxbench import studies
from jaxbench.data.known.imagenet_classes import shape_categories
from jaxbench.errors import UserError
from tests.studies.cue_conflict_files import (
    HEADER,
    answers,
    shape_of,
    texture_of,
    write,
)

PUBLISHED = {
    # Shape, texture, shape bias, 16-class accuracy; recomputed from the files' rows.
    "tv_resnet50": (170, 621, 0.2149, 0.1828),
    "vit_clip": (421, 485, 0.4647, 0.3898),
}


@pytest.fixture(scope="module")
def given():
    return answers()


@pytest.fixture(scope="module")
def observers(given, tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw-data")
    for name, found in given.items():
        write(folder / f"cue-conflict_{name}_session-1.csv", name, found)
    return {one.observer: one for one in studies.read_responses([folder])}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_counts(observers, name):
    found = studies.shape_bias(observers[name])
    shape, texture, bias, accuracy = PUBLISHED[name]
    assert (found.num_images, found.num_conflicts) == (1280, 1200)
    assert (found.num_shape, found.num_texture) == (shape, texture)
    # Printed to four digits.
    assert found.bias.value == pytest.approx(bias, abs=5e-5)
    assert found.accuracy.value == pytest.approx(accuracy, abs=5e-5)
    assert found.bias.low < found.bias.value < found.bias.high


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_by_category_add_up(observers, given, name):
    found = studies.shape_bias_by_category(observers[name])
    assert tuple(found) == shape_categories()
    loops = Counter()
    for image, answer in given[name].items():
        shape, texture = shape_of(image), texture_of(image)
        if shape != texture:
            loops[shape, "shape"] += answer == shape
            loops[shape, "texture"] += answer == texture
    for category, one in found.items():
        assert one.num_images == 80
        assert one.num_shape == loops[category, "shape"]
        assert one.num_texture == loops[category, "texture"]
    total = studies.shape_bias(observers[name])
    assert sum(one.num_shape for one in found.values()) == total.num_shape


def test_stored_predictions_are_the_same_answers(given):
    # An evaluation's ids have folders, and its predictions are numbers.
    number = {category: i for i, category in enumerate(shape_categories())}
    found = given["vit_clip"]
    images = sorted(found, reverse=True)
    stored = studies.stored_responses(
        "vit",
        [f"{shape_of(image)}/{image}" for image in images],
        np.array([number[found[image]] for image in images], np.int32),
    )
    assert stored.images == tuple(sorted(found))
    assert studies.shape_bias(stored).num_shape == 421
    with pytest.raises(UserError, match=r"1 prediction \(16\) of no category"):
        studies.stored_responses("vit", ["bear/bear1-cat1.png"], np.array([16]))


def test_no_answer_is_neither(tmp_path, given):
    # People may not answer, and images of experiments with them have longer names.
    some = dict(list(given["tv_resnet50"].items())[:20])
    some |= dict.fromkeys(list(some)[:5], "na")
    path = write(tmp_path / "person.csv", "subject-01", some, prefix="0001_x_")
    (one,) = studies.read_responses([path])
    assert (one.answer == -1).sum() == 5
    assert one.images == tuple(sorted(some))
    found = studies.shape_bias(one)
    shape = sum(a == shape_of(i) != texture_of(i) for i, a in some.items())
    texture = sum(a == texture_of(i) != shape_of(i) for i, a in some.items())
    assert (found.num_shape, found.num_texture) == (shape, texture)
    silent = studies.make_responses("silent", ["bear1-cat1.png"], ["na"])
    assert math.isnan(studies.shape_bias(silent).bias.value)
    assert studies.shape_bias(silent).accuracy.value == 0


def test_sessions_of_one_subject_are_joined(tmp_path, given):
    pairs = list(given["vit_clip"].items())
    for session, part in enumerate((pairs[:700], pairs[700:])):
        write(tmp_path / f"session-{session}.csv", "vit_clip", dict(part))
    (one,) = studies.read_responses([tmp_path])
    assert studies.shape_bias(one).num_texture == 485


def test_mistakes_are_reported_at_once(tmp_path, given):
    some = dict(list(given["vit_clip"].items())[:4])
    first = next(iter(some))
    write(tmp_path / "a.csv", "other", some, header=[*HEADER[:-1], "image"])
    write(tmp_path / "b.csv", "strange", some | {first: "tiger"})
    write(tmp_path / "c.csv", "noname", {"bear.png": "bear"})
    write(tmp_path / "d.csv", "twice", some)
    write(tmp_path / "e.csv", "twice", {first: "cat"})
    wrong = write(tmp_path / "f.csv", "shape", some)
    with wrong.open(newline="") as file:
        rows = list(csv.reader(file))
    rows[1][HEADER.index("category")] = "dog"
    with wrong.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    with pytest.raises(UserError) as error:
        studies.read_responses([tmp_path])
    text = str(error.value)
    for words in (
        "a.csv has columns subj",
        "strange: 1 answer (tiger) outside the 16 categories",
        "noname: 1 name (bear.png) of no cue-conflict image",
        "twice: 1 image (airplane1-bicycle2.png) more than once",
        "whose category is not the shape",
    ):
        assert words in text
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"without CSV files; .*does not exist"):
        studies.read_responses([tmp_path / "empty", tmp_path / "none.csv"])


def test_missing_images_are_reported_at_once(observers):
    a, b = observers.values()
    studies.check_same_images([a, b])
    rows = np.arange(1280)
    parts = [a.of(rows >= 2), b.of(rows < 1279)]
    with pytest.raises(UserError) as error:
        studies.check_same_images(parts)
    assert "tv_resnet50 lacks 2 of 1280 images: airplane1-bicycle2.png" in str(
        error.value
    )
    assert "vit_clip lacks 1 of 1280 images: truck9-truck3.png" in str(error.value)
    with pytest.raises(UserError, match="tv_resnet50 has answers from 2 places"):
        studies.check_same_images([a, a])


def kappa(a, b):
    """Geirhos et al. (2020), equations 1 to 3."""
    p, q = np.mean(a), np.mean(b)
    observed = np.mean(np.asarray(a) == np.asarray(b))
    expected = p * q + (1 - p) * (1 - q)
    return 1.0 if observed == 1 else (observed - expected) / (1 - expected)


def test_error_consistency_of_the_published_answers(observers, given):
    a, b = observers["tv_resnet50"], observers["vit_clip"]
    found = studies.error_consistency(a.correct, b.correct, key=jax.random.key(0))
    right = [
        [answer == shape_of(image) for image, answer in sorted(given[name].items())]
        for name in ("tv_resnet50", "vit_clip")
    ]
    assert found.kappa == pytest.approx(kappa(*right), abs=1e-12)
    # Another way to the same: Cohen's kappa of two raters, from the table of counts.
    table = (
        np.array(
            [
                [np.sum((a.correct == i) & (b.correct == j)) for j in (0, 1)]
                for i in (0, 1)
            ]
        )
        / 1280
    )
    chance = (table.sum(0) * table.sum(1)).sum()
    assert found.kappa == pytest.approx((np.trace(table) - chance) / (1 - chance))
    assert found.num_images == 1280
    # The interval against resampled rows; both ends are quantiles of 1000 draws, whose
    # standard error is about a tenth of the interval's half-width.
    rng = np.random.default_rng(1)
    draws = [
        kappa(a.correct[rows], b.correct[rows])
        for rows in rng.integers(0, 1280, (1000, 1280))
    ]
    low, high = np.quantile(draws, [0.025, 0.975])
    half = (high - low) / 2
    assert found.low == pytest.approx(low, abs=half / 4)
    assert found.high == pytest.approx(high, abs=half / 4)


def test_error_consistency_at_its_ends():
    key = jax.random.key(0)
    right, wrong = np.ones(9, bool), np.zeros(9, bool)
    mixed = np.arange(9) % 2 == 0
    assert studies.error_consistency(right, right, key=key).kappa == 1
    assert studies.error_consistency(mixed, mixed, key=key).kappa == 1
    assert studies.error_consistency(right, wrong, key=key).kappa == 0
    assert studies.error_consistency(right, mixed, key=key).kappa == 0
    opposite = studies.error_consistency(mixed, ~mixed, key=key)
    assert opposite.observed == 0
    assert -1 <= opposite.kappa < -0.9
    again = studies.error_consistency(mixed, ~mixed, key=key)
    assert again == opposite
    with pytest.raises(UserError, match="of 9 and 3 images"):
        studies.error_consistency(right, right[:3], key=key)
    with pytest.raises(UserError, match="of 0 and 0 images"):
        studies.error_consistency(right[:0], right[:0], key=key)
