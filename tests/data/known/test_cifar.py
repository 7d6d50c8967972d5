import pickle

import numpy as np
import pytest

from jaxbench.data.known.arrays_io import load_npy, load_pickle
from jaxbench.data.known.cifar import CORRUPTIONS, ROWS
from jaxbench.data.known.files import open_files
from jaxbench.errors import UserError

CIFAR10 = ROWS["cifar10"].class_names()
CIFAR100 = ROWS["cifar100"].class_names()


def python2_pickle(value):
    """Protocol 2 as Python 2 wrote the official files: texts are byte strings."""
    return b"\x80\x02" + dumped(value) + b"."


def dumped(value):
    if isinstance(value, bytes):
        return b"T" + len(value).to_bytes(4, "little") + value
    if isinstance(value, int):
        return b"J" + value.to_bytes(4, "little", signed=True)
    if isinstance(value, list):
        return b"](" + b"".join(map(dumped, value)) + b"e"
    if isinstance(value, dict):
        pairs = (dumped(key) + dumped(item) for key, item in value.items())
        return b"}(" + b"".join(pairs) + b"u"
    one_zero = dumped(0) + b"\x85"
    empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + one_zero
    empty += dumped(b"b") + b"\x87R"
    dtype = b"cnumpy\ndtype\n" + dumped(value.dtype.str[1:].encode())
    dtype += dumped(0) + dumped(1) + b"\x87R"
    dtype += (
        b"(" + dumped(3) + dumped(b"|") + b"NNN" + 2 * dumped(-1) + dumped(0) + b"tb"
    )
    shape = b"(" + b"".join(map(dumped, value.shape)) + b"t"
    state = b"(" + dumped(1) + shape + dtype + b"\x89" + dumped(value.tobytes()) + b"t"
    return empty + state + b"b"


def images_of(seed, count):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 32, 32, 3), np.uint8)


def planes_of(images):
    """Red, green and blue planes, one row an image, as both versions lie."""
    rows = [[image[:, :, c].ravel() for c in range(3)] for image in images]
    return np.array(rows, np.uint8).reshape(len(images), 3072)


BATCHES10 = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}
BATCHES100 = {"train": ["train"], "test": ["test"]}
SETS = {
    "cifar10": ("cifar-10-batches-py", "cifar-10-batches-bin", BATCHES10, 10),
    "cifar100": ("cifar-100-python", "cifar-100-binary", BATCHES100, 100),
}


def stand_in(name, count=3):
    """Content of every batch: images and labels."""
    batches = [b for split in SETS[name][2].values() for b in split]
    return {
        batch: (images_of(seed, count), [(7 * seed + i) % 10 for i in range(count)])
        for seed, batch in enumerate(batches)
    }


def python_files(name, content):
    fine = name == "cifar100"
    files = {
        "batches.meta": {b"label_names": [c.encode() for c in CIFAR10]},
    }
    if fine:
        names = [c.encode() for c in CIFAR100]
        files = {"meta": {b"fine_label_names": names, b"coarse_label_names": [b"fish"]}}
    for batch, (images, labels) in content.items():
        files[batch] = {
            b"batch_label": b"of a kind",
            (b"fine_labels" if fine else b"labels"): labels,
            b"data": planes_of(images),
            b"filenames": [b"a.png"] * len(labels),
        }
        if fine:
            files[batch][b"coarse_labels"] = [19] * len(labels)
    return {file: python2_pickle(value) for file, value in files.items()}


def binary_files(name, content):
    fine = name == "cifar100"
    names = CIFAR100 if fine else CIFAR10
    file = "fine_label_names.txt" if fine else "batches.meta.txt"
    files = {file: "\n".join((*names, "")).encode()}
    for batch, (images, labels) in content.items():
        before = np.array([[19, y] if fine else [y] for y in labels], np.uint8)
        files[f"{batch}.bin"] = np.hstack([before, planes_of(images)]).tobytes()
    return files


@pytest.mark.parametrize("name", SETS)
def test_both_versions_as_folders_and_archives(name, tmp_path, write_tree, pack):
    python, binary, batches, _ = SETS[name]
    content = stand_in(name)
    write_tree(tmp_path / "p" / python, python_files(name, content))
    write_tree(tmp_path / "b" / binary, binary_files(name, content))
    places = [
        tmp_path / "p",
        tmp_path / "p" / python,
        pack(tmp_path / "p", tmp_path / "python.tar.gz"),
        tmp_path / "b",
        pack(tmp_path / "b", tmp_path / "binary.tar"),
    ]
    for split, order in batches.items():
        wanted = [
            (f"{batch}/{row:05}", image, label)
            for batch in order
            for row, (image, label) in enumerate(zip(*content[batch], strict=True))
        ]
        for place in places:
            rows = ROWS[name].read(place, "", split)
            items = list(rows)
            assert len(rows) == len(items) == len(wanted)
            assert [item.id for item in items] == [id for id, _, _ in wanted]
            assert [item.label for item in items] == [label for _, _, label in wanted]
            assert rows.classes == {label for _, _, label in wanted}
            for item, (_, image, _) in zip(items, wanted, strict=True):
                assert item.image.dtype == np.uint8
                np.testing.assert_array_equal(item.image, image)


def test_all_problems_of_all_batches_are_reported(tmp_path, write_tree):
    content = stand_in("cifar10")
    files = python_files("cifar10", content)
    images, labels = content["data_batch_1"]
    files["batches.meta"] = python2_pickle({b"label_names": [b"dog", b"cat"]})
    files["data_batch_1"] = python2_pickle({b"data": planes_of(images)[:, :9]})
    files["data_batch_2"] = python2_pickle(
        {b"data": planes_of(images), b"labels": labels[:2]}
    )
    files["data_batch_3"] = files["data_batch_3"][:-40]
    files["data_batch_4"] = python2_pickle(
        {b"data": planes_of(images)[:, :9], b"labels": [0, 1, 10]}
    )
    del files["data_batch_5"]
    write_tree(tmp_path / "cifar", files)
    with pytest.raises(UserError) as raised:
        ROWS["cifar10"].read(tmp_path, "", "train")
    for part in (
        "batches.meta has the 2 classes dog, cat, ..., wanted the 10 classes airplane",
        "data_batch_1: holds data, wanted data and labels",
        "data_batch_2: labels are int64 [2], wanted whole numbers [3]",
        "data_batch_3: no pickle that can be read",
        "data_batch_4: data is uint8 [3, 9], wanted uint8 [N, 3072]",
        "data_batch_5 is missing",
    ):
        assert part in str(raised.value)
    labels = [0, 1, 10]
    test = python2_pickle({b"data": planes_of(images), b"labels": labels})
    write_tree(tmp_path / "other", {"test_batch": test})
    with pytest.raises(UserError, match="labels are 0 to 10, wanted 0 to 9"):
        ROWS["cifar10"].read(tmp_path / "other", "", "test")


def test_binary_files_cut_short_and_paths_without_them(tmp_path, write_tree):
    files = binary_files("cifar100", stand_in("cifar100"))
    files["test.bin"] = files["test.bin"][:-1]
    write_tree(tmp_path / "c", files)
    with pytest.raises(
        UserError, match=r"test\.bin: 9221 bytes are not a whole .* 3074"
    ):
        ROWS["cifar100"].read(tmp_path / "c", "", "test")
    wanted = r"data_batch_1, .*, or data_batch_1\.bin.* and found 3 names: fine_lab"
    with pytest.raises(UserError, match=wanted):
        ROWS["cifar10"].read(tmp_path / "c", "", "train")
    # Folders that are named like files are not files.
    (tmp_path / "f/train").mkdir(parents=True)
    with pytest.raises(UserError, match="found the name 'train'"):
        ROWS["cifar100"].read(tmp_path / "f", "", "train")
    with pytest.raises(UserError, match="there is nothing at"):
        ROWS["cifar10"].read(tmp_path / "no", "", "test")
    (tmp_path / "cifar.zip").write_bytes(b"")
    with pytest.raises(UserError, match="is a zip; unpack it"):
        ROWS["cifar10"].read(tmp_path / "cifar.zip", "", "test")


class Run:
    def __reduce__(self):
        return (exec, ("raise SystemExit('it ran')",))


def test_pickles_that_name_more_than_arrays_are_refused(tmp_path, write_tree):
    files = python_files("cifar100", stand_in("cifar100"))
    files["test"] = pickle.dumps({"data": Run()}, protocol=2)
    write_tree(tmp_path / "c", files)
    with pytest.raises(UserError, match=r"test: .*names __builtin__\.exec, which"):
        ROWS["cifar100"].read(tmp_path, "", "test")
    with pytest.raises(ValueError, match=r"names numpy\.fromfile"):
        load_pickle(b"cnumpy\nfromfile\n.")
    with pytest.raises(ValueError, match="a pickled list, wanted a dict"):
        load_pickle(python2_pickle([1]))
    found = load_pickle(pickle.dumps({"a": np.arange(3), "b": [1.5]}, protocol=4))
    assert found["a"].tolist() == [0, 1, 2]
    assert found["b"] == [1.5]


def save_arrays(folder, **arrays):
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


@pytest.mark.parametrize("version", ROWS["cifar10.1"].configs)
def test_the_new_test_set(version, tmp_path):
    images, labels = images_of(0, 4), np.array([3, 0, 9, 3], np.int32)
    np.save(tmp_path / f"cifar10.1_{version}_data.npy", images)
    np.save(tmp_path / f"cifar10.1_{version}_labels.npy", labels)
    items = list(ROWS["cifar10.1"].read(tmp_path, version, "test"))
    assert [item.id for item in items] == [f"{version}/{i:05}" for i in range(4)]
    assert [item.label for item in items] == labels.tolist()
    np.testing.assert_array_equal([item.image for item in items], images)
    np.save(tmp_path / f"cifar10.1_{version}_data.npy", images.astype(np.float32))
    np.save(tmp_path / f"cifar10.1_{version}_labels.npy", labels[:3])
    with pytest.raises(UserError, match=r"data\.npy: float32 .*wanted uint8.*\[3\]"):
        ROWS["cifar10.1"].read(tmp_path, version, "test")
    (tmp_path / f"cifar10.1_{version}_labels.npy").unlink()
    with pytest.raises(UserError, match=r"labels\.npy: is missing; found the name"):
        ROWS["cifar10.1"].read(tmp_path, version, "test")


@pytest.mark.parametrize("name", ["cifar10-c", "cifar100-c"])
def test_a_severity_is_a_slice_with_the_clean_ids(name, tmp_path, pack):
    images, labels = images_of(1, 15), np.tile([2, 7, 4], 5).astype(np.uint8)
    folder = tmp_path / "of/CIFAR-100-C" if name == "cifar100-c" else tmp_path / "of"
    save_arrays(folder, fog=images, labels=labels)
    other = tmp_path / "of/another"
    save_arrays(other, fog=images[::-1], labels=labels)
    row = ROWS[name]
    assert len(row.configs) == 95
    archive = pack(tmp_path / "of", tmp_path / "c.tar")
    for place in (tmp_path / "of", archive):
        for severity in (1, 2, 5):
            items = list(row.read(place, f"fog_{severity}", "test"))
            part = slice(3 * (severity - 1), 3 * severity)
            np.testing.assert_array_equal([i.image for i in items], images[part])
            assert [item.label for item in items] == [2, 7, 4]
            clean = "test" if name == "cifar100-c" else "test_batch"
            assert [item.id for item in items] == [f"{clean}/{i:05}" for i in range(3)]
        path = "CIFAR-100-C/fog.npy" if name == "cifar100-c" else "fog.npy"
        mapped = open_files(place).array(path)
        assert isinstance(mapped, np.memmap)
        assert np.shares_memory(load_npy(mapped), mapped)


def test_corrupted_files_that_are_wrong(tmp_path):
    row = ROWS["cifar10-c"]
    images, labels = images_of(1, 10), np.tile([1, 0], 5)
    save_arrays(tmp_path, snow=images[:, :, :, :2], labels=labels)
    with pytest.raises(UserError, match=r"snow\.npy: uint8 \[10, 32, 32, 2\], wanted"):
        row.read(tmp_path, "snow_1", "test")
    save_arrays(tmp_path, snow=images[:9], labels=labels[:9])
    with pytest.raises(UserError, match="9 images, wanted as many of each of the 5"):
        row.read(tmp_path, "snow_1", "test")
    save_arrays(tmp_path, snow=images, labels=np.arange(10))
    with pytest.raises(UserError, match="wanted the same 2 labels 5 times"):
        row.read(tmp_path, "snow_1", "test")
    save_arrays(tmp_path, snow=images, labels=labels.astype(float))
    with pytest.raises(UserError, match="labels are float64"):
        row.read(tmp_path, "snow_1", "test")
    whole = (tmp_path / "snow.npy").read_bytes()
    (tmp_path / "snow.npy").write_bytes(whole[:-1])
    np.save(tmp_path / "labels.npy", np.array([{}]), allow_pickle=True)
    both = r"snow\.npy: cut short: 30719 of the 30720 .*labels\.npy: .*Python objects"
    with pytest.raises(UserError, match=both):
        row.read(tmp_path, "snow_1", "test")
    (tmp_path / "snow.npy").write_bytes(b"")
    with pytest.raises(UserError, match=r"snow\.npy: no \.npy file that can be read"):
        row.read(tmp_path, "snow_1", "test")
    with pytest.raises(UserError, match=r"fog\.npy: is missing"):
        row.read(tmp_path, "fog_1", "test")
    # Both sets' files have the same names: nothing is taken from the other's folder.
    save_arrays(tmp_path / "both/CIFAR-100-C", snow=images, labels=labels)
    with pytest.raises(UserError, match=r"expected snow\.npy .*in CIFAR-10-C"):
        row.read(tmp_path / "both", "snow_1", "test")


def test_names_and_numbers():
    assert len(set(CORRUPTIONS)) == 19
    names = "airplane automobile bird cat deer dog frog horse ship truck"
    assert " ".join(CIFAR10) == names
    assert len(CIFAR100) == 100
    assert list(CIFAR100) == sorted(CIFAR100)
    counts = {name: dict(row.num_examples) for name, row in ROWS.items()}
    assert counts["cifar10"] == counts["cifar100"] == {"train": 50_000, "test": 10_000}
    assert ROWS["cifar10.1"].expected("v6", "test") == 2_000
    assert ROWS["cifar10.1"].expected("v4", "test") == 2_021
    assert ROWS["cifar10-c"].expected("fog_5", "test") == 10_000
