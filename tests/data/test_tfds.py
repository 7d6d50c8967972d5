import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from jaxbench.data import (
    BatchLoader,
    expand_addresses,
    load_images,
    open_dataset,
    prepare_dataset,
)
from jaxbench.data import prepare as prepare_module
from jaxbench.data.sources import tfds as tfds_module
from jaxbench.data.sources.tfds import data_dir
from jaxbench.errors import UserError
from model_zoo.input_spec import InputSpec

SPEC = InputSpec(size=(8, 8), crop_fraction=1.0)


@pytest.fixture
def folder(tmp_path, write_tree, photos):
    return write_tree(tmp_path / "photos", photos)


@pytest.fixture
def with_splits(tmp_path, write_tree, photos, encoded):
    files = {f"train/{path}": content for path, content in photos.items()}
    files |= {f"val/eel/{i}.png": encoded(i, format="PNG") for i in range(4)}
    return write_tree(tmp_path / "splits", files)


def test_round_trip_keeps_every_byte(folder):
    summary = prepare_dataset(folder, "mine", description="Thirty photographs.")
    assert summary.num_examples == {"train": 30}
    assert summary.class_names == ("cat", "dog", "eel")
    assert summary.path == data_dir() / "mine" / "1.0.0"
    ours, wanted = open_dataset("tfds:mine"), open_dataset(f"folder:{folder}")
    assert [ours[i] for i in range(30)] == [wanted[i] for i in range(30)]
    np.testing.assert_array_equal(ours.labels, wanted.labels)
    assert (ours.ids, ours.class_names) == (wanted.ids, wanted.class_names)
    np.testing.assert_array_equal(
        load_images(ours, SPEC, num_threads=8).images, load_images(wanted, SPEC).images
    )
    # Nothing but the dataset is left behind.
    assert [path.name for path in data_dir().iterdir()] == ["mine"]


def test_plain_tfds_reads_it(folder, photos):
    import tensorflow_datasets as tfds

    summary = prepare_dataset(folder, "mine")
    builder = tfds.builder_from_directory(summary.path)
    assert builder.info.features["label"].names == ["cat", "dog", "eel"]
    records = builder.as_data_source(
        split="train", decoders={"image": tfds.decode.SkipDecoding()}
    )
    assert len(records) == 30
    for record in records:
        assert record["image"] == photos[record["file_name"].decode()]
    pixels = builder.as_data_source(split="train")[3]["image"]
    assert pixels.shape == (12, 17, 3)


def test_splits_become_splits(with_splits):
    summary = prepare_dataset(with_splits, "mine")
    assert summary.num_examples == {"train": 30, "validation": 4}
    held_out = open_dataset("tfds:mine")
    assert held_out.ids == tuple(f"eel/{i}.png" for i in range(4))
    assert held_out.labels.tolist() == [2] * 4
    assert len(open_dataset("tfds:mine@train[:50%]")) == 15
    assert len(open_dataset("tfds:mine@train+validation")) == 34
    with pytest.raises(UserError, match=r"'train\[:999\]': .*999"):
        open_dataset("tfds:mine@train[:999]")
    with pytest.raises(UserError, match="unknown split 'tran'; did you mean 'train'"):
        open_dataset("tfds:mine@tran")
    relabelled = open_dataset("tfds:mine", class_names=["eel", "dog", "cat"])
    assert relabelled[0].label == 0


def test_versions_and_configs(folder, with_splits):
    prepare_dataset(folder, "mine")
    prepare_dataset(with_splits, "mine", version="10.0.0")
    prepare_dataset(folder, "mine", version="9.0.0")
    assert len(open_dataset("tfds:mine")) == 4  # 10 is newer than 9
    assert len(open_dataset("tfds:mine:9.0.0")) == 30
    for config in ("blur", "fog"):
        shutil.copytree(data_dir() / "mine/1.0.0", data_dir() / f"c/{config}/1.0.0")
    assert len(open_dataset("tfds:c/fog")) == 30
    with pytest.raises(UserError, match="has the configs blur, fog; say which"):
        open_dataset("tfds:c")
    assert expand_addresses("tfds:c/*@train") == (
        "tfds:c/blur@train",
        "tfds:c/fog@train",
    )
    with pytest.raises(UserError, match="matches nothing among its prepared configs"):
        expand_addresses("tfds:c/x*")


def test_what_is_not_prepared_says_how_to(folder):
    with pytest.raises(UserError, match=r"no prepared.*prepare_dataset.*tfds build"):
        open_dataset("tfds:nothing")
    prepare_dataset(folder, "mine")
    with pytest.raises(UserError, match=r"no prepared dataset in .*mine/2\.0\.0"):
        open_dataset("tfds:mine:2.0.0")


def edit_json(path, edit):
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def test_other_formats_and_features_are_refused(folder):
    path = prepare_dataset(folder, "mine").path
    edit_json(path / "dataset_info.json", lambda c: c.update(fileFormat="tfrecord"))
    with pytest.raises(UserError, match=r"prepared as tfrecord.*convert_format"):
        open_dataset("tfds:mine")
    path = prepare_dataset(folder, "text").path
    edit_json(
        path / "features.json",
        lambda c: c["featuresDict"]["features"].pop("label"),
    )
    with pytest.raises(UserError, match=r"0 features of kind ClassLabel.*file_name"):
        open_dataset("tfds:text")


def test_without_a_file_name_the_place_is_the_id(folder):
    path = prepare_dataset(folder, "mine").path
    edit_json(
        path / "features.json",
        lambda c: c["featuresDict"]["features"].pop("file_name"),
    )
    source = open_dataset("tfds:mine")
    assert source.ids[:2] == ("train/0000000", "train/0000001")
    assert source[1].id == "train/0000001"


def test_the_index_is_read_once_and_follows_the_files(folder, photos, monkeypatch):
    prepare_dataset(folder, "mine")
    first = open_dataset("tfds:mine")
    read_index = tfds_module._read_index
    monkeypatch.delattr(tfds_module, "_read_index")
    assert open_dataset("tfds:mine").fingerprint == first.fingerprint
    monkeypatch.setattr(tfds_module, "_read_index", read_index, raising=False)
    (folder / "cat/00.jpg").write_bytes(photos["cat/01.jpg"])
    prepare_dataset(folder, "mine", version="1.0.1")
    assert open_dataset("tfds:mine").fingerprint != first.fingerprint


def test_damaged_records(folder, monkeypatch):
    path = prepare_dataset(folder, "mine").path
    source = open_dataset("tfds:mine")
    shard = next(path.glob("*array_record*"))
    content = bytearray(shard.read_bytes())
    content[2000:9000] = bytes(7000)
    shard.write_bytes(content)
    batches = list(BatchLoader(source, SPEC, 30, on_error="skip"))
    assert batches[0].valid.sum() < 30
    with pytest.raises(UserError, match=r"record \d+ cannot be read.*prepare"):
        open_dataset("tfds:mine")


BAD_ARGUMENTS = {
    "the name is 'My data'": {"name": "My data"},
    "the version is '1'": {"version": "1"},
    "only_split is 'all'": {"only_split": "all"},
}


@pytest.mark.parametrize("message", BAD_ARGUMENTS)
def test_bad_arguments(folder, message):
    arguments = {"source_path": folder, "name": "mine"} | BAD_ARGUMENTS[message]
    with pytest.raises(UserError, match=message):
        prepare_dataset(**arguments)


def test_it_never_overwrites_and_leaves_no_half(folder, monkeypatch, tmp_path):
    prepare_dataset(folder, "mine", tmp_path / "data")
    with pytest.raises(UserError, match="already there; give another version"):
        prepare_dataset(folder, "mine", tmp_path / "data")
    with pytest.raises(UserError, match="there is nothing at"):
        prepare_dataset(tmp_path / "nowhere", "other", tmp_path / "data")
    monkeypatch.setattr(
        prepare_module.FolderSource, "__len__", lambda self: len(self.ids) - 1
    )
    monkeypatch.setattr(prepare_module, "_write", writes_too_much)
    with pytest.raises(UserError, match="holds 30 records of 29 images"):
        prepare_dataset(folder, "other", tmp_path / "data")
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["mine"]


def writes_too_much(splits, name, version, description, temporary):
    whole = Path(temporary).parent / "mine" / "1.0.0"
    shutil.copytree(whole, temporary / name / version)


def cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def as_folder(file):
    file.unlink()
    file.mkdir()


def fewer_records(file):
    edit_json(file, lambda c: c["splits"][0].update(shardLengths=["20"]))


def another_version(file):
    edit_json(file, lambda c: c.update(version="2.0.0"))


def another_module(file):
    edit_json(file, lambda c: c.update(moduleName="tfds.image.mine"))


SHARD = "mine-train.array_record-00000-of-00001"
DAMAGED_FILES = [
    ("features.json", Path.unlink, r"features\.json: No such file"),
    ("features.json", cut, r"features\.json is damaged \(Expecting"),
    ("features.json", as_folder, r"features\.json: Is a directory"),
    ("features.json", lambda f: f.write_bytes(b"\xff\xfe"), "features.json is damaged"),
    ("features.json", lambda f: f.write_text("[]"), "features.json describes nothing"),
    (
        "features.json",
        lambda f: f.write_text('{"a": 1}'),
        r"features\.json: Message type .* has no field named",
    ),
    ("dataset_info.json", Path.unlink, r"there is no .*/1\.0\.0/dataset_info\.json"),
    ("dataset_info.json", cut, r"dataset_info\.json is damaged \(Unterminated"),
    ("dataset_info.json", lambda f: f.write_text(""), r"dataset_info\.json is damaged"),
    (
        "dataset_info.json",
        another_version,
        r"dataset_info\.json is of version 2\.0\.0, ",
    ),
    ("dataset_info.json", fewer_records, rf"{SHARD} holds 30 records, .* says 20"),
    (
        "dataset_info.json",
        lambda f: edit_json(f, lambda c: c.update(splits=[])),
        r"dataset_info\.json lists no splits",
    ),
    ("label.labels.txt", Path.unlink, r"there is no .*/label\.labels\.txt"),
    ("label.labels.txt", cut, r"label\.labels\.txt has 2 class names, .* says 3"),
    ("label.labels.txt", lambda f: f.write_text(""), r"label\.labels\.txt is empty"),
    (
        "label.labels.txt",
        lambda f: f.write_bytes(b"\xff"),
        r"labels\.txt cannot be read",
    ),
    (SHARD, Path.unlink, rf"{SHARD} cannot be read \(.*No such file"),
    (SHARD, lambda f: f.write_bytes(b""), rf"{SHARD} cannot be read"),
    (SHARD, cut, rf"{SHARD} cannot be read"),
    (SHARD, as_folder, rf"{SHARD} cannot be read"),
]


@pytest.mark.parametrize(
    ("file", "damage", "message"), DAMAGED_FILES, ids=[m for *_, m in DAMAGED_FILES]
)
def test_case_26_damaged_files_are_named(folder, file, damage, message):
    path = prepare_dataset(folder, "mine").path
    damage(path / file)
    with pytest.raises(UserError, match=f"tfds:mine: .*{message}.* prepare .*again"):
        open_dataset("tfds:mine")


def test_case_26_other_programs_may_write_no_class_names(folder):
    path = prepare_dataset(folder, "mine").path
    another_module(path / "dataset_info.json")
    (path / "label.labels.txt").unlink()
    assert open_dataset("tfds:mine").class_names == ("0", "1", "2")


def test_case_26_labels_without_a_class(folder):
    path = prepare_dataset(folder, "mine").path
    (path / "label.labels.txt").write_text("cat\ndog\n")
    edit_json(
        path / "features.json",
        lambda c: c["featuresDict"]["features"]["label"]["classLabel"].update(
            numClasses="2"
        ),
    )
    with pytest.raises(UserError, match="has the label 2, and 2 class names"):
        open_dataset("tfds:mine")


def test_case_26_files_of_somebody_else(folder, monkeypatch):
    prepare_dataset(folder, "mine")
    read_text = Path.read_text

    def denied(path, *arguments):
        if path.suffix == ".json":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return read_text(path, *arguments)

    monkeypatch.setattr(Path, "read_text", denied)
    with pytest.raises(
        UserError, match=r"_info\.json: Permission .* features\.json: P"
    ):
        open_dataset("tfds:mine")


def test_case_25_names_that_are_not_utf_8_can_be_prepared(tmp_path, encoded):
    root = os.fsencode(tmp_path / "photos")
    for name in (b"caf\xe9/\xff.jpg", b"dog/0.jpg"):
        os.makedirs(os.path.dirname(os.path.join(root, name)))
        with open(os.path.join(root, name), "wb") as file:
            file.write(encoded(0))
    prepare_dataset(tmp_path / "photos", "mine")
    source = open_dataset("tfds:mine")
    assert source.ids == (r"caf\xe9/\xff.jpg", "dog/0.jpg")
    assert source.class_names == (r"caf\xe9", "dog")
