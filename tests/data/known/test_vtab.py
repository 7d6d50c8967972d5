import dataclasses

import numpy as np
import pytest

from jaxbench.data import KNOWN, expand_addresses, open_dataset, prepare_dataset
from jaxbench.data.catalog import can_open
from jaxbench.data.known.open import NotPreparedError, open_known
from jaxbench.data.known.vtab import VTAB
from jaxbench.errors import UserError

# Training images, and how many of them VTAB's code trains on where it validates on the
# rest: percentages of its files for each dataset, rounded down.
TRAINED_ON = {
    "caltech101": (3_059, 90),
    "cifar100": (50_000, 90),
    "pets": (3_680, 80),
    "svhn": (73_257, 90),
    "eurosat": (27_000, 60),
    "resisc45": (31_500, 60),
    "clevr_count": (70_000, 90),
    "clevr_distance": (70_000, 90),
    "dsprites_location": (737_280, 80),
    "dsprites_orientation": (737_280, 80),
}


def test_the_tasks():
    groups = {}
    for task in VTAB.values():
        groups.setdefault(task.group, []).append(task.num_classes)
    # 7, 4 and 8 tasks: table 1 of the paper.
    assert groups == {
        "natural": [102, 100, 47, 102, 37, 10, 397],
        "specialized": [2, 10, 45, 5],
        "structured": [8, 6, 6, 4, 16, 16, 18, 9],
    }


def test_splits_are_those_of_the_benchmark():
    for name, task in VTAB.items():
        validation = "validation[:200]"
        if name.startswith("smallnorb"):
            validation = "test[:200]"
        elif name in TRAINED_ON:
            total, percent = TRAINED_ON[name]
            start = total * percent // 100
            validation = f"train[{start}:{start + 200}]"
        assert task.splits["train800"] == "train[:800]", name
        assert task.splits["val200"] == validation, name
        assert task.splits["train800val200"] == f"train[:800]+{validation}", name
    tests = {name: task.splits["test"] for name, task in VTAB.items()}
    special = {name: split for name, split in tests.items() if split != "test"}
    assert special == {
        "eurosat": "train[21600:]",
        "resisc45": "train[25200:]",
        "clevr_count": "validation",
        "clevr_distance": "validation",
        "dsprites_location": "train[663552:]",
        "dsprites_orientation": "train[663552:]",
        "smallnorb_azimuth": "test[50%:]",
        "smallnorb_elevation": "test[50%:]",
    }
    for name in ("eurosat", "resisc45", "dsprites_location"):
        total = TRAINED_ON[name][0]
        start = int(tests[name][6:-2])
        assert VTAB[name].num_test == total - start


def test_addresses():
    assert VTAB["eurosat"].address("test") == "tfds:eurosat/rgb@train[21600:]"
    plain = [name for name, task in VTAB.items() if task.label is None]
    assert len(plain) == 12
    assert VTAB["dtd"].address("train800val200") == (
        "tfds:dtd@train[:800]+validation[:200]"
    )
    with pytest.raises(UserError, match="unknown split of VTAB 'val'"):
        VTAB["dtd"].address("val")
    with pytest.raises(
        UserError, match=r"dsprites@train\[:800\] has no label .*by 255"
    ):
        VTAB["dsprites_location"].address("train800")


def objects(**values):
    return {"objects": {key: np.array(value) for key, value in values.items()}}


def depths(*values):
    return objects(pixel_coords=[[1, 2, value] for value in values])


def vehicles(*pairs):
    kinds = [kind for kind, _ in pairs]
    places = [[0, 0, z] for _, z in pairs]
    return objects(type=kinds, location=np.array(places, np.float32).reshape(-1, 3))


@pytest.mark.parametrize(
    ("name", "record", "label"),
    [
        ("clevr_count", objects(size=[0, 1, 1]), 0),
        ("clevr_count", objects(size=[0] * 10), 7),
        ("clevr_distance", depths(12.0, 7.9), 0),
        # A value on an edge belongs to the bin below it.
        ("clevr_distance", depths(8.0), 0),
        ("clevr_distance", depths(9.2, 9.1), 3),
        ("clevr_distance", depths(10.5), 5),
        ("kitti_distance", vehicles((0, 7.0), (2, 30.0)), 0),
        ("kitti_distance", vehicles((0, 12.0), (3, 2.0)), 1),
        ("kitti_distance", vehicles((1, 25.0)), 2),
        ("kitti_distance", vehicles((3, 5.0)), 3),
        ("kitti_distance", vehicles(), 3),
        ("dsprites_location", {"label_x_position": 31}, 15),
        ("dsprites_location", {"label_x_position": 1}, 0),
        ("dsprites_orientation", {"label_orientation": 39}, 15),
        ("dsprites_orientation", {"label_orientation": np.int64(5)}, 2),
        ("smallnorb_azimuth", {"label_azimuth": 17}, 17),
        ("smallnorb_elevation", {"label_elevation": 8}, 8),
    ],
)
def test_labels_that_are_made(name, record, label):
    make = VTAB[name].label
    assert make(record) == label
    assert isinstance(make(record), int)
    assert label < VTAB[name].num_classes


def test_split_expressions_are_read_without_tensorflow(tmp_path, write_tree, encoded):
    files = {
        f"{split}/{name}/{i}.png": encoded(i, 4, 4, "PNG")
        for split in ("train", "val")
        for name in "ab"
        for i in range(3)
    }
    prepare_dataset(write_tree(tmp_path / "dtd", files), "dtd")
    task = VTAB["dtd"]
    small = task.address("train800val200").replace("800", "2").replace("200", "1")
    assert len(open_dataset(small)) == 3
    whole = open_dataset("tfds:dtd@train")
    assert open_dataset(small)[1].image == whole[1].image


@pytest.fixture
def textures(tmp_path, write_tree, encoded):
    """DTD in the small, as TFDS prepares it: 6 images a split."""
    files = {
        f"{split}/{name}/{i}.png": encoded(i, 4, 4, "PNG")
        for split in ("train", "val", "test")
        for name in "ab"
        for i in range(3)
    }
    prepare_dataset(write_tree(tmp_path / "dtd", files), "dtd")


def test_tasks_are_opened_by_name_and_counted(textures):
    expected = "vtab/dtd@test: expected 1880 images and found 6 in tfds:dtd@test"
    for address in ("vtab/dtd", "vtab/dtd@test"):
        with pytest.raises(UserError, match=f"{expected}; prepare it again, or open"):
            open_dataset(address)
    with pytest.raises(UserError, match=r"dtd@train800: .*\[:800\] .* 6 examples"):
        open_dataset("vtab/dtd@train800")
    row = dataclasses.replace(KNOWN["vtab"], num_examples={"dtd@test": 6})
    source = open_known("vtab", row, "dtd", "test")
    assert source.name == "vtab/dtd"
    assert source.fingerprint == open_dataset("tfds:dtd@test").fingerprint
    assert source.class_names == ("a", "b")
    assert source.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert can_open("vtab/dtd@test")
    assert expand_addresses("vtab/dtd@val200") == ("vtab/dtd@val200",)


def test_tasks_that_cannot_be_opened_say_what_to_do():
    with pytest.raises(NotPreparedError, match=r"dtd is not prepared.*`tfds build dtd"):
        open_dataset("vtab/dtd")
    with pytest.raises(NotPreparedError, match=r"vtab/clevr_count@test: .*no label"):
        open_dataset("vtab/clevr_count@test")
    assert not can_open("vtab/dtd")
    assert not can_open("vtab/clevr_count")
    with pytest.raises(UserError, match="names 19 datasets; choose one"):
        open_dataset("vtab")
    with pytest.raises(UserError, match="unknown split 'train'"):
        open_dataset("vtab/dtd@train")
    assert len(KNOWN["vtab"].configs) == 19
    assert KNOWN["vtab"].splits == ("train800", "val200", "train800val200", "test")
