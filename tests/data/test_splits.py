import numpy as np
import pytest

from jaxbench.data import ArraySource, split_calibration, take
from jaxbench.data.source import digest, relabel
from jaxbench.data.splits import (
    STANDARD_SHARES,
    hash_fraction,
    stratified_order,
    stratified_parts,
)
from jaxbench.errors import UserError

LABELS = np.repeat(np.arange(4), (40, 7, 100, 1))
IDS = [f"image-{i}" for i in range(len(LABELS))]


@pytest.fixture
def source():
    images = np.arange(len(LABELS), dtype=np.uint8)[:, None, None]
    images = np.broadcast_to(images, (len(LABELS), 2, 2))
    return ArraySource("mine", images, LABELS, list("abcd"), IDS)


def test_prefixes_hold_the_classes_in_proportion():
    order = stratified_order(LABELS, IDS, seed=3)
    assert sorted(order) == list(range(len(LABELS)))
    sizes = np.bincount(LABELS)
    for share in np.linspace(0, 1, 41):
        within = np.floor(sizes * share + 0.5).astype(int)
        prefix = LABELS[order[: within.sum()]]
        np.testing.assert_array_equal(np.bincount(prefix, minlength=4), within)


def test_classes_of_equal_size_are_taken_equally_often():
    labels = np.tile(np.arange(5), 30)
    order = stratified_order(labels, list(map(str, range(150))), seed=0)
    for size in range(5, 150, 5):
        assert set(np.bincount(labels[order[:size]])) == {size // 5}


def test_parts_do_not_depend_on_row_order():
    shuffled = np.random.default_rng(0).permutation(len(LABELS))
    straight = stratified_parts(LABELS, IDS, STANDARD_SHARES)
    permuted = stratified_parts(
        LABELS[shuffled], [IDS[i] for i in shuffled], STANDARD_SHARES
    )
    for name in STANDARD_SHARES:
        there = {IDS[i] for i in straight[name]}
        assert there == {IDS[shuffled[i]] for i in permuted[name]}
    assert [len(straight[name]) for name in STANDARD_SHARES] == [118, 15, 15]


def test_hash_is_uniform_and_pinned():
    values = np.array([hash_fraction(0, i) for i in range(4000)])
    assert values.min() >= 0
    assert values.max() < 1
    # Standard error of the mean of 4,000 uniform numbers: 0.0046.
    assert abs(values.mean() - 0.5) < 0.02
    # An algorithm, not a library's stream: the number may never change.
    assert hash_fraction(0, "digits/0000") == PINNED_HASH


PINNED_HASH = 0.4359703308200593


def test_take_a_number_is_stratified_and_in_order(source):
    taken = take(source, 37)
    assert len(taken) == 37
    assert np.bincount(taken.labels, minlength=4).tolist() == [10, 2, 25, 0]
    assert list(taken.labels) == sorted(taken.labels)
    assert take(source, 10_000).ids == source.ids
    assert take(source, 5).ids == take(take(source, 37), 5).ids


def test_take_positions_in_the_order_given(source):
    taken = take(source, [60, 2, 147])
    assert taken.ids == ("image-60", "image-2", "image-147")
    assert [taken[i].image[0, 0, 0] for i in range(3)] == [60, 2, 147]
    assert [taken[i].label for i in range(3)] == [2, 0, 3]
    assert taken.name != take(source, [2, 60, 147]).name
    assert taken.fingerprint != take(source, [2, 60, 147]).fingerprint


def test_take_names_every_wrong_position(source):
    with pytest.raises(UserError, match=r"outside 0\.\.147: 148, -1; .*once: 3$"):
        take(source, [3, 3, 148, -1])
    for nothing in ([], 0, np.array([0.5])):
        with pytest.raises(UserError, match=r"wanted|give 1 or more"):
            take(source, nothing)


def test_calibration_is_disjoint_stratified_and_seeded(source):
    calibration, rest = split_calibration(source, 74, seed=1)
    assert len(calibration) == 74
    assert sorted(calibration.ids + rest.ids) == sorted(source.ids)
    counts = np.bincount(calibration.labels, minlength=4)
    assert np.abs(counts - np.bincount(LABELS) / 2).max() <= 1
    assert split_calibration(source, 74, seed=1)[0].ids == calibration.ids
    assert split_calibration(source, 74, seed=2)[0].ids != calibration.ids
    reversed_rows = take(source, np.arange(len(source))[::-1])
    again, _ = split_calibration(reversed_rows, 74, seed=1)
    assert set(again.ids) == set(calibration.ids)
    for size in (0, len(source)):
        with pytest.raises(UserError, match="give 1 to 147"):
            split_calibration(source, size, seed=1)


def test_calibration_of_a_source_that_only_keeps_the_protocol(source):
    class Plain:
        name, class_names = "plain", source.class_names
        fingerprint, labels = "00", source.labels

        def __len__(self):
            return len(source)

        def __getitem__(self, index):
            return source[index]

    assert split_calibration(Plain(), 9, 0)[0].ids == (
        split_calibration(source, 9, 0)[0].ids
    )


def test_relabel_by_name(source):
    wider = relabel(source, ["z", "d", "c", "b", "a"])
    np.testing.assert_array_equal(wider.labels, 4 - LABELS)
    assert wider[0].label == 4
    assert wider.class_names == ("z", "d", "c", "b", "a")
    assert wider.fingerprint != source.fingerprint
    assert relabel(source, list("abcd")) is source


def test_relabel_lists_unknown_and_double_names(source):
    with pytest.raises(UserError, match=r"2 of 4 classes.*: b, d; unknown class 'b'"):
        relabel(source, ["a", "c"])
    with pytest.raises(UserError, match="more than once: a"):
        relabel(source, ["a", "a", "b", "c", "d"])


def test_digest_knows_where_parts_end():
    assert digest("ab", "c") != digest("a", "bc")
    assert digest(["a"], "b") != digest("a", ["b"])
    assert digest(b"a") == digest("a")


def test_labels_are_protected(source):
    with pytest.raises(ValueError, match="read-only"):
        source.labels[0] = 1
