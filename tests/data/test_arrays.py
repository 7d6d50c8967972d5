import io
import zipfile

import numpy as np
import pytest

from jaxbench.data import ArraySource, load_images, open_dataset
from jaxbench.data.sources import npz
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
    r"images have shape \(20, 6, 5, 4\)": {"images": np.zeros((20, 6, 5, 4), "u1")},
    r"images have shape \(20, 0, 5, 3\): there is nothing": {
        "images": np.zeros((20, 0, 5, 3), "u1")
    },
    r"images have shape \(\)": {"images": np.uint8(1)},
    "labels are float64, wanted whole": {"labels": LABELS / 1},
    "labels are empty": {"labels": LABELS[:0]},
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
    with pytest.raises(UserError, match="there is nothing at"):
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


def test_case_27_byte_strings_and_numbers_are_names(tmp_path):
    names = np.array([b"caf\xc3\xa9", b"\xff", b"z"])
    address = save(
        tmp_path / "b.npz",
        images=IMAGES,
        labels=LABELS,
        ids=np.arange(100, 120),
        class_names=names,
    )
    source = open_dataset(address)
    assert source.class_names == ("café", r"\xff", "z")
    assert source[3].id == "103"


def test_case_27_other_layouts_hold_the_same_numbers(tmp_path):
    """Fortran order, big-endian labels and compression change nothing."""
    arrays = {"images": IMAGES, "labels": LABELS}
    wanted = open_dataset(save(tmp_path / "a.npz", **arrays))
    others = {"images": np.asfortranarray(IMAGES), "labels": LABELS.astype(">i8")}
    np.savez_compressed(tmp_path / "b.npz", **others)
    found = open_dataset(f"arrays:{tmp_path / 'b.npz'}")
    assert found.fingerprint == wanted.fingerprint
    np.testing.assert_array_equal(found[7].image, IMAGES[7])
    assert found.labels.tolist() == LABELS.tolist()


CHW = IMAGES.transpose(0, 3, 1, 2)
NAMES = np.array(["x", "y", "z"])
WORDED = {
    r"class_names have shape \(\), wanted one name each": {"class_names": NAMES[0]},
    r"class_names have shape \(3, 1\)": {"class_names": NAMES[:, None]},
    "class_names are float64, wanted text": {"class_names": np.arange(3.0)},
    r"ids have shape \(20, 1\)": {"ids": np.arange(20)[:, None]},
    r"\(20, 3, 6, 5\), .*come last, images\.transpose\(0, 2, 3, 1\)": {"images": CHW},
    r"\(20, 6, 5, 4\), .*without alpha, images\[": {
        "images": np.zeros((20, 6, 5, 4), "u1")
    },
    r"labels have shape \(20, 1\), .*give labels\[:, 0\]": {"labels": LABELS[:, None]},
    r"labels have shape \(20, 3\), .*argmax\(axis=1\), or label_sets": {
        "labels": np.eye(3, dtype=int)[LABELS]
    },
    "labels are float64, wanted whole numbers": {
        "labels": np.where(LABELS, LABELS, np.nan)
    },
    "labels are bool": {"labels": LABELS > 0},
    "images are int64, .*in 0..255 as images.astype": {"images": IMAGES.astype(int)},
    "lowest label is -1": {"labels": LABELS - 1},
    "lengths differ: 20 images, no labels": {"labels": np.int64(3)},
}


@pytest.mark.parametrize("message", WORDED)
def test_case_27_what_does_not_fit_is_worded(message, tmp_path):
    arrays = {"images": IMAGES, "labels": LABELS} | WORDED[message]
    with pytest.raises(UserError, match=message):
        open_dataset(save(tmp_path / "bad.npz", **arrays))


def claiming(path, key, header, content=b"", version=(1, 0)):
    """An .npz one of whose arrays has a header of its own."""
    array = io.BytesIO()
    write = np.lib.format.write_array_header_1_0
    write(array, {"descr": "|u1", "fortran_order": False, "shape": (1,)} | header)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, other in {"images": IMAGES, "labels": LABELS}.items():
            file = io.BytesIO()
            np.save(file, other)
            whole = array.getvalue() + content
            archive.writestr(f"{name}.npy", whole if name == key else file.getvalue())
    return f"arrays:{path}"


LIES = {
    "header of images claims 1,099,511,627,776 bytes": {"shape": (2**40, 1, 1)},
    r"header of images claims 1,267,\S* bytes": {"shape": (2**100, 1, 1)},
    "images holds Python objects": {"descr": "|O", "shape": (20,)},
    r"claims -1 bytes": {"shape": (-1, 1, 1)},
    "claims 1 bytes, shape .*, and 0 are there": {"shape": (1, 1, 1)},
}


@pytest.mark.parametrize("message", LIES)
def test_case_27_headers_that_lie(message, tmp_path):
    address = claiming(tmp_path / "lies.npz", "images", LIES[message])
    with pytest.raises(UserError, match=rf"lies\.npz: not a readable .*{message}"):
        open_dataset(address)


def test_case_27_more_than_the_memory_is_not_read(tmp_path, monkeypatch):
    """A few compressed bytes can hold any number of zeros."""
    np.savez_compressed(
        tmp_path / "zeros.npz", images=np.zeros((9000, 9, 9), "u1"), labels=LABELS
    )
    monkeypatch.setattr(npz, "memory_bytes", lambda: 500_000)
    monkeypatch.setattr(np.lib.format, "read_array", None)
    with pytest.raises(UserError, match=r"images needs .* GiB of this machine's"):
        open_dataset(f"arrays:{tmp_path / 'zeros.npz'}")


def test_case_27_an_array_that_comes_twice(tmp_path):
    path = tmp_path / "twice.npz"
    save(path, images=IMAGES, labels=LABELS)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Dupl"):
        archive.writestr("labels.npy", archive.read("labels.npy"))
    with pytest.raises(UserError, match="labels comes twice"):
        open_dataset(f"arrays:{path}")


SETS = np.stack([LABELS, np.where(LABELS == 0, 3, -1)], axis=1)


def test_case_27_sets_of_labels_have_a_key_of_their_own(tmp_path):
    address = save(tmp_path / "s.npz", images=IMAGES, label_sets=SETS)
    source = open_dataset(address)
    assert source.labels.tolist() == LABELS.tolist()
    assert source.class_names == ("0", "1", "2", "3")
    np.testing.assert_array_equal(source.scoring.label_sets, SETS)
    part = open_dataset(f"{address}@test")
    assert part.scoring.label_sets.shape == (2, 2)
    single = ArraySource("s", IMAGES, LABELS, source.class_names)
    assert source.fingerprint != single.fingerprint


BAD_SETS = {
    "label_sets have shape": SETS[:, 0],
    "label_sets are float64": SETS / 1,
    "lowest label is -1": np.where(SETS == 0, -1, SETS),
    "not filled up with -1 behind": np.insert(SETS, 1, -1, axis=1),
    "a label of an image more than once": SETS[:, [0, 0]],
    "label_sets are empty": SETS[:, :0],
    "lengths differ: 20 images, 19 labels": SETS[1:],
    "highest label is 100000 of 20 examples": np.where(SETS == 3, 100_000, SETS),
}


@pytest.mark.parametrize("message", BAD_SETS)
def test_case_27_bad_sets(message, tmp_path):
    with pytest.raises(UserError, match=message):
        open_dataset(
            save(tmp_path / "bad.npz", images=IMAGES, label_sets=BAD_SETS[message])
        )


def test_case_27_labels_or_sets(tmp_path):
    both = save(tmp_path / "b.npz", images=IMAGES, labels=LABELS, label_sets=SETS)
    with pytest.raises(UserError, match="both labels and label_sets are given"):
        open_dataset(both)
