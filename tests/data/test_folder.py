import gzip
import io
import os
import tarfile

import numpy as np
import pytest

from jaxbench.data import cache, load_images, open_dataset, take
from jaxbench.data.sources import tar as tar_module
from jaxbench.errors import UserError
from model_zoo.input_spec import InputSpec

SPEC = InputSpec(size=(8, 8), crop_fraction=1.0)


@pytest.fixture(params=["folder", "photos.tar", "photos.tar.gz"])
def lay_out(request, tmp_path, write_tree, pack):
    """Lays files out as a folder, a tar and a tar.gz; gives the address."""

    def lay_out_(files, root="photos"):
        folder = write_tree(tmp_path / root, files)
        if request.param == "folder":
            return f"folder:{folder}"
        return f"folder:{pack(folder, tmp_path / request.param)}"

    return lay_out_


def image_folder_order(root):
    """The loop of torchvision's ImageFolder (make_dataset), files and class numbers."""
    classes = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    samples = []
    for number, name in enumerate(classes):
        for folder, _, files in sorted(os.walk(root / name, followlinks=True)):
            for file in sorted(files):
                if file.lower().endswith((".jpg", ".jpeg", ".png", ".webp")):
                    path = os.path.relpath(os.path.join(folder, file), root)
                    samples.append((path, number))
    return samples


AWKWARD = [
    "b/z.jpg",
    "b/sub/a.JPEG",
    "b/sub-1/b.png",
    "b/sub/deep/c.webp",
    "b/notes.txt",
    "B/10.jpg",
    "B/9.jpg",
    "a b/é.jpg",
    "README.md",
]


def test_classes_and_order_are_torchvisions(lay_out, tmp_path, encoded):
    address = lay_out({path: encoded(i) for i, path in enumerate(AWKWARD)})
    source = open_dataset(address)
    wanted = image_folder_order(tmp_path / "photos")
    assert list(zip(source.ids, source.labels, strict=True)) == wanted
    assert source.class_names == ("B", "a b", "b")
    assert source.name == address
    for i, (path, number) in enumerate(wanted):
        content = (tmp_path / "photos" / path).read_bytes()
        assert source[i] == (content, number, path)


def test_parts_without_split_folders(lay_out, photos):
    address = lay_out(photos)
    parts = {s: open_dataset(f"{address}@{s}") for s in ("train", "validation", "test")}
    counts = {s: np.bincount(part.labels).tolist() for s, part in parts.items()}
    assert counts == {"train": [8] * 3, "validation": [1] * 3, "test": [1] * 3}
    ids = [id for part in parts.values() for id in part.ids]
    assert sorted(ids) == sorted(photos)
    assert open_dataset(f"{address}@all").ids == open_dataset(address).ids
    assert len({part.fingerprint for part in parts.values()}) == 3
    with pytest.raises(UserError, match="unknown split 'vali'; did you mean 'valid"):
        open_dataset(f"{address}@vali")


def test_split_folders(lay_out, photos, encoded):
    files = {f"train/{path}": content for path, content in photos.items()}
    files |= {f"val/{c}/0.jpg": encoded(i) for i, c in enumerate(("dog", "fox"))}
    address = lay_out(files)
    held_out = open_dataset(address)  # the one split that is not for training
    assert held_out.ids == open_dataset(f"{address}@validation").ids
    assert held_out.ids == open_dataset(f"{address}@val").ids
    assert held_out.ids == ("dog/0.jpg", "fox/0.jpg")
    # One list of classes for all splits.
    assert held_out.class_names == ("cat", "dog", "eel", "fox")
    assert held_out.labels.tolist() == [1, 3]
    train = open_dataset(f"{address}@train")
    assert train.ids == tuple(sorted(photos))
    assert train.class_names == held_out.class_names
    with pytest.raises(UserError, match="unknown split 'test'"):
        open_dataset(f"{address}@test")


def test_several_held_out_splits_must_be_named(lay_out, encoded):
    files = {f"{s}/cat/0.jpg": encoded(0) for s in ("train", "val", "test")}
    with pytest.raises(UserError, match=r"splits test, train, validation; say which"):
        open_dataset(lay_out(files))


def test_a_folder_inside(lay_out, photos):
    address = lay_out({f"wrapped/train/{p}": c for p, c in photos.items()})
    inside = open_dataset(f"{address}/wrapped/train@test")
    assert len(inside) == 3
    assert open_dataset(f"{address}/wrapped").ids == tuple(sorted(photos))
    with pytest.raises(UserError, match="there is n"):
        open_dataset(f"{address}/wrapped/tran")


def test_a_class_may_be_called_train(lay_out, encoded):
    files = {f"{c}/0.jpg": encoded(0) for c in ("bus", "train")}
    assert open_dataset(lay_out(files)).class_names == ("bus", "train")


def test_folders_beside_splits_are_an_error(lay_out, encoded):
    files = {f"{top}/cat/0.jpg": encoded(0) for top in ("val", "devkit", "extra")}
    with pytest.raises(UserError, match=r"beside the splits val lie .* devkit, extra"):
        open_dataset(lay_out(files))


def test_flat_files_with_wordnet_ids(lay_out, encoded):
    names = ("n01440764_tench.JPEG", "n01440764_7.JPEG", "n01494475_hammerhead.JPEG")
    source = open_dataset(lay_out({name: encoded(0) for name in names}))
    assert source.class_names == ("n01440764", "n01494475")
    assert dict(zip(source.ids, source.labels, strict=True)) == {
        names[1]: 0,
        names[0]: 0,
        names[2]: 1,
    }


def test_class_names_give_the_numbers(lay_out, photos):
    address = lay_out(photos)
    source = open_dataset(address, class_names=["eel", "fox", "dog", "cat"])
    assert [source.labels[i] for i in (0, 10, 20)] == [3, 2, 0]
    assert source[0].label == 3
    assert source.class_names == ("eel", "fox", "dog", "cat")
    with pytest.raises(UserError, match=r"2 of 3 classes .* class_names: dog, eel"):
        open_dataset(address, class_names=["cat", "fox"])


BAD_LAYOUTS = {
    "no class folders and no images": {"README.md": b"text"},
    "no image under any of 2 folders": {"a/x.txt": b"", "b/y.txt": b""},
    "2 class folders without an image: b, d": {
        "a/0.jpg": b"1",
        "b/notes.txt": b"",
        "c/0.jpg": b"1",
        "d/e/notes.txt": b"",
    },
    "2 images and no class folders, and the names tell no class": {
        "n01440764_0.jpg": b"1",
        "photo.jpg": b"2",
    },
    "has both val and validation": {"val/a/0.jpg": b"1", "validation/a/0.jpg": b"1"},
}


@pytest.mark.parametrize("message", BAD_LAYOUTS)
def test_bad_layouts(lay_out, message):
    with pytest.raises(UserError, match=message):
        open_dataset(lay_out(BAD_LAYOUTS[message]))


def test_empty_folder_without_files(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(UserError, match="no image under any of 1 folders"):
        open_dataset(f"folder:{tmp_path}")


def test_no_such_path(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match="there is nothing at"):
        open_dataset(f"folder:{tmp_path}/nothing/here")
    with pytest.raises(UserError, match=r"is a file; wanted a folder.* \.tar\.gz"):
        open_dataset(f"folder:{tmp_path}/notes.txt")


def test_links(tmp_path, write_tree, photos):
    """A linked folder is read; a loop and a dead link are errors, named together."""
    root = write_tree(tmp_path / "photos", photos)
    (root / "cow").symlink_to(root / "cat")
    assert len(open_dataset(f"folder:{root}")) == 40
    (root / "cat" / "again").symlink_to(root)
    (root / "dog" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    with pytest.raises(UserError) as caught:
        open_dataset(f"folder:{root}")
    assert "cat/again/cat: a link to a folder above it" in str(caught.value)
    assert "dog/gone.jpg: a link to nothing" in str(caught.value)


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


def test_archives_are_unpacked_and_indexed_once(lay_out, photos, monkeypatch):
    address = lay_out(photos)
    first = open_dataset(address)

    def again(*arguments):
        raise AssertionError("a second time")

    monkeypatch.setattr(tar_module, "_read_index", again)
    monkeypatch.setattr(tar_module.shutil, "copyfileobj", again)
    second = open_dataset(address)
    assert [second[i] for i in range(30)] == [first[i] for i in range(30)]


def test_a_changed_archive_is_read_anew(tmp_path, write_tree, pack, photos):
    root = write_tree(tmp_path / "photos", photos)
    archive = tmp_path / "photos.tar.gz"
    before = open_dataset(f"folder:{pack(root, archive)}").fingerprint
    (root / "cat/00.jpg").write_bytes(photos["cat/01.jpg"])
    after = open_dataset(f"folder:{pack(root, archive)}")
    assert after[0].image == photos["cat/01.jpg"]
    assert after.fingerprint != before


def test_an_unwritable_cache(tmp_path, write_tree, pack, photos, monkeypatch):
    root = write_tree(tmp_path / "photos", photos)
    archives = [pack(root, tmp_path / f"photos.{end}") for end in ("tar", "tar.gz")]
    (tmp_path / "file").touch()
    monkeypatch.setenv("JAXBENCH_CACHE", str(tmp_path / "file"))
    # Without a cache, plain tars only take longer; a tar.gz has nowhere to go.
    assert len(open_dataset(f"folder:{archives[0]}").fingerprint) == 32
    with pytest.raises(UserError, match=r"cannot be unpacked.*set JAXBENCH_CACHE"):
        open_dataset(f"folder:{archives[1]}")


def test_a_damaged_cache_is_computed_again(tmp_path, write_tree, photos):
    root = write_tree(tmp_path / "photos", photos)
    wanted = open_dataset(f"folder:{root}").fingerprint
    remembered = list((cache.cache_folder() / "fingerprints").iterdir())
    for content in (b"", b"text", remembered[0].read_bytes()[:100]):
        remembered[0].write_bytes(content)
        assert open_dataset(f"folder:{root}").fingerprint == wanted


def test_fingerprints_follow_content_not_place(tmp_path, write_tree, pack, photos):
    root = write_tree(tmp_path / "photos", photos)
    archives = [pack(root, tmp_path / f"p.{end}") for end in ("tar", "tar.gz")]
    sources = [open_dataset(f"folder:{place}") for place in (root, *archives)]
    assert len({source.fingerprint for source in sources}) == 1
    few = {take(source, [3, 17]).fingerprint for source in sources}
    assert len(few) == 1
    changed = bytearray(photos["eel/09.jpg"])
    changed[-1] ^= 1
    status = (root / "eel/09.jpg").stat()
    (root / "eel/09.jpg").write_bytes(changed)
    os.utime(root / "eel/09.jpg", ns=(0, status.st_mtime_ns + 1))
    again = open_dataset(f"folder:{root}")
    assert again.fingerprint != sources[0].fingerprint
    assert take(again, [3, 17]).fingerprint in few


def test_a_tar_that_shrinks_while_open(tmp_path, write_tree, pack, photos):
    archive = pack(write_tree(tmp_path / "photos", photos), tmp_path / "p.tar")
    source = open_dataset(f"folder:{archive}")
    os.truncate(archive, 4000)
    loaded = load_images(source, SPEC, on_error="skip")
    assert 0 < len(loaded.ids) < 30
    assert "the archive ends after" in loaded.skipped[0].reason
