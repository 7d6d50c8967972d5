"""Bad inputs end with an exit status and a message that names the file."""

import gzip
import io
import json
import os
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from jaxbench.cli.app import app
from jaxbench.data import prepare_dataset
from jaxbench.results import ResultStore


@pytest.fixture(autouse=True)
def own_folders(monkeypatch, tmp_path):
    monkeypatch.setenv("JAXBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))


def image(seed=0, size=(20, 16), format="JPEG", mode="RGB"):
    draw = np.random.default_rng(seed)
    pixels = draw.integers(0, 256, (size[1], size[0], 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, format)
    return file.getvalue()


def photographs(folder, classes=("cat", "dog"), each=3):
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(each):
            (folder / name / f"{i}.jpg").write_bytes(image(10 * number + i))
    return folder


def members(path, *added):
    """A tar of two classes, and of more members (name, content or fields)."""
    with tarfile.open(path, "w") as archive:
        files = [(f"{c}/{i}.jpg", image(i)) for c in ("cat", "dog") for i in range(3)]
        for name, content in (*files, *added):
            member = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
                continue
            for field, value in content.items():
                setattr(member, field, value)
            archive.addfile(member)
    return f"folder:{path}"


def with_link(path, name, target):
    photographs(path)
    (path / name).symlink_to(target)
    return f"folder:{path}"


def link(target):
    return {"type": tarfile.SYMTYPE, "linkname": target}


def written(path, content, kind="folder"):
    path.write_bytes(content)
    return f"{kind}:{path}"


def npz(path, **arrays):
    whole = {"images": np.zeros((4, 8, 8, 3), np.uint8), "labels": np.arange(4) % 2}
    np.savez(path, **(whole | arrays))
    return f"arrays:{path}"


def claims(path):
    """A header of 2^40 images."""
    npz(path)
    header = io.BytesIO()
    fields = {"descr": "|u1", "fortran_order": False, "shape": (2**40, 8, 8, 3)}
    np.lib.format.write_array_header_1_0(header, fields)
    with zipfile.ZipFile(path) as archive:
        labels = archive.read("labels.npy")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", header.getvalue())
        archive.writestr("labels.npy", labels)
    return f"arrays:{path}"


def tfds(path, damage):
    damage(prepare_dataset(photographs(path), "mine").path)
    return "tfds:mine"


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def not_utf_8(path):
    os.makedirs(os.fsencode(path) + b"/caf\xe9")
    return os.fsdecode(b"folder:" + os.fsencode(path) + b"/caf\xe9")


SHARD = "mine-train.array_record-00000-of-00001"
# Makes the input at a path and gives its address; what the message names.
REFUSED = {
    "dangling class": (lambda p: with_link(p, "owl", "gone"), "owl: a link to nothing"),
    "loop": (lambda p: with_link(p, "owl", "owl"), "owl: a loop of links"),
    "link upwards": (lambda p: with_link(p, "cat/up", ".."), "cat/up/cat: a link to"),
    "dangling image": (lambda p: with_link(p, "cat/9.jpg", "x"), "cat/9.jpg: a link"),
    "link in tar": (
        lambda p: members(p, ("owl", link("gone"))),
        "owl: a link to nothing",
    ),
    "link out of tar": (
        lambda p: members(p, ("owl", link("/etc"))),
        "owl: a link to no",
    ),
    "device in tar": (
        lambda p: members(p, ("cat/9.jpg", {"type": tarfile.CHRTYPE})),
        "cat/9.jpg: a device",
    ),
    "two dots in tar": (lambda p: members(p, ("../owl/9.jpg", b"1")), "'../owl/9.jpg'"),
    "NUL in tar": (
        lambda p: members(p, ("x", {"pax_headers": {"path": "owl/9\0.jpg"}})),
        r"'owl/9\x00.jpg'",
    ),
    "empty tar": (lambda p: written(p, b""), "input.tar: not a whole tar file"),
    "cut tar.gz": (
        lambda p: written(p.with_suffix(".tgz"), gzip.compress(bytes(9999))[:-9]),
        "input.tgz: not a whole gzip file",
    ),
    "bomb": (
        lambda p: written(p.with_suffix(".tgz"), gzip.compress(bytes(40 * 2**20), 1)),
        "input.tgz: unpacks to 0.0",
    ),
    "NUL": (lambda p: f"folder:{p}\0", r"input.tar\x00'"),
    "long path": (lambda p: f"folder:{p}{'x' * 300}", "(File name too long)"),
    "path that is not UTF-8": (not_utf_8, r"caf\udce9'"),
    "nothing": (lambda p: f"folder:{p}", "there is nothing at"),
    "device": (lambda p: "folder:/dev/null", "'/dev/null' (a device, pipe or socket)"),
    "class names of bytes, 2-d": (
        lambda p: npz(p.with_suffix(".npz"), class_names=np.array([[b"a"], [b"b"]])),
        "input.npz: class_names have shape",
    ),
    "0-d names": (
        lambda p: npz(p.with_suffix(".npz"), class_names=np.array("cat")),
        "input.npz: class_names have shape",
    ),
    "pickle": (
        lambda p: npz(p.with_suffix(".npz"), images=np.array([{}])),
        "input.npz: not a readable .npz of plain arrays (images holds Python objects",
    ),
    "2^40 images": (lambda p: claims(p.with_suffix(".npz")), "header of images claims"),
    "one-hot": (
        lambda p: npz(p.with_suffix(".npz"), labels=np.eye(4, dtype=int)),
        "input.npz: labels have shape (4, 4)",
    ),
    "floats": (
        lambda p: npz(p.with_suffix(".npz"), images=np.full((4, 8, 8, 3), np.nan)),
        "input.npz: images are float64",
    ),
    "channels first": (
        lambda p: npz(p.with_suffix(".npz"), images=np.zeros((4, 3, 8, 8), "u1")),
        "input.npz: images have shape (4, 3, 8, 8)",
    ),
    "gzipped npz": (
        lambda p: written(p.with_suffix(".npz"), gzip.compress(b"PK"), "arrays"),
        "input.npz: not a readable .npz",
    ),
    **{
        f"{words} {file}": (
            lambda p, file=file, damage=damage: tfds(p, lambda v: damage(v / file)),
            file,
        )
        for file in ("dataset_info.json", "features.json", "label.labels.txt", SHARD)
        for words, damage in {
            "missing": lambda f: f.unlink(),
            "cut": cut,
            "empty": lambda f: f.write_bytes(b""),
        }.items()
    },
    "another version": (
        lambda p: tfds(p, lambda v: v.rename(v.with_name("2.0.0"))),
        "dataset_info.json is of version 1.0.0, not 2.0.0",
    ),
}


def invoke(status, *arguments):
    """Runs a command; gives its output as one line."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit)
    assert done.exit_code == status, done.output
    assert "Traceback" not in done.output
    return " ".join(done.output.split())


def evaluate(tmp_path, address, *more):
    options = ("--weights", "random:0", "--num-classes", 2, "--resamples", 0)
    where = ("--data", address, "--results", tmp_path / "results")
    return "evaluate", "resnet_micro", *options, *where, *more


@pytest.mark.parametrize("kind", REFUSED)
def test_case_32_bad_inputs_are_refused_in_one_line(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("JAXBENCH_CACHE_LIMIT", "0.01")
    make, names = REFUSED[kind]
    address = make(tmp_path / "input.tar")
    for command in (("data", "info", address), evaluate(tmp_path, address)):
        output = invoke(2, *command)
        assert "".join(names.split()) in "".join(output.split())
        assert output.count("error:") == 1


def gray_16():
    file = io.BytesIO()
    Image.fromarray(np.full((9, 9), 4000, np.uint16)).save(file, "PNG")
    return file.getvalue()


def bomb():
    """2 GB of pixels in some kilobytes: 30,000 x 30,000, black or white."""
    file = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(file, "PNG")
    return file.getvalue()


def line():
    file = io.BytesIO()
    Image.new("1", (2_000_000, 1)).save(file, "PNG")
    return file.getvalue()


BROKEN_IMAGES = {
    "empty": (lambda: b"", "the file is empty (0 bytes)"),
    "text": (lambda: b"no image", "cannot identify image file"),
    "truncated": (lambda: image()[:700], "truncated"),
    "16 bits": (gray_16, "more than 8 bits a pixel"),
    "bomb": (bomb, "decompression bomb"),
    "line": (line, "pixels, more than the"),
    "of macOS": (lambda: b"\0\5\26\7\0\2\0\0Mac OS X", "attributes that macOS keeps"),
}


@pytest.mark.parametrize("kind", BROKEN_IMAGES)
def test_case_36_a_broken_image_is_named_or_skipped(kind, tmp_path):
    content, reason = BROKEN_IMAGES[kind]
    (photographs(tmp_path / "input") / "dog/9.jpg").write_bytes(content())
    address = f"folder:{tmp_path / 'input'}"
    assert "images │ 7" in invoke(0, "data", "info", address)
    output = invoke(1, *evaluate(tmp_path, address))
    assert "1 failed run" in output
    assert "cannot read image 'dog/9.jpg'" in output
    assert reason in output
    invoke(0, *evaluate(tmp_path, address, "--on-error", "skip"))
    rows = ResultStore(tmp_path / "results").summary().to_pylist()
    (row,) = (row for row in rows if row["status"] == "ok")
    assert (row["num_examples"], row["num_skipped"]) == (6, 1)


@pytest.mark.parametrize("packed", [False, True])
def test_case_25_names_that_are_not_utf_8_reach_the_results(tmp_path, packed):
    root = photographs(tmp_path / "input")
    os.rename(root / "dog", os.fsencode(root) + b"/d\xf6g")
    os.rename(
        os.fsencode(root) + b"/d\xf6g/0.jpg", os.fsencode(root) + b"/d\xf6g/\xe9.jpg"
    )
    if packed:
        with tarfile.open(tmp_path / "input.tar", "w") as archive:
            archive.add(root, ".")
        root = tmp_path / "input.tar"
    assert r"cat, d\xf6g" in invoke(0, "data", "info", f"folder:{root}")
    invoke(0, *evaluate(tmp_path, f"folder:{root}"))
    store = ResultStore(tmp_path / "results")
    (run,) = store.completed()
    ids = store.examples(run)["id"]
    assert r"d\xf6g/\xe9.jpg" in ids.tolist()
    assert json.dumps(ids.tolist())


def test_case_36_unpacked_archives_are_shown_and_cleared(tmp_path):
    with tarfile.open(tmp_path / "pets.tar.gz", "w:gz") as archive:
        archive.add(photographs(tmp_path / "pets"), ".")
    invoke(0, "data", "info", f"folder:{tmp_path}/pets.tar.gz")
    assert "pets-" in (shown := invoke(0, "data", "cache"))
    assert "unpacked" in shown
    assert "0.00 of at most 32.00 GiB in" in invoke(0, "data", "cache", "--clear")
    assert not list((tmp_path / "cache" / "tar").iterdir())
