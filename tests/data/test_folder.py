import errno
import os

import numpy as np
import pytest

from jaxbench.data import cache, load_images, open_dataset, take
from jaxbench.data import unpacked as unpacked_module
from jaxbench.data.source import DecodeError
from jaxbench.data.sources import tar as tar_module
from jaxbench.data.sources import trees
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
    with pytest.raises(UserError, match=r"there is nothing at|is not inside"):
        open_dataset(f"{address}/wrapped/tran")


WRAPPED = {
    "cat/{}.jpg": "photos",
    "data/cat/{}.jpg": "photos/data",
    "train/cat/{}.jpg": "photos",  # whose only split is train
    "n01440764_{}.JPEG": None,  # a class with its images
}


@pytest.mark.parametrize("inner", WRAPPED)
def test_a_wrapper_is_not_a_class(lay_out, encoded, inner):
    names = [inner.format(0), inner.replace("cat", "dog").format(1)]
    address = lay_out({f"photos/{name}": encoded(0) for name in names}, "outer")
    if WRAPPED[inner] is None:
        assert open_dataset(address).class_names == ("photos",)
        return
    works = f"{address}/{WRAPPED[inner]}"
    for split in ("", "@test"):
        with pytest.raises(UserError, match="only folder, 'photos', holds no ") as e:
            open_dataset(address + split)
        assert str(e.value).endswith(f"classes: {works.removeprefix('folder:')}")
    assert open_dataset(works).class_names == ("cat", "dog")


def test_a_wrapper_inside_splits(lay_out, encoded):
    files = [f"{s}/photos/{c}/0.jpg" for s in ("train", "val") for c in ("cat", "dog")]
    address = lay_out({path: encoded(0) for path in files})
    with pytest.raises(UserError, match=r"@train: its only .*/train/photos$"):
        open_dataset(f"{address}@train")
    assert open_dataset(f"{address}/train/photos").class_names == ("cat", "dog")


def test_one_class_with_images_and_folders(lay_out, encoded):
    files = {f"cat/{path}": encoded(0) for path in ("0.jpg", "old/1.jpg", "new/2.jpg")}
    assert open_dataset(lay_out(files)).class_names == ("cat",)


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
    "2 images and no class folders, and the names have no class in them": {
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


def test_archives_are_unpacked_and_indexed_once(lay_out, photos, monkeypatch):
    address = lay_out(photos)
    first = open_dataset(address)

    def again(*arguments):
        raise AssertionError("a second time")

    monkeypatch.setattr(tar_module, "read_index", again)
    monkeypatch.setattr(unpacked_module, "_unpack", again)
    second = open_dataset(address)
    assert [second[i] for i in range(30)] == [first[i] for i in range(30)]


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


@pytest.fixture
def unreadable(monkeypatch):
    """Paths, relative to the folder, that the system refuses to read, and why."""
    errors = {}
    read = trees.DirectoryTree.read

    def read_(tree, path):
        if path in errors:
            raise OSError(errors[path], os.strerror(errors[path]), f"/at/{path}")
        return read(tree, path)

    monkeypatch.setattr(trees.DirectoryTree, "read", read_)
    return errors


def test_an_unreadable_file_is_for_the_reader_to_judge(
    tmp_path, write_tree, photos, unreadable
):
    roots = [write_tree(tmp_path / name, photos) for name in ("one", "two")]
    whole = open_dataset(f"folder:{write_tree(tmp_path / 'w', photos)}").fingerprint
    prints = set()
    for code in (errno.EACCES, errno.EIO):
        unreadable["cat/03.jpg"] = code
        # Of both folders the same: the reason, not the place, is digested.
        found = {open_dataset(f"folder:{root}").fingerprint for root in roots}
        assert len(found) == 1
        prints |= found
    assert len(prints | {whole}) == 3
    source = open_dataset(f"folder:{roots[1]}")
    with pytest.raises(DecodeError, match=r"'cat/03\.jpg': .*Input/output"):
        load_images(source, SPEC)
    loaded = load_images(source, SPEC, on_error="skip")
    assert [skipped.id for skipped in loaded.skipped] == ["cat/03.jpg"]
    assert len(loaded.ids) == 29
    # Readable again, with the same size and time of change: nothing was remembered.
    unreadable.clear()
    assert open_dataset(f"folder:{roots[1]}").fingerprint == whole


def test_a_file_that_goes_after_the_listing(tmp_path, write_tree, photos):
    root = write_tree(tmp_path / "photos", photos)
    source = open_dataset(f"folder:{root}")
    (root / "dog/05.jpg").unlink()
    assert source.fingerprint_of(np.arange(30)) != source.fingerprint_of(np.arange(15))
    assert load_images(source, SPEC, on_error="skip").skipped[0].id == "dog/05.jpg"
