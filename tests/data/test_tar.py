import gzip
import io
import os
import tarfile

import pytest

from jaxbench.data import cache, load_images, open_dataset
from jaxbench.errors import UserError
from model_zoo.input_spec import InputSpec

SPEC = InputSpec(size=(8, 8), crop_fraction=1.0)


def add(archive, name, content=b"", **fields):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for field, value in fields.items():
        setattr(member, field, value)
    archive.addfile(member, io.BytesIO(content))


def test_links_inside_a_tar(tmp_path):
    path = tmp_path / "links.tar"
    with tarfile.open(path, "w") as archive:
        add(archive, "./a/real.jpg", b"first")
        add(archive, "./a/real.jpg", b"later")  # a name that comes twice
        add(archive, "b/hard.jpg", type=tarfile.LNKTYPE, linkname="./a/real.jpg")
        add(archive, "b/soft.jpg", type=tarfile.SYMTYPE, linkname="../b/hard.jpg")
    source = open_dataset(f"folder:{path}")
    assert source.ids == ("a/real.jpg", "b/hard.jpg", "b/soft.jpg")
    assert {source[i].image for i in range(3)} == {b"later"}
    with tarfile.open(path, "a") as archive:
        for name, target in {"x": "y", "y": "x", "z": "../../etc/passwd"}.items():
            add(
                archive,
                f"b/{name}.jpg",
                type=tarfile.SYMTYPE,
                linkname=target if "/" in target else f"{target}.jpg",
            )
    with pytest.raises(UserError, match=r"b/x\.jpg: .*loop.* b/y\.jpg: .* b/z\.jpg:"):
        open_dataset(f"folder:{path}")


def test_damaged_archives(tmp_path, write_tree, pack, photos):
    root = write_tree(tmp_path / "photos", photos)
    whole = pack(root, tmp_path / "whole.tar.gz").read_bytes()
    plain = gzip.decompress(whole)
    damaged = {
        "cut.tar.gz": (whole[: len(whole) // 2], "not a whole gzip file"),
        "text.tar.gz": (b"text", "not a whole gzip file"),
        "empty.tar": (b"", "not a whole tar file"),
        "text.tar": (b"text" * 400, "not a whole tar file"),
        "cut.tar": (plain[: len(plain) // 2 + 100], "not a whole tar file"),
        "text.tgz": (gzip.compress(b"text" * 400), "not a whole tar file"),
    }
    for name, (content, message) in damaged.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=f"{name}: {message}"):
            open_dataset(f"folder:{tmp_path / name}")
    left = [p for p in (cache.cache_folder() / "tar").iterdir() if p.name[0] == "."]
    assert not left


def members(plain):
    """Where each member's header begins, and where the end-of-archive blocks do."""
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        starts = [member.offset for member in archive]
        return starts, archive.offset


def test_a_tar_that_loses_members_is_not_whole(tmp_path, write_tree, pack, photos):
    root = write_tree(tmp_path / "photos", photos)
    plain = pack(root, tmp_path / "whole.tar").read_bytes()
    starts, end = members(plain)
    middle = starts[15]
    damaged = {
        "header": (plain[:middle] + b"\xff" * 100 + plain[middle + 100 :], "damaged"),
        "boundary": (plain[:middle], f"cut at byte {middle}"),
        "in-header": (plain[: middle + 300], f"cut at byte {middle}"),
        "no-end": (plain[:end], f"cut at byte {end}"),
        "zeroed": (plain[:middle] + bytes(512) + plain[middle + 512 :], "more data"),
        "two": (plain + plain, "laid end to end"),
    }
    for name, (content, message) in damaged.items():
        for end, packed in ((".tar", content), (".tar.gz", gzip.compress(content))):
            path = tmp_path / f"{name}{end}"
            path.write_bytes(packed)
            with pytest.raises(UserError, match=rf"not a whole tar file \(.*{message}"):
                open_dataset(f"folder:{path}")


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, "pax"])
@pytest.mark.parametrize("padding", [512, 1024, 10240, 1 << 21])
def test_ends_that_programs_write(tmp_path, encoded, format, padding):
    """From one zero block up; GNU tar, bsdtar and Python fill 10,240 bytes."""
    file, format = io.BytesIO(), tarfile.PAX_FORMAT if format == "pax" else format
    with tarfile.open(fileobj=file, mode="w", format=format) as archive:
        for path in ("cat/0.jpg", "dog/é" + 90 * "x" + ".jpg"):
            add(archive, path, encoded(0), mtime=1.5 if format == 2 else 1)
    plain = file.getvalue()
    path = tmp_path / "a.tar"
    path.write_bytes(plain[: members(plain)[1]] + bytes(padding))
    assert open_dataset(f"folder:{path}").class_names == ("cat", "dog")


def test_a_tar_that_shrinks_while_open(tmp_path, write_tree, pack, photos):
    archive = pack(write_tree(tmp_path / "photos", photos), tmp_path / "p.tar")
    source = open_dataset(f"folder:{archive}")
    os.truncate(archive, 4000)
    loaded = load_images(source, SPEC, on_error="skip")
    assert 0 < len(loaded.ids) < 30
    assert "the archive ends after" in loaded.skipped[0].reason


def test_a_changed_archive_is_read_anew(tmp_path, write_tree, pack, photos):
    root = write_tree(tmp_path / "photos", photos)
    archive = tmp_path / "photos.tar.gz"
    before = open_dataset(f"folder:{pack(root, archive)}").fingerprint
    (root / "cat/00.jpg").write_bytes(photos["cat/01.jpg"])
    after = open_dataset(f"folder:{pack(root, archive)}")
    assert after[0].image == photos["cat/01.jpg"]
    assert after.fingerprint != before
