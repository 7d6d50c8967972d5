"""Confused classes and confident mistakes, against plain loops over the answers."""

import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from jaxbench.data import open_dataset
from jaxbench.data.known.imagenet_classes import wordnet_ids
from jaxbench.data.thumbnails import SIDE, thumbnail
from jaxbench.metrics import wilson_interval
from jaxbench.studies import mistake_images
from jaxbench.studies.mistake_images import find_images
from jaxbench.studies.mistakes import (
    Answers,
    confident_mistakes,
    confused_pairs,
    wilson_share,
)


def columns_of(ids, label, seed, num_classes=5, right=0.6):
    """Columns of a model of about this many right answers."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, num_classes, len(ids))
    prediction = np.where(rng.random(len(ids)) < right, label, drawn)
    return {
        "id": np.array(ids),
        "label": np.array(label, np.int32),
        "prediction": prediction.astype(np.int32),
        "confidence": rng.uniform(0.2, 1.0, len(ids)).astype(np.float32),
        "correct": prediction == label,
    }


@pytest.fixture
def models():
    label = np.arange(40) % 4
    ids = [f"{i:02d}" for i in range(40)]
    found = {f"m{seed}": columns_of(ids, label, seed) for seed in range(3)}
    found["m1"]["confidence"][[1, 5, 9]] = np.nan
    return found


def answers_of(models):
    answers = Answers()
    for name, columns in models.items():
        answers.add(name, columns)
    return answers


def rows_of(models):
    """(model, id, label, prediction, confidence) of every wrong answer."""
    for name, columns in models.items():
        for row in zip(*(columns[c].tolist() for c in columns), strict=True):
            id, label, prediction, confidence, correct = row
            if not correct and np.isfinite(confidence):
                yield name, id, label, prediction, confidence


def test_pairs_are_those_of_a_loop(models):
    wanted = Counter((row[2], row[3]) for row in rows_of(models))
    found = confused_pairs(answers_of(models))
    counts = [pair.num_answers for pair in found]
    assert counts == sorted(counts, reverse=True)
    assert {(p.label, p.prediction): p.num_answers for p in found} == dict(wanted)
    for pair in found:
        assert pair.num_images == 10
        assert pair.share.value == pytest.approx(pair.num_answers / 30)
        assert pair.share.low < pair.share.value < pair.share.high
    assert confused_pairs(answers_of(models), most=2) == found[:2]


def test_pairs_of_one_model_have_wilsons_interval(models):
    answers = answers_of(models)
    wanted = Counter((r[2], r[3]) for r in rows_of(models) if r[0] == "m2")
    for pair in confused_pairs(answers.of("m2")):
        assert pair.num_answers == wanted[pair.label, pair.prediction]
        low, high = wilson_interval(pair.num_answers, pair.num_images)
        # The reference computes in float32.
        assert pair.share.low == pytest.approx(float(low), abs=1e-6)
        assert pair.share.high == pytest.approx(float(high), abs=1e-6)


@pytest.mark.parametrize("successes", [0, 1, 7, 20])
def test_interval_is_wilsons(successes):
    low, high = wilson_interval(successes, 20, level=0.9)
    wanted = (successes / 20, float(low), float(high))
    assert wilson_share(float(successes), 20, 0.9) == pytest.approx(wanted, abs=1e-6)


def test_confident_mistakes_are_those_of_a_loop(models):
    total, named = Counter(), {}
    for _, id, label, prediction, confidence in rows_of(models):
        total[id] += confidence
        named.setdefault(id, []).append((label, prediction))
    order = sorted(total, key=lambda id: (-total[id], id))
    found = confident_mistakes(answers_of(models), most=1000)
    assert [one.id for one in found] == order
    for one in found:
        assert {label for label, _ in named[one.id]} == {one.label}
        assert one.predictions == dict(Counter(p for _, p in named[one.id]))
        assert one.num_wrong == len(named[one.id])
        assert one.confidence == pytest.approx(total[one.id] / one.num_wrong)
    assert confident_mistakes(answers_of(models), most=3) == found[:3]


def test_order_of_the_rows_changes_nothing(models):
    shuffled = dict(models)
    order = np.random.default_rng(0).permutation(40)
    shuffled["m2"] = {name: v[order] for name, v in models["m2"].items()}
    one, other = answers_of(models), answers_of(shuffled)
    assert confused_pairs(one) == confused_pairs(other)
    assert confident_mistakes(one) == confident_mistakes(other)


def test_a_model_with_other_images_or_labels_is_left_out(models):
    models["fewer"] = {name: v[:-1] for name, v in models["m0"].items()}
    models["others"] = models["m0"] | {"label": models["m0"]["label"][::-1]}
    answers = answers_of(models)
    assert answers.models == ["m0", "m1", "m2"]
    assert answers.left_out == ["fewer", "others"]


def test_models_without_mistakes_and_no_models():
    label = np.arange(8) % 4
    answers = answers_of({"best": columns_of([*"abcdefgh"], label, 0, right=2.0)})
    for one in (answers, Answers()):
        assert confused_pairs(one) == []
        assert confident_mistakes(one) == []
        assert one.num_wrong() == 0


def digits_row(**others):
    source = open_dataset("digits@test")
    row = {"dataset": "digits@test", "dataset_fingerprint": source.fingerprint}
    return source, row | {"num_classes": 8, "class_order": None} | others


def test_images_are_found_by_name_and_only_those_asked_for_are_read(monkeypatch):
    source, row = digits_row()
    answers = answers_of({"a": columns_of(source.ids, source.labels, 0, 8)})
    seen = find_images(row, answers)
    assert seen.note == ""
    assert [seen.class_name(i) for i in (0, 7, 8)] == ["0", "7", "class 8"]
    read = []
    plain = type(seen.source).__getitem__
    monkeypatch.setattr(
        type(seen.source),
        "__getitem__",
        lambda self, index: read.append(index) or plain(self, index),
    )
    wanted = [source.ids[5], source.ids[200]]
    found = seen.pictures(wanted)
    assert list(found) == wanted
    assert read == [5, 200]
    for id, content in found.items():
        image = Image.open(io.BytesIO(content))
        assert image.format == "JPEG"
        assert max(image.size) <= SIDE
        pixels = plain(seen.source, source.ids.index(id)).image
        # Each of the 8x8 pixels is a square of 12: JPEG leaves its mean.
        means = np.asarray(image.convert("L"), float).reshape(8, 12, 8, 12)
        gap = np.abs(means.mean((1, 3)) - pixels[..., 0])
        assert gap.max() < 12


def test_pictures_stay_within_their_bytes(monkeypatch):
    source, row = digits_row()
    seen = find_images(
        row, answers_of({"a": columns_of(source.ids, source.labels, 0, 8)})
    )
    every = seen.pictures(source.ids[:24])
    assert sum(map(len, every.values())) < mistake_images.MOST_BYTES
    monkeypatch.setattr(mistake_images, "MOST_BYTES", 5000)
    assert 0 < sum(map(len, seen.pictures(source.ids[:24]).values())) <= 5000


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ({"dataset": "digits@tset"}, "is not available"),
        ({"dataset": "folder:/nowhere/at/all"}, "is not available"),
        ({"dataset": None}, "is not available"),
        ({"dataset": "digits@train"}, "lacks"),
        ({"dataset_fingerprint": "another"}, "have changed since the evaluation"),
    ],
)
def test_data_that_is_gone_or_other_gives_a_sentence(others, words):
    source, row = digits_row(**others)
    answers = answers_of({"a": columns_of(source.ids, source.labels, 0, 8)})
    seen = find_images(row, answers)
    assert seen.note.startswith("No pictures, since ")
    assert words in seen.note
    assert seen.pictures(source.ids) == {}
    assert seen.class_name(3) == "class 3"


def test_an_order_of_classes_of_the_model_is_read_off_the_images():
    source, row = digits_row()
    turned = 7 - np.asarray(source.labels)
    seen = find_images(row, answers_of({"a": columns_of(source.ids, turned, 0, 8)}))
    assert [seen.class_name(i) for i in range(8)] == [*"76543210"]
    # With the numbers of other classes the stored digest is of other labels.
    assert "content was not compared" in seen.note
    mixed = np.arange(len(source)) % 8
    seen = find_images(row, answers_of({"a": columns_of(source.ids, mixed, 0, 8)}))
    assert "classes are not those of the evaluation" in seen.note


def test_a_part_of_the_images_is_found_too():
    source, row = digits_row(dataset_fingerprint="of the part")
    part = columns_of(source.ids[:50], source.labels[:50], 0, 8)
    seen = find_images(row, answers_of({"a": part}))
    assert "content was not compared" in seen.note
    assert list(seen.pictures([source.ids[3]])) == [source.ids[3]]


def test_published_class_names_need_no_images():
    label = np.arange(8) % 4
    answers = answers_of({"a": columns_of([*"abcdefgh"], label, 0)})
    row = {"dataset": "imagenet", "num_classes": 1000, "class_order": "imagenet"}
    seen = find_images(row, answers)
    assert seen.note.startswith("No pictures, since ")
    assert (seen.class_name(0), len(wordnet_ids())) == ("tench", 1000)
    other = find_images(row | {"class_order": "timm"}, answers)
    assert other.class_name(0) == "class 0"


def test_thumbnails_of_files_and_of_pixels():
    pixels = np.zeros((300, 150, 3), np.uint8)
    pixels[..., 0] = 200
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    for image in (pixels, file.getvalue()):
        small = Image.open(io.BytesIO(thumbnail(image)))
        assert small.size == (SIDE // 2, SIDE)
        assert np.abs(np.asarray(small, int) - [200, 0, 0]).max() < 8
    with pytest.raises(ValueError, match="bytes"):
        thumbnail(b"no image")
