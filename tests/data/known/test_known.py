"""Published datasets: the table, wrong input, what is not prepared, the commands."""

import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from jaxbench.cli.app import app
from jaxbench.cli.display import console, errors
from jaxbench.data import (
    DATASETS,
    KNOWN,
    BatchLoader,
    expand_addresses,
    open_dataset,
    prepare_dataset,
    prepare_known,
    take,
)
from jaxbench.data.catalog import catalog_addresses
from jaxbench.data.known.base import Item, KnownDataset
from jaxbench.data.known.open import NotPreparedError, open_known, prepared_folder
from jaxbench.data.known.vtab import VTAB
from jaxbench.data.scoring import scoring_of
from jaxbench.data.sources.tfds import data_dir
from jaxbench.errors import UserError
from model_zoo.input_spec import InputSpec
from tests.data.known.layouts import STAND_INS, pixels_of

# What `jaxbench data prepare` writes: TFDS prepares others, or they have no images.
PREPARED = [name for name, row in KNOWN.items() if row.by_tfds is None]
SPEC = InputSpec(size=(8, 8), crop_fraction=1.0)
DOCS = Path(__file__).parents[3] / "docs" / "data.md"


@pytest.mark.parametrize("name", KNOWN)
def test_a_row_is_filled_in(name):
    row = KNOWN[name]
    assert DATASETS[name].known is row
    assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*", name)
    for text in (row.description, row.layout):
        assert text.endswith((".", ".)")), text
    for text in (row.licence, row.obtain):
        assert text
        assert not text.endswith("."), text
    assert re.match("https?://", row.reference)
    assert row.role in ("clean", "shifted", "ood", "annotations")
    assert row.default_split in row.splits
    assert not row.about or row.about.keys() == set(row.configs)
    names = row.class_names()
    assert len(names) == len(set(names))
    assert names or row.about
    for config in row.configs or ("",):
        for split in row.splits:
            assert row.expected(config, split), (config, split)
    if row.scoring:
        scoring = row.scoring()
        assert scoring.groups is not None or scoring.num_outputs == len(names)
        assert scoring.num_groups in (0, len(names))


def wrong_paths(folder):
    """Nothing, folders of something else, and a file of something else."""
    (folder / "empty").mkdir()
    for name in ("holidays", "work"):
        (folder / "other" / name).mkdir(parents=True)
        (folder / "other" / name / "picture.jpg").write_bytes(b"no image")
    (folder / "notes.txt").write_text("nothing")
    return [folder / "empty", folder / "other", folder / "notes.txt", folder / "gone"]


@pytest.mark.parametrize("name", KNOWN)
def test_wrong_layouts_name_the_right_one(name, tmp_path):
    row = KNOWN[name]
    for path in wrong_paths(tmp_path):
        for split in row.splits:
            with pytest.raises(UserError) as caught:
                prepare_known(
                    name,
                    row,
                    path,
                    configs=row.configs[:1],
                    splits=[split],
                    allow_partial=True,
                )
            message = str(caught.value)
            assert str(path) in message, message
            assert row.layout in message, message
    assert not list(data_dir().glob("*"))


@pytest.mark.parametrize("name", PREPARED)
def test_what_is_not_prepared_says_how_to(name):
    row = KNOWN[name]
    address = f"{name}/{row.configs[-1]}" if row.configs else name
    for attempt, kind in (
        (open_dataset, NotPreparedError),
        (expand_addresses, UserError),
    ):
        with pytest.raises(kind) as caught:
            attempt(address)
        for part in (row.obtain, row.licence, row.layout, "is not prepared"):
            assert part in str(caught.value)
        assert f"jaxbench data prepare {address} --from PATH" in str(caught.value)


def prepared(name, root, write_tree, **options):
    stand_in = STAND_INS[name]()
    write_tree(root, stand_in.files)
    prepare_known(
        name, KNOWN[name], root, configs=stand_in.config, allow_partial=True, **options
    )
    return root


def test_addresses_of_published_datasets(tmp_path, write_tree):
    prepared("imagenet-v2", tmp_path / "v2", write_tree)
    address = "imagenet-v2/matched-frequency"
    assert open_dataset(address).name == open_dataset(f"{address}@test").name == address
    assert expand_addresses(f"{address}@test") == (f"{address}@test",)
    with pytest.raises(NotPreparedError, match="top-images is not prepared"):
        open_dataset("imagenet-v2/top-images")
    with pytest.raises(UserError, match="names 3 datasets; choose one"):
        open_dataset("imagenet-v2")
    with pytest.raises(UserError, match="unknown split 'validation'"):
        open_dataset(f"{address}@validation")
    with pytest.raises(UserError, match="unknown config 'gaussian_noise_6'"):
        open_dataset("imagenet-c/gaussian_noise_6")
    every = tuple(f"imagenet-v2/{config}" for config in KNOWN["imagenet-v2"].configs)
    for pattern in ("imagenet-v2", "imagenet-v2/*", "imagenet-v2/*@test"):
        found = [a.removesuffix("@test") for a in expand_addresses(pattern)]
        assert tuple(found) == every
    third = expand_addresses("imagenet-c/*_3")
    assert len(third) == 19
    assert set(third) <= set(catalog_addresses())
    assert len(expand_addresses("imagenet-c/gaussian_*")) == 10
    assert "imagenet@validation" not in catalog_addresses()


def test_labels_are_those_of_a_classifier(tmp_path, write_tree):
    prepared("imagenet-r", tmp_path / "r", write_tree)
    source = open_dataset("imagenet-r")
    names = KNOWN["imagenet"].class_names()
    assert open_dataset("imagenet-r", class_names=names) is not None
    same = open_dataset("imagenet-r", class_names=names)
    np.testing.assert_array_equal(same.labels, source.labels)
    backwards = open_dataset("imagenet-r", class_names=names[::-1])
    np.testing.assert_array_equal(backwards.labels, 999 - source.labels)
    mask = scoring_of(source).class_mask
    np.testing.assert_array_equal(scoring_of(backwards).class_mask, mask[::-1])
    (batch,) = BatchLoader(source, SPEC, len(source))
    assert batch.valid.all()
    np.testing.assert_array_equal(batch.labels, source.labels)


def test_images_of_no_class(tmp_path, write_tree):
    prepared("imagenet-o", tmp_path / "o", write_tree)
    source = open_dataset("imagenet-o")
    assert len(take(source, 2)) == 2
    (batch,) = BatchLoader(source, SPEC, len(source))
    assert batch.labels.tolist() == [-1] * len(source)
    assert scoring_of(source).class_mask.sum() == 200


COUNTS = {
    "imagenet-r": "expected 30000 images of test and found 4, none of 198 of 200 "
    "classes: n01494475, n01498041, .*, n01632777, ...; get the rest.*--allow-partial",
    "imagenet-real": "expected 46837 images of validation and found 2, none of 9",
    "imagenet-o": "expected 2000 images of test and found 4; get the rest",
}


@pytest.mark.parametrize("name", COUNTS)
def test_another_number_of_images(name, tmp_path, write_tree):
    root = write_tree(tmp_path / "images", STAND_INS[name]().files)
    with pytest.raises(UserError, match=COUNTS[name]):
        prepare_known(name, KNOWN[name], root)
    assert not list(data_dir().glob("*"))


def arrays(path, config, split):
    """A reader that yields pixels and does not know how many."""
    draw = np.random.default_rng(0)
    for i in range({"train": 3, "test": 2}[split]):
        pixels = draw.integers(0, 256, (5, 7, 3), np.uint8)
        yield Item(f"{split}/{i:05}", pixels, i)


def small_row(read=arrays, counts=None, **fields):
    return KnownDataset(
        "Noise.",
        licence="CC0",
        obtain="nowhere",
        reference="https://example.org",
        layout="any file.",
        num_examples=counts or {"train": 3, "test": 2},
        class_names=lambda: ("a", "b", "c"),
        read=read,
        **fields,
    )


def test_pixels_are_kept(tmp_path):
    row = small_row()
    (done,) = prepare_known("noise", row, tmp_path)
    assert done.num_examples == {"train": 3, "test": 2}
    for split in row.splits:
        source = open_known("noise", row, "", split)
        assert source.name == f"noise@{split}"
        for found, item in zip(source, arrays("", "", split), strict=True):
            np.testing.assert_array_equal(pixels_of(found.image), item.image)
            assert (found.id, found.label) == (item.id, item.label)
    with pytest.raises(UserError, match="is already there; remove it to prepare it"):
        prepare_known("noise", row, tmp_path)


def test_some_splits(tmp_path):
    row = small_row()
    with pytest.raises(UserError, match="unknown split 'tests'; did you mean 'test'"):
        prepare_known("noise", row, tmp_path, splits=["tests"])
    prepare_known("noise", row, tmp_path, splits=["test", "test"])
    assert len(open_known("noise", row, "", "test")) == 2
    with pytest.raises(NotPreparedError, match="without train, with test alone"):
        open_known("noise", row, "", "train")


def test_configs_go_on_where_they_ended(tmp_path):
    row = small_row(configs=("a-1", "b.2"))
    prepare_known("noise", row, tmp_path, configs="a-1")
    mark = prepared_folder("noise", "a-1") / "1.0.0" / "mine"
    mark.write_text("kept")
    done = prepare_known("noise", row, tmp_path, configs=["*-1", "b*"])
    assert [d.name for d in done] == ["noise/a-1", "noise/b.2"]
    assert {tuple(d.num_examples.items()) for d in done} == {
        (("train", 3), ("test", 2))
    }
    assert mark.exists()
    with pytest.raises(UserError, match="unknown config 'c'"):
        prepare_known("noise", row, tmp_path, configs="c")
    with pytest.raises(UserError, match="noise has no configs; leave out a-1"):
        prepare_known("noise", small_row(), tmp_path, configs="a-1")


def one(label=0, labels=()):
    return lambda path, config, split: iter([Item("1", b"x", label, labels)])


READERS = {
    r"'1' has the labels \(3,\) and there are 3 classes": one(label=3),
    r"'1' has the labels \(0, 1, 7\)": one(labels=(1, 7)),
    r"'1' has the labels \(-2,\)": one(label=-2),
    "expected 3 images of train and found 1, none of 2 of 3 classes: b, c": one(),
    "found no image of train": lambda path, config, split: iter(()),
    "broken.jpg cannot be read": lambda path, config, split: fail(),
}


def fail():
    yield Item("1", b"x", 0)
    raise OSError("broken.jpg cannot be read")


@pytest.mark.parametrize("message", READERS)
def test_what_readers_may_not_do(message, tmp_path):
    with pytest.raises(UserError, match=message):
        prepare_known("noise", small_row(READERS[message]), tmp_path)
    assert not list(data_dir().glob("*"))


def test_a_damaged_description_is_reported(tmp_path):
    row = small_row()
    (done,) = prepare_known("noise", row, tmp_path)
    (done.path / "metadata.json").write_text("{")
    with pytest.raises(UserError, match=r"metadata.json is missing or damaged.*again"):
        open_known("noise", row, "", "test")


def call(*arguments: object, status: int = 0) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == status, done.output
    return " ".join(re.sub("[│┃]", " ", done.output).split())


def test_commands(tmp_path, write_tree, monkeypatch):
    for output in (console, errors):
        monkeypatch.setattr(output, "width", 250)
    root = write_tree(tmp_path / "images", STAND_INS["imagenet-r"]().files)
    text = call("data", "list")
    for name in KNOWN:
        assert name in text
    assert "tfds:NAME[/CONFIG]" in text
    text = call("data", "info", "imagenet-r")
    for part in ("prepared no", "30,000 (test)", "classes/imagenet_r.txt"):
        assert part in text
    assert "fingerprint" not in text
    text = call("data", "prepare", "imagenet-r", "--from", root, status=2)
    assert "expected 30000 images" in text
    text = call("data", "prepare", "imagenet-r", "--from", root, "--allow-partial")
    assert "imagenet-r: 4 of test; 1,000 classes;" in text
    text = call("data", "info", "imagenet-r@test")
    for part in (
        "partial 4 of 30000 images",
        "softmax over 200 classes, of 1000",
        "n01440764 (tench)",
    ):
        assert part in text
    assert "yes, partial" in call("data", "list")
    noise = write_tree(tmp_path / "noise", STAND_INS["imagenet-c"]().files)
    command = ["data", "prepare", "imagenet-c", "--from", noise, "--allow-partial"]
    call(*command, "--config", "gaussian_noise_3")
    assert "1 of 95, partial" in call("data", "list")
    assert "to be had" in call("data", "info", "imagenet-c")
    command[2] = "imagenet-c/gaussian_noise_3"
    assert "is already there" in call(*command, status=2)
    text = call("data", "prepare", "imagenet-y", "--from", noise, status=2)
    assert "unknown published dataset 'imagenet-y'" in text
    text = call("data", "prepare", "pets", "--from", noise, "--split", "a", status=2)
    assert "given: --split" in text


def test_commands_about_what_is_not_prepared_here(
    tmp_path, write_tree, encoded, monkeypatch
):
    for output in (console, errors):
        monkeypatch.setattr(output, "width", 250)
    text = call("data", "list")
    for part in (
        "imagenet-x",
        "annotations CC BY-NC 4.0 no images",
        "clean of each task no",
    ):
        assert part in text
    text = call("data", "info", "imagenet-x")
    for part in (
        "imagenet_x_val_top_factor.jsonl (one factor an image)",
        "https://github.com/facebookresearch/imagenetx",
        "expected images 48,868 (validation)",
        "jaxbench study beyond FOLDER --annotations",
    ):
        assert part in text
    text = call("data", "info", "vtab")
    assert all(name in text for name in VTAB)
    assert "6,149 images to test, tfds:oxford_flowers102@test" in text
    assert "tfds:eurosat/rgb@train[21600:]" in text
    text = call("data", "info", "vtab/dtd@test")
    assert "expected images 800 (train800)" in text
    assert "1,880 (test)" in text
    assert "caltech101" not in text
    text = call("data", "prepare", "vtab", "--from", tmp_path, status=2)
    assert "tfds build caltech101 --file_format=array_record" in text
    text = call("data", "prepare", "imagenet-x", "--from", tmp_path, status=2)
    assert "it is annotations of imagenet's images" in text
    files = {f"test/{name}/1.png": encoded(0, 4, 4, "PNG") for name in "ab"}
    prepare_dataset(write_tree(tmp_path / "dtd", files), "dtd")
    assert "clean of each task 1 of 19" in call("data", "list")


def test_annotations_are_not_images():
    for attempt in (open_dataset, expand_addresses):
        with pytest.raises(UserError, match="has none of its own: evaluate models on"):
            attempt("imagenet-x")


def documented() -> list[str]:
    """The rows as docs/data.md has to show them."""
    return [
        f"| `{name}` | {row.role} | {counted(row)} | {row.licence} | {row.obtain} | "
        f"{row.layout} |"
        for name, row in KNOWN.items()
        if not row.about
    ] + [
        f"| `vtab/{name}` | {task.group} | {task.num_classes} | {task.target} | "
        f"{task.num_test:,} | `tfds:{task.dataset}@{task.splits['test']}` | "
        f"{task.licence} |"
        for name, task in VTAB.items()
    ]


def counted(row: KnownDataset) -> str:
    counts = [f"{key} {count:,}" for key, count in row.num_examples.items()]
    each = f" ({len(row.configs)} configs)" if row.configs else ""
    return ", ".join(counts) + each


def test_the_documentation_lists_every_row():
    lines = DOCS.read_text().splitlines()
    missing = [row for row in documented() if row not in lines]
    assert not missing, "\n".join(missing)
