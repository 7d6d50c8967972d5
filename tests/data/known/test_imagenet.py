import dataclasses
import json
import shutil

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from jaxbench.data import KNOWN, open_dataset, prepare_known, take
from jaxbench.data.known import imagenet
from jaxbench.data.known.base import Item
from jaxbench.data.known.imagenet_classes import (
    CLASSES_FOLDER,
    labels_by_wordnet_id,
    lemmas,
    shape_categories,
    shape_groups,
    subset,
    wordnet_ids,
)
from jaxbench.data.known.imagenet_validation import validation_labels
from jaxbench.data.known.imagenet_variants import shape_and_texture
from jaxbench.data.known.open import open_known
from jaxbench.data.prepare import write_tfds
from jaxbench.data.scoring import scoring_of
from jaxbench.data.sources.tfds import data_dir
from jaxbench.errors import UserError
from tests.data.known.layouts import (
    GOLDFISH,
    SHARK,
    STAND_INS,
    TENCH,
    VALIDATION,
    picture,
    pixels_of,
    validation,
)


def prepare(name, path, config="", **options):
    options.setdefault("allow_partial", True)
    return prepare_known(name, KNOWN[name], path, configs=config, **options)


def address(name, config):
    return f"{name}/{config}" if config else name


def on_disk(stand_in, root, write_tree):
    """The stand-in as it lies after a download."""
    files = stand_in.others or {
        f"{stand_in.wrapper}/{path}" if stand_in.wrapper else path: content
        for path, content in stand_in.files.items()
    }
    return write_tree(root, files)


def test_every_row_has_a_stand_in():
    assert STAND_INS.keys() == imagenet.ROWS.keys()


@pytest.mark.parametrize("name", STAND_INS)
def test_round_trip(name, tmp_path, write_tree, pack, monkeypatch):
    stand_in = STAND_INS[name]()
    root = on_disk(stand_in, tmp_path / "official", write_tree)
    prepare(name, root, stand_in.config)
    source = open_dataset(address(name, stand_in.config))
    assert source.name == address(name, stand_in.config)
    assert source.class_names == KNOWN[name].class_names()
    assert source.ids == stand_in.ids
    assert tuple(source.labels.tolist()) == stand_in.labels
    for row, content in zip(source, stand_in.contents, strict=True):
        if stand_in.border:
            inner = slice(stand_in.border, -stand_in.border)
            np.testing.assert_array_equal(
                pixels_of(row.image), pixels_of(content)[inner, inner]
            )
        else:
            assert row.image == content
    scoring = scoring_of(source)
    if stand_in.label_sets:
        assert scoring.num_outputs == 1000
        np.testing.assert_array_equal(scoring.label_sets, stand_in.label_sets)
    split = KNOWN[name].default_split
    expected = KNOWN[name].expected(stand_in.config, split)
    assert source.partial == (expected, len(stand_in.ids))
    # A subset, and its fingerprint, from these rows.
    first = take(source, [1, 0])
    assert first.ids == (stand_in.ids[1], stand_in.ids[0])
    assert first.fingerprint != take(source, [0, 1]).fingerprint
    if stand_in.others:  # Parquet files are not a tree of images.
        return
    archive = pack(root, tmp_path / "official.tar")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "from_tar"))
    prepare(name, archive, stand_in.config)
    again = open_dataset(f"{address(name, stand_in.config)}@{split}")
    assert (again.fingerprint, again.name) == (source.fingerprint, source.name)
    every = np.arange(len(source))
    assert again.fingerprint_of(every) == source.fingerprint_of(every)


@pytest.mark.parametrize("form", ["classes", "val", "official tar"])
def test_validation_images_lie_in_several_ways(
    form, tmp_path, write_tree, pack, monkeypatch
):
    flat = validation(folder="", by_class=False)
    prepare("imagenet", write_tree(tmp_path / "flat", flat.files))
    wanted = open_dataset("imagenet")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "other"))
    by_class = validation(folder="val/" if form == "val" else "", by_class=True)
    root = write_tree(tmp_path / "images", by_class.files)
    if form == "official tar":
        (tmp_path / "download").mkdir()
        pack(tmp_path / "flat", tmp_path / "download/ILSVRC2012_img_val.tar")
        root = tmp_path / "download"
    prepare("imagenet", root)
    assert open_dataset("imagenet@validation").fingerprint == wanted.fingerprint


def test_prepared_by_tfds(tmp_path, write_tree):
    """TFDS shuffles what it writes; rows come in the order of names all the same."""
    config = "fog_2"
    items = [
        Item(name, picture(n), label)
        for n, (name, (_, label)) in enumerate(VALIDATION.items())
    ]
    write_tfds(
        {"validation": items[::-1]},
        *("imagenet2012_corrupted", "3.1.0", wordnet_ids(), "as TFDS has it"),
        tmp_path / "written",
    )
    theirs = tmp_path / "tfds" / "imagenet2012_corrupted"
    shutil.copytree(
        tmp_path / "written/imagenet2012_corrupted", theirs / config, symlinks=True
    )
    prepare("imagenet-c", tmp_path / "tfds", config)
    source = open_dataset(f"imagenet-c/{config}")
    assert [source[i] for i in range(3)] == [(i.image, i.label, i.id) for i in items]
    shutil.rmtree(data_dir())
    prepare("imagenet-c", theirs, config)
    assert open_dataset(f"imagenet-c/{config}").fingerprint == source.fingerprint
    wrong = [item._replace(label=item.label + 1) for item in items]
    write_tfds(
        {"validation": wrong},
        *("imagenet2012_corrupted", "3.1.1", wordnet_ids(), ""),
        tmp_path / "wrong",
    )
    shutil.move(tmp_path / "wrong/imagenet2012_corrupted/3.1.1", theirs / config)
    with pytest.raises(UserError, match="labels are not those of ImageNet-1k"):
        prepare("imagenet-c", theirs, config, data_dir=tmp_path / "new")


def test_archives_of_corruptions_beside_each_other(tmp_path, write_tree, pack):
    fog = validation(folder="fog/1/", by_class=True)
    packed = pack(write_tree(tmp_path / "fog", fog.files), tmp_path / "weather.tar")
    official = tmp_path / "official"
    official.mkdir()
    shutil.move(packed, official)
    prepare("imagenet-c", official, "fog_1")
    assert open_dataset("imagenet-c/fog_1").ids == fog.ids
    with pytest.raises(UserError, match="found no folder '2' but the folder '1'"):
        prepare("imagenet-c", official, "fog_2")
    (data_dir() / "nothing").mkdir()
    with pytest.raises(UserError, match="found no folder 'fog' but no folder"):
        prepare("imagenet-c", data_dir() / "nothing", "fog_2")


def other_label(name):
    return {GOLDFISH: TENCH, TENCH: GOLDFISH}.get(VALIDATION[name][0], SHARK)


BAD_FILES = {
    "imagenet": {
        "no validation images are the file '.*tench.JPEG'": {
            f"{TENCH}/tench.JPEG": b""
        },
        "in the folder of another class lies .*293.JPEG \\(of n01440764\\)": {
            f"{GOLDFISH}/ILSVRC2012_val_00000293.JPEG": b""
        },
        "no validation images are the file 'ILSVRC2012_val_00050001": {
            "ILSVRC2012_val_00050001.JPEG": b""
        },
        "no classes are the folder 'train'": {
            "ILSVRC2012_val_00000001.JPEG": b"",
            "train/n01440764/ILSVRC2012_val_00000293.JPEG": b"",
        },
    },
    "imagenet-real": {
        "real.json cannot be read": {"val/ILSVRC2012_val_00000001.JPEG": b""},
        "real.json has 2 lists, wanted 50000.*others: \\[1000\\]": {
            "real.json": b"[[1], [1000]]"
        },
        "real.json is not a list of lists of labels": {"real.json": b'{"a": 1}'},
    },
    "imagenet-pi": {
        "2 lines are not a validation image's name with 16 labels": {
            "labels/validation.csv": b"ILSVRC2012_val_00000001.JPEG,1,2\nx.JPEG,1"
        },
    },
    "imagenet-v2/top-images": {
        "'imagenetv2-threshold0.7-format-val' is not top-images": {
            "imagenetv2-threshold0.7-format-val/7/a.jpeg": b""
        },
        "beside its classes lies the folder '1000'": {
            "999/a.jpeg": b"",
            "1000/b.jpeg": b"",
        },
    },
    "imagenet-a": {
        # A class of ImageNet, but none of the 200.
        "beside its classes lies the folder 'n01440764'": {
            "n01498041/a.jpg": b"",
            f"{TENCH}/b.jpg": b"",
        }
    },
    "cue-conflict": {
        "no names of stimuli have 3 files: bear/bear1-tree2.png, bear/bear1.png": {
            "bear/bear1.png": b"",
            "bear/cat1-bear2.png": b"",
            "bear/bear1-tree2.png": b"",
        }
    },
    "objectnet": {
        "found no folders images and mappings but 2 folders: chair, table": {
            "chair/a.png": b"",
            "table/a.png": b"",
        },
        "mappings lacks a mapping or has a malformed one": {
            "images/chair/a.png": b"",
            "mappings/a.json": b"",
        },
    },
    "imagenet-hard": {
        "found no file validation-": {"data/train-0.parquet": b""},
        "validation-0.parquet: .*": {"data/validation-0.parquet": b"no parquet"},
    },
}


@pytest.mark.parametrize(
    ("name", "message"), [(n, m) for n, cases in BAD_FILES.items() for m in cases]
)
def test_wrong_files_are_named(name, message, tmp_path, write_tree):
    root = write_tree(tmp_path / "images", BAD_FILES[name][message])
    name, _, config = name.partition("/")
    with pytest.raises(UserError, match=message) as caught:
        prepare(name, root, config)
    assert KNOWN[name].layout in str(caught.value)


@pytest.mark.parametrize(
    ("image", "labels", "message"),
    [
        ({"bytes": None, "path": "a.jpg"}, [1], "row 0 holds no encoded image"),
        ({"bytes": b"x", "path": None}, [], r"row 0 has the labels \(\), wanted one"),
        ({"bytes": b"x", "path": None}, [1000], r"labels \(1000,\), wanted one"),
    ],
)
def test_rows_of_hard(image, labels, message, tmp_path):
    schema = pa.schema(
        {
            "image": pa.struct({"bytes": pa.binary(), "path": pa.string()}),
            "label": pa.list_(pa.int64()),
        }
    )
    table = pa.table({"image": [image], "label": [labels]}, schema=schema)
    parquet.write_table(table, tmp_path / "validation-00000-of-00001.parquet")
    with pytest.raises(UserError, match=message):
        prepare("imagenet-hard", tmp_path)


def test_objectnet_names_unknown_folders(tmp_path, write_tree):
    files = STAND_INS["objectnet"]().files | {"images/sofa/a.png": picture(0)}
    root = write_tree(tmp_path / "images", files)
    with pytest.raises(UserError, match="mappings do not name the folder 'sofa'"):
        prepare("objectnet", root)


def test_images_that_come_twice(tmp_path, write_tree):
    flat = validation(folder="", by_class=False)
    by_class = validation(folder="", by_class=True)
    root = write_tree(tmp_path / "images", {**flat.files, **by_class.files})
    with pytest.raises(UserError, match=r"00000001\.JPEG' comes more than once"):
        prepare("imagenet", root)
    assert not list(data_dir().glob("*"))


def test_masks_and_maps():
    """Counts as published; the first and last classes of each list."""
    ids = wordnet_ids()
    assert len(ids) == len(set(ids)) == len(lemmas()) == 1000
    assert (ids[0], ids[999], list(ids)) == ("n01440764", "n15075141", sorted(ids))
    assert lemmas()[0] == "tench, Tinca tinca"
    assert labels_by_wordnet_id()["n01751748"] == 65
    # Sum and first and last of the labels in the authors' eval.py (A: the keys of
    # thousand_k_to_200; R: imagenet_r_indices); O as CLIP_benchmark lists it.
    for name, first, last, total in (
        ("imagenet_a", 6, 988, 102_178),
        ("imagenet_o", 1, 996, 134_542),
        ("imagenet_r", 1, 988, 86_135),
    ):
        labels = list(subset(name).values())
        assert len(labels) == len(set(labels)) == 200, name
        assert (labels[0], labels[-1], sum(labels)) == (first, last, total), name
        assert labels == sorted(labels)


def test_the_ground_truth_is_balanced():
    labels = validation_labels()
    assert labels.shape == (50_000,)
    np.testing.assert_array_equal(np.bincount(labels), np.full(1000, 50))
    # As ImageNet-X lists them (filename_label.csv).
    of_class = {0: (293, 48969), 5: (921, 48119), 9: (1031, 49090)}
    for label, numbers in of_class.items():
        assert {int(labels[n - 1]) for n in numbers} == {label}


def test_shape_categories():
    groups = shape_groups().groups
    assert len(shape_categories()) == 16
    assert list(shape_categories()) == sorted(shape_categories())
    assert (groups >= 0).sum() == 207
    sizes = dict(zip(shape_categories(), np.bincount(groups[groups >= 0]), strict=True))
    # Geirhos et al., code/helper/human_categories.py.
    assert sizes == {
        **{"airplane": 1, "bear": 4, "bicycle": 2, "bird": 49, "boat": 5, "bottle": 7},
        **{"car": 3, "cat": 6, "chair": 4, "clock": 3, "dog": 109, "elephant": 2},
        **{"keyboard": 2, "knife": 1, "oven": 1, "truck": 8},
    }
    assert shape_categories()[groups[404]] == "airplane"


def test_shape_and_texture():
    assert shape_and_texture("bear/bear1-cat2.png") == ("bear", "cat")
    assert shape_and_texture("airplane10-airplane1.png") == ("airplane", "airplane")
    for id in ("bear/bear1.png", "bear/bear1-tree2.png", ""):
        with pytest.raises(UserError, match="not the id of a cue-conflict image"):
            shape_and_texture(id)


def test_every_data_file_has_a_source():
    named = {
        file.removeprefix("classes/")
        for row in imagenet.ROWS.values()
        for file in row.sources
    }
    files = {path.name for path in CLASSES_FOLDER.iterdir()}
    assert files - {"README.md"} <= named
    readme = (CLASSES_FOLDER / "README.md").read_text()
    for file in files - {"README.md"}:
        assert file in readme
        assert (CLASSES_FOLDER / file).stat().st_size < 200_000


def test_a_whole_dataset_is_not_partial(tmp_path, write_tree):
    stand_in = STAND_INS["imagenet-r"]()
    root = write_tree(tmp_path / "images", stand_in.files)
    row = dataclasses.replace(KNOWN["imagenet-r"], num_examples={"test": 4})
    (done,) = prepare_known("imagenet-r", row, root)
    assert done.num_examples == {"test": 4}
    assert open_known("imagenet-r", row, "", "test").partial is None
    # What was expected is what was expected then.
    assert open_dataset("imagenet-r").partial is None
    kept = json.loads((done.path / "metadata.json").read_text())
    assert kept["splits"] == {"test": {"images": 4, "expected": 4}}
