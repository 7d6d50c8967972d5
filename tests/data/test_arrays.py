import numpy as np
import pytest

from jaxbench.data import ArraySource, load_images, open_dataset
from jaxbench.errors import UserError
from model_zoo.input_spec import InputSpec

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (20, 6, 5, 3)).astype(np.uint8)
LABELS = np.arange(20) % 3


def save(path, **arrays):
    np.savez(path, **arrays)
    return f"arrays:{path}"


def test_round_trip(tmp_path):
    address = save(
        tmp_path / "a.npz",
        images=IMAGES,
        labels=LABELS,
        ids=np.array([f"i{n}" for n in range(20)]),
        class_names=np.array(["x", "y", "z"]),
    )
    source = open_dataset(address)
    assert (source.name, source.class_names) == (address, ("x", "y", "z"))
    assert source.labels.dtype == np.int32
    for i in range(20):
        np.testing.assert_array_equal(source[i].image, IMAGES[i])
        assert source[i][1:] == (LABELS[i], f"i{i}")
    loaded = load_images(source, InputSpec(size=(6, 5), crop_fraction=1.0))
    np.testing.assert_array_equal(loaded.images, IMAGES)
    assert source.fingerprint == open_dataset(address).fingerprint


def test_parts(tmp_path):
    address = save(tmp_path / "a.npz", images=IMAGES, labels=LABELS)
    parts = [open_dataset(f"{address}@{s}") for s in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [16, 2, 2]
    ids = sorted(id for part in parts for id in part.ids)
    assert ids == list(open_dataset(f"{address}@all").ids)
    with pytest.raises(UserError, match="unknown split 'tests'; did you mean 'test'"):
        open_dataset(f"{address}@tests")
    tiny = save(tmp_path / "b.npz", images=IMAGES[:2], labels=LABELS[:2])
    with pytest.raises(UserError, match="of 2 images no part is left for test"):
        open_dataset(f"{tiny}@test")


@pytest.mark.parametrize("shape", [(20, 6, 5), (20, 6, 5, 1)])
def test_gray_becomes_three_equal_channels(shape):
    gray = IMAGES[..., 0].reshape(shape)
    source = ArraySource("gray", gray, LABELS)
    for channel in range(3):
        np.testing.assert_array_equal(source[7].image[..., channel], IMAGES[7, ..., 0])
    assert source.class_names == ("0", "1", "2")
    assert source.ids[7] == "000007"


def test_fingerprint_follows_pixels_labels_names_and_ids():
    def fingerprint(images=IMAGES, labels=LABELS, names=("x", "y", "z"), ids=None):
        return ArraySource("a", images, labels, names, ids).fingerprint

    other = IMAGES.copy()
    other[3, 2, 1, 0] ^= 1
    prints = {
        fingerprint(),
        fingerprint(images=other),
        fingerprint(labels=LABELS[::-1]),
        fingerprint(names=("x", "y", "w")),
        # Other ids, other noise where the images are corrupted.
        fingerprint(ids=[f"i{n}" for n in range(20)]),
        fingerprint(ids=[f"i{19 - n}" for n in range(20)]),
    }
    assert len(prints) == 6
    assert fingerprint(IMAGES.copy()) == fingerprint(np.asfortranarray(IMAGES))


def test_the_callers_labels_stay_writable():
    labels = LABELS.astype(np.int32)
    ArraySource("a", IMAGES, labels)
    labels[0] = 2


BAD_ARRAYS = {
    "images are float64, wanted uint8": {"images": IMAGES / 255},
    "images hold NaN": {"images": np.full((20, 6, 5, 3), np.nan)},
    r"images have shape \(20, 6, 5, 4\)": {"images": np.zeros((20, 6, 5, 4), "u1")},
    r"images have shape \(20, 0, 5, 3\): there is nothing": {
        "images": np.zeros((20, 0, 5, 3), "u1")
    },
    r"images have shape \(\)": {"images": np.uint8(1)},
    "labels are float64, wanted whole": {"labels": LABELS / 1},
    r"labels have shape \(20, 1\)": {"labels": LABELS[:, None]},
    "there are no labels": {"labels": LABELS[:0]},
    "the lowest label is -1": {"labels": LABELS - 1},
    "lengths differ: 20 images, 19 labels": {"labels": LABELS[1:]},
    "lengths differ: 20 images, 20 labels, 3 ids": {"ids": ["a", "b", "c"]},
    "19 ids come more than once": {"ids": ["a"] * 20},
    "the highest label is 2, but there are 2 class_names": {"class_names": ["x", "y"]},
    "class_names come more than once": {"class_names": ["x", "y", "x"]},
    "highest label is 4294967297 of 20 examples; .* below 10000: number the": {
        "labels": np.where(LABELS == 2, 2**32 + 1, LABELS)
    },
    # As int32 it would be -2147483648.
    "highest label is 2147483648 of 20": {"labels": LABELS.astype("u8") + 2**31 - 2},
    "the highest label is 2147483648, but there are 3": {
        "labels": LABELS + 2**31 - 2,
        "class_names": ["x", "y", "z"],
    },
}


@pytest.mark.parametrize("message", BAD_ARRAYS)
def test_bad_arrays(message, tmp_path):
    arrays = {"images": IMAGES, "labels": LABELS} | BAD_ARRAYS[message]
    with pytest.raises(UserError, match=message):
        open_dataset(save(tmp_path / "bad.npz", **arrays))


@pytest.mark.parametrize(("count", "limit"), [(20, 10_000), (1100, 11_000)])
def test_how_many_classes_without_names(count, limit):
    labels = np.zeros(count, np.int64)
    images = np.zeros((count, 1, 1), np.uint8)
    labels[3] = limit - 1
    assert len(ArraySource("a", images, labels).class_names) == limit
    labels[3] = limit
    with pytest.raises(UserError, match=f"wanted labels below {limit}"):
        ArraySource("a", images, labels)
    # Sparse labels are fine where the classes have names.
    names = [str(i) for i in range(limit + 1)]
    assert ArraySource("a", images, labels, names).labels[3] == limit


def test_all_problems_at_once():
    with pytest.raises(UserError) as caught:
        ArraySource("a", IMAGES / 255, LABELS[1:] - 1, ["x"], ["a"] * 20)
    for part in ("wanted uint8", "lowest label", "highest label", "ids", "lengths"):
        assert part in str(caught.value)


def test_bad_files(tmp_path):
    with pytest.raises(UserError, match="there is no file"):
        open_dataset(f"arrays:{tmp_path}/nothing.npz")
    (tmp_path / "text.npz").write_text("not an archive")
    (tmp_path / "empty.npz").touch()
    np.save(tmp_path / "one.npy", IMAGES)
    whole = tmp_path / "whole.npz"
    save(whole, images=IMAGES, labels=LABELS)
    (tmp_path / "cut.npz").write_bytes(whole.read_bytes()[:1000])
    for name in ("text.npz", "empty.npz", "one.npy", "cut.npz"):
        with pytest.raises(UserError, match=r"not a readable \.npz"):
            open_dataset(f"arrays:{tmp_path}/{name}")
    pickled = save(tmp_path / "p.npz", images=np.array([{}, {}]), labels=LABELS)
    with pytest.raises(UserError, match=r"not a readable .npz of plain arrays"):
        open_dataset(pickled)
    strange = save(tmp_path / "s.npz", images=IMAGES, label=LABELS)
    with pytest.raises(UserError, match="has the arrays images, label; wanted"):
        open_dataset(strange)
