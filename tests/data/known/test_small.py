import base64
import zlib

import numpy as np
import pytest

from jaxbench.data.known.matlab import load_mat
from jaxbench.data.known.small import ROWS
from jaxbench.errors import UserError

# Written by scipy.io.savemat (SciPy 1.17.1), compressed: X counts 0 to 250 and again,
# uint8 [32, 32, 3, 2] column-major, and y is uint8 [[10], [3]].
SVHN = """
ICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg
ICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAAAAAA
AAAAAAABSU0PAAAAbAEAAHic42NgYLCQYGBgA9IcQMzJAAGsQCwAxApQzAzETEDMCIQRUDaDBEiAiZmF
lY2dg5OLm4eXj19AUEhYRFRMXEJSSlpGVk5eQVFJWUVVTV1DU0tbR1dP38DQyNjE1MzcwtLK2sbWzt7B
0cnZxdXN3cPTy9vH188/IDAoOCQ0LDwiMio6JjYuPiExKTklNS09IzMrOyc3L7+gsKi4pLSsvKKyqrqm
tq6+obGpuaW1rb2js6u7p7evf8LESZOnTJ02fcbMWbPnzJ03f8HCRYuXLF22fMXKVavXrF23fsPGTZu3
bN22fcfOXbv37N23/8DBQ4ePHD12/MTJU6fPnD13/sLFS5evXL12/cbNW7fv3L13/8HDR4+fPH32/MXL
V6/fvH33/sPHT5+/fP32/cfPX6NeH/X6qNdHvT7q9VGvj3p91OujXh/1+qjXR70+6vVRr496fdTro14f
9fqo10e9Pur1Ua8PW68DAIKmmzUPAAAAKQAAAHic42NgYDAAYjYg5gBiTgYIYIXymYCYEYwZGSrBfCYG
LmYGBgAYywDy
"""
# As above, not compressed: uint16 trnid [[3, 1]] and tstid [[5, 4, 300]], double valid
# [[2]], and a text between them.
SETS = """
ICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg
ICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAAAAAA
AAAAAAABSU0OAAAAOAAAAAYAAAAIAAAACwAAAAAAAAAFAAAACAAAAAEAAAACAAAAAQAAAAUAAAB0cm5p
ZAAAAAQABAADAAEADgAAADgAAAAGAAAACAAAAAQAAAAAAAAABQAAAAgAAAABAAAABQAAAAEABABub3Rl
EAAAAAUAAABoZWxsbwAAAA4AAABAAAAABgAAAAgAAAAGAAAAAAAAAAUAAAAIAAAAAQAAAAEAAAABAAAA
BQAAAHZhbGlkAAAACQAAAAgAAAAAAAAAAAAAQA4AAABAAAAABgAAAAgAAAALAAAAAAAAAAUAAAAIAAAA
AQAAAAMAAAABAAAABQAAAHRzdGlkAAAABAAAAAYAAAAFAAQALAEAAA==
"""


def golden(text):
    return np.frombuffer(base64.b64decode(text), np.uint8)


def mat_file(arrays, *, order="<", packed=True, types=None):
    """A MAT-file of version 5; doubles may lie in smaller numbers, as MATLAB's do."""
    mark = b"IM" if order == "<" else b"MI"
    version = b"\0\1" if order == "<" else b"\1\0"
    content = b" " * 116 + bytes(8) + version + mark
    for name, array in arrays.items():
        element = matrix(name, array, order, (types or {}).get(name))
        if packed:
            element = zlib.compress(element)
            element = tag(15, len(element), order) + element
        content += element
    return content


def tag(kind, size, order):
    return np.array([kind, size], f"{order}u4").tobytes()


def element(kind, data, order):
    return tag(kind, len(data), order) + data + bytes(-len(data) % 8)


def matrix(name, array, order, kept=None):
    kinds = {"i1": 1, "u1": 2, "i2": 3, "u2": 4, "i4": 5, "u4": 6, "f4": 7, "f8": 9}
    classes = {"f8": 6, "f4": 7, "i1": 8, "u1": 9, "i2": 10, "u2": 11, "i4": 12}
    kept = kept or array.dtype.str[1:]
    flags = np.array([classes[array.dtype.str[1:]], 0], f"{order}u4").tobytes()
    shape = np.array(array.shape, f"{order}i4").tobytes()
    numbers = array.astype(f"{order}{kept}").tobytes(order="F")
    body = element(6, flags, order) + element(5, shape, order)
    body += element(1, name.encode(), order) + element(kinds[kept], numbers, order)
    return element(14, body, order)


def test_files_of_another_program():
    found = load_mat(golden(SVHN), ["X", "y"])
    counted = (np.arange(32 * 32 * 3 * 2) % 251).astype(np.uint8)
    assert found["X"].dtype == np.uint8
    np.testing.assert_array_equal(found["X"], counted.reshape(32, 32, 3, 2, order="F"))
    assert found["y"].tolist() == [[10], [3]]
    found = load_mat(golden(SETS), ["trnid", "valid", "tstid"])
    assert {name: array.tolist() for name, array in found.items()} == {
        "trnid": [[3, 1]],
        "valid": [[2.0]],
        "tstid": [[5, 4, 300]],
    }
    assert found["valid"].dtype == np.float64
    assert list(load_mat(golden(SETS), ["tstid", "other"])) == ["tstid"]
    with pytest.raises(ValueError, match="note is not an array of real numbers"):
        load_mat(golden(SETS), ["note"])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packed", [True, False])
def test_arrays_of_every_order_and_type(order, packed):
    rng = np.random.default_rng(0)
    arrays = {
        kind: rng.integers(0, 100, (3, 5, 2)).astype(kind)
        for kind in ("f8", "f4", "i1", "u1", "i2", "u2", "i4")
    }
    content = mat_file(arrays, order=order, packed=packed, types={"f8": "u1"})
    found = load_mat(np.frombuffer(content, np.uint8), list(arrays))
    for kind, array in arrays.items():
        assert found[kind].dtype.newbyteorder("=") == array.dtype
        np.testing.assert_array_equal(found[kind], array)
    # Larger than a piece that is unpacked at once.
    large = {"a": np.tile(np.arange(200, dtype=np.uint8), (1, 20_000))}
    content = mat_file(large, order=order, packed=packed)
    found = load_mat(np.frombuffer(content, np.uint8), ["a"])
    np.testing.assert_array_equal(found["a"], large["a"])


def test_damaged_files():
    whole = golden(SVHN)
    for end, message in (
        (100, "no MAT-file of version 5"),
        (300, "cut short: ends at byte 300"),
        (132, "cut short"),
    ):
        with pytest.raises(ValueError, match=message):
            load_mat(whole[:end], ["X", "y"])
    turned = whole.copy()
    turned[200] ^= 255
    with pytest.raises(ValueError, match="compressed data is damaged"):
        load_mat(turned, ["X", "y"])
    with pytest.raises(ValueError, match=r"version 7\.3 \(HDF5\)"):
        load_mat(np.frombuffer(b"MATLAB 7.3 MAT-file".ljust(128), np.uint8), ["X"])
    element = zlib.compress(matrix("a", np.zeros(1000), "<"))[:-9]
    short = mat_file({}) + tag(15, len(element), "<") + element
    with pytest.raises(ValueError, match="compressed data ends too early"):
        load_mat(np.frombuffer(short, np.uint8), ["a"])


def write_svhn(folder, split, images, labels, **options):
    folder.mkdir(exist_ok=True)
    arrays = {"X": images, "y": labels}
    (folder / f"{split}_32x32.mat").write_bytes(mat_file(arrays, **options))


def test_svhn(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 4), np.uint8)
    labels = np.array([[10], [1], [9], [10]], np.float64)
    write_svhn(tmp_path / "svhn", "extra", images, labels, types={"y": "u1"})
    for place in (tmp_path, tmp_path / "svhn"):
        rows = ROWS["svhn"].read(place, "", "extra")
        items = list(rows)
        assert len(rows) == 4
        assert [item.id for item in items] == [f"extra/{i:06}" for i in range(4)]
        assert [item.label for item in items] == [0, 1, 9, 0]
        for i, item in enumerate(items):
            np.testing.assert_array_equal(item.image, images[:, :, :, i])
    (tmp_path / "test_32x32.mat").write_bytes(golden(SVHN).tobytes())
    items = list(ROWS["svhn"].read(tmp_path, "", "test"))
    # Column-major: the first column of the image counts 0 to 31.
    assert items[0].image[:, 0, 0].tolist() == list(range(32))
    assert [item.label for item in items] == [0, 3]


def test_svhn_that_is_wrong(tmp_path):
    images = np.zeros((32, 30, 3, 2), np.uint8)
    write_svhn(tmp_path, "train", images, np.array([[11.0], [0.5]]))
    with pytest.raises(UserError) as raised:
        ROWS["svhn"].read(tmp_path, "", "train")
    assert "train_32x32.mat: X is uint8 [32, 30, 3, 2]" in str(raised.value)
    assert "train_32x32.mat: y holds numbers that are not whole" in str(raised.value)
    assert "train_32x32.mat: y: labels are 0 to 11, wanted 1 to 10" in str(raised.value)
    (tmp_path / "train_32x32.mat").write_bytes(mat_file({"X": images}))
    with pytest.raises(UserError, match=r"train_32x32\.mat lacks the array 'y'"):
        ROWS["svhn"].read(tmp_path, "", "train")
    wanted = r"expected test_32x32\.mat, and found the name 'train_32x32\.mat'"
    with pytest.raises(UserError, match=wanted):
        ROWS["svhn"].read(tmp_path, "", "test")


def columns_of(images):
    """Three planes, each column by column: what STL-10's files hold."""
    rows = [[image[:, :, c].ravel("F") for c in range(3)] for image in images]
    return np.array(rows, np.uint8).tobytes()


def stl10_files():
    images = np.random.default_rng(0).integers(0, 256, (7, 96, 96, 3), np.uint8)
    parts = {"train": images[:2], "test": images[2:4], "unlabeled": images[4:]}
    names = ROWS["stl10"].class_names()
    files = {f"{split}_X.bin": columns_of(part) for split, part in parts.items()}
    files["train_y.bin"], files["test_y.bin"] = bytes([10, 1]), bytes([3, 3])
    files["class_names.txt"] = "\n".join((*names, "")).encode()
    return parts, files


def test_stl10(tmp_path, write_tree, pack):
    parts, files = stl10_files()
    write_tree(tmp_path / "a/stl10_binary", files)
    labels = {"train": [9, 0], "test": [2, 2], "unlabeled": [-1, -1, -1]}
    archive = pack(tmp_path / "a", tmp_path / "stl10_binary.tar.gz")
    for place in (tmp_path / "a", archive):
        for split, images in parts.items():
            items = list(ROWS["stl10"].read(place, "", split))
            ids = [f"{split}/{i:06}" for i in range(len(images))]
            assert [item.id for item in items] == ids
            assert [item.label for item in items] == labels[split]
            np.testing.assert_array_equal([item.image for item in items], images)


def test_stl10_that_is_wrong(tmp_path, write_tree):
    _, files = stl10_files()
    files["train_X.bin"] = files["train_X.bin"][:-1]
    files["class_names.txt"] = b"cat\ndog\n"
    del files["test_y.bin"]
    write_tree(tmp_path, files)
    with pytest.raises(UserError) as raised:
        ROWS["stl10"].read(tmp_path, "", "train")
    assert "train_X.bin: 55295 bytes are not a whole number of images" in str(
        raised.value
    )
    assert "train_y.bin: labels are int64 [2], wanted" in str(raised.value)
    assert "class_names.txt: its classes are cat, dog" in str(raised.value)
    with pytest.raises(UserError, match=r"test_y\.bin is missing; found 5 names"):
        ROWS["stl10"].read(tmp_path, "", "test")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"expected train_X\.bin, and found nothing"):
        ROWS["stl10"].read(tmp_path / "empty", "", "train")


def flower_files(labels=(1, 102, 3, 4, 5)):
    sets = {"trnid": [[3, 1]], "valid": [[2.0]], "tstid": [[5, 4]]}
    arrays = {name: np.array(numbers, np.float64) for name, numbers in sets.items()}
    return {
        "imagelabels.mat": mat_file({"labels": np.array([labels], np.float64)}),
        "setid.mat": mat_file(arrays, types=dict.fromkeys(arrays, "u2")),
    }


def test_flowers102(tmp_path, write_tree, pack, encoded):
    images = {f"jpg/image_{i:05}.jpg": encoded(i) for i in range(1, 6)}
    write_tree(tmp_path / "a", flower_files() | images)
    write_tree(tmp_path / "b", flower_files())
    write_tree(tmp_path / "images", images)
    pack(tmp_path / "images", tmp_path / "b/102flowers.tgz")
    wanted = {
        "train": [(3, 2), (1, 0)],
        "validation": [(2, 101)],
        "test": [(5, 4), (4, 3)],
    }
    for place in (tmp_path / "a", tmp_path / "b"):
        for split, rows in wanted.items():
            listing = ROWS["flowers102"].read(place, "", split)
            assert len(listing) == len(rows)
            found = [tuple(item) for item in listing]
            ids = [f"jpg/image_{number:05}.jpg" for number, _ in rows]
            assert found == [
                (id, images[id], label, ())
                for id, (_, label) in zip(ids, rows, strict=True)
            ]


def test_flowers102_that_are_wrong(tmp_path, write_tree, encoded):
    row = ROWS["flowers102"]
    write_tree(tmp_path, flower_files())
    with pytest.raises(UserError, match=r"expected jpg/ or 102flowers\.tgz, found 2"):
        row.read(tmp_path, "", "train")
    write_tree(tmp_path, {"jpg/image_00003.jpg": encoded(0)})
    with pytest.raises(UserError, match=r"1 of 2 listed .* jpg/image_00001\.jpg"):
        row.read(tmp_path, "", "train")
    write_tree(tmp_path, flower_files(labels=(0, 1, 2)))
    both = r"imagelabels\.mat: labels are 0 to 2.*setid\.mat: labels are 4 to 5"
    with pytest.raises(UserError, match=both):
        row.read(tmp_path, "", "test")
    (tmp_path / "setid.mat").write_bytes(b"text")
    (tmp_path / "imagelabels.mat").unlink()
    both = r"imagelabels\.mat is missing.*setid\.mat: no MAT-file of version 5"
    with pytest.raises(UserError, match=both):
        row.read(tmp_path, "", "test")


def test_dtd(tmp_path, write_tree, pack, encoded):
    paths = ["banded/banded_0002.jpg", "zigzagged/zigzagged_0001.jpg", "banded/b_1.jpg"]
    files = {f"images/{path}": encoded(i) for i, path in enumerate(paths)}
    lists = {
        "labels/train1.txt": f"{paths[1]}\n{paths[0]}\n".encode(),
        "labels/val1.txt": f"{paths[2]}\n".encode(),
        "labels/train2.txt": b"bubbly/no.jpg\n",
    }
    write_tree(tmp_path / "a/dtd", files | lists)
    archive = pack(tmp_path / "a", tmp_path / "dtd-r1.0.1.tar.gz")
    for place in (tmp_path / "a", archive):
        items = list(ROWS["dtd"].read(place, "", "train"))
        assert [item.id for item in items] == [paths[1], paths[0]]
        assert [item.label for item in items] == [46, 0]
        assert [item.image for item in items] == [
            files[f"images/{path}"] for path in (paths[1], paths[0])
        ]
        assert len(ROWS["dtd"].read(place, "", "validation")) == 1
    wanted = r"expected labels/test1\.txt, and found the name 'dtd'"
    with pytest.raises(UserError, match=wanted):
        ROWS["dtd"].read(archive, "", "test")
    write_tree(tmp_path / "a/dtd", {"labels/test1.txt": b"banded/no.jpg\ncat/0.jpg"})
    with pytest.raises(UserError, match="class 'cat' is none of the 47"):
        ROWS["dtd"].read(tmp_path / "a", "", "test")
    write_tree(tmp_path / "a/dtd", {"labels/test1.txt": b"banded/no.jpg"})
    with pytest.raises(UserError, match=r"1 of 1 listed images are missing: .*no\.jpg"):
        ROWS["dtd"].read(tmp_path / "a", "", "test")


def test_places365(tmp_path, write_tree, pack, encoded):
    names = [f"Places365_val_0000000{i}.jpg" for i in (1, 2)]
    images = {f"val_256/{name}": encoded(i) for i, name in enumerate(names)}
    listed = {"places365_val.txt": f"{names[0]} 165\n{names[1]} 0\n".encode()}
    write_tree(tmp_path / "a", images | listed)
    write_tree(tmp_path / "b", listed)
    write_tree(tmp_path / "images", images)
    pack(tmp_path / "images", tmp_path / "b/val_256.tar")
    row = ROWS["places365"]
    for place in (tmp_path / "a", tmp_path / "b"):
        items = list(row.read(place, "", row.default_split))
        assert [item.id for item in items] == names
        assert [item.label for item in items] == [165, 0]
        assert [item.image for item in items] == list(images.values())
    assert row.class_names()[152] == "forest_road"
    write_tree(tmp_path / "a", {"places365_val.txt": b"a.jpg 365\nb.jpg\n"})
    with pytest.raises(
        UserError, match=r"2 lines are not a name .* first 'a\.jpg 365'"
    ):
        row.read(tmp_path / "a", "", "validation")
    (tmp_path / "b/val_256.tar").unlink()
    with pytest.raises(UserError, match=r"expected val_256/ or val_256\.tar, found"):
        row.read(tmp_path / "b", "", "validation")


def test_numbers_and_names():
    sizes = {
        name: (len(row.class_names()), sum(row.num_examples.values()))
        for name, row in ROWS.items()
    }
    assert sizes == {
        "svhn": (10, 630_420),
        "stl10": (10, 113_000),
        "flowers102": (102, 8_189),
        "dtd": (47, 5_640),
        "places365": (365, 36_500),
    }
