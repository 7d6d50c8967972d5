import os

import pytest

from jaxbench.data.known.ood import ROWS
from jaxbench.errors import UserError

COUNTS = {
    "textures": 5_640,
    "inaturalist-ood": 10_000,
    "sun-ood": 10_000,
    "places-ood": 10_000,
    "ninco": 5_879,
    "ssb-hard": 49_000,
    "openimage-o": 17_632,
}
LISTED = {
    "inaturalist-ood": ("iNaturalist", "inaturalist_selected_list.txt"),
    "sun-ood": ("SUN", "sun_selected_list.txt"),
    "places-ood": ("Places", "places_selected_list.txt"),
    "openimage-o": ("openimage_o", "openimage_o.txt"),
}


def read(name, path):
    row = ROWS[name]
    return row.read(path, "", row.default_split)


def test_numbers_and_names():
    assert {name: row.expected("", "test") for name, row in ROWS.items()} == COUNTS
    assert {row.role for row in ROWS.values()} == {"ood"}
    names = ROWS["ssb-hard"].class_names()
    assert len(names) == 980
    assert list(names) == sorted(set(names))
    assert len(set(ROWS["ninco"].class_names())) == 64


@pytest.mark.parametrize("name", LISTED)
def test_the_folder_of_chosen_images(name, tmp_path, write_tree, pack, encoded):
    folder, _ = LISTED[name]
    images = {f"images/{file}.jpg": encoded(ord(file)) for file in "cab"}
    write_tree(tmp_path / "of" / folder, images | {"images/.note": b""})
    archive = pack(tmp_path / "of", tmp_path / f"{folder}.tar.gz")
    for place in (tmp_path / "of", tmp_path / "of" / folder, archive):
        listing = read(name, place)
        assert len(listing) == 3
        assert [tuple(item) for item in listing] == [
            (id, images[id], -1, ()) for id in sorted(images)
        ]
    # Another set's folder has images as well; it is not taken for this one.
    os.rename(tmp_path / "of" / folder, tmp_path / "of/another")
    wanted = rf"expected images/ \(in {folder}.*found the name 'another'"
    with pytest.raises(UserError, match=wanted):
        read(name, tmp_path / "of")


@pytest.mark.parametrize("name", LISTED)
def test_a_list_over_a_larger_collection(name, tmp_path, write_tree, encoded):
    _, file = LISTED[name]
    paths = ["train/f/forest_road/2.jpg", "val/with space.jpg", "train/a/1.jpg"]
    images = {path: encoded(i) for i, path in enumerate([*paths, "train/a/9.jpg"])}
    listed = {file: f"{paths[0]} 152\n{paths[1]} -1\n\n{paths[2]}\n".encode()}
    write_tree(tmp_path, images | listed)
    assert [tuple(item) for item in read(name, tmp_path)] == [
        (path, images[path], -1, ()) for path in paths
    ]
    (tmp_path / paths[1]).unlink()
    with pytest.raises(UserError, match=r"1 of 3 listed .*: val/with space\.jpg"):
        read(name, tmp_path)
    (tmp_path / paths[0]).unlink()
    with pytest.raises(UserError, match=rf"{file} names train/f/forest_road/2\.jpg, w"):
        read(name, tmp_path)
    (tmp_path / file).write_text("\n")
    with pytest.raises(UserError, match=f"{file} is empty"):
        read(name, tmp_path)


def test_open_images_in_a_folder_beside_their_list(tmp_path, write_tree, encoded):
    files = {f"test/{name}.jpg": encoded(i) for i, name in enumerate("ab")}
    write_tree(tmp_path, files | {"openimage_o.txt": b"b.jpg 0\n"})
    assert [item.id for item in read("openimage-o", tmp_path)] == ["b.jpg"]


def test_textures(tmp_path, write_tree, pack, encoded):
    paths = ["banded/banded_0002.jpg", "banded/banded_0010.jpg", "zigzagged/a.jpg"]
    files = {f"images/{path}": encoded(i) for i, path in enumerate(paths)}
    # The official archive has such a file.
    extra = {"images/waffled/.directory": b"", "labels/train1.txt": b""}
    write_tree(tmp_path / "a/dtd", files | extra)
    archive = pack(tmp_path / "a", tmp_path / "dtd-r1.0.1.tar.gz")
    for place in (tmp_path / "a", archive):
        assert [tuple(item) for item in read("textures", place)] == [
            (path, files[f"images/{path}"], label, ())
            for path, label in zip(paths, (0, 0, 46), strict=True)
        ]
    write_tree(tmp_path / "a/dtd", {"images/cat/a.jpg": encoded(0)})
    with pytest.raises(UserError, match="beside its classes lies the folder 'cat'"):
        read("textures", tmp_path / "a")


def test_ninco(tmp_path, write_tree, pack, encoded):
    names = ["Caracal caracal caracal", "high_heels", "waffles"]
    files = {f"NINCO_OOD_classes/{n}/{n}_0.jpeg": encoded(len(n)) for n in names}
    others = {"NINCO_popular_datasets_subsamples/Places/a.jpg": encoded(0)}
    write_tree(tmp_path / "a/NINCO", files | others)
    archive = pack(tmp_path / "a", tmp_path / "NINCO_all.tar.gz")
    classes = ROWS["ninco"].class_names()
    for place in (tmp_path / "a", tmp_path / "a/NINCO", archive):
        items = list(read("ninco", place))
        assert [item.id for item in items] == [f"{n}/{n}_0.jpeg" for n in names]
        assert [item.image for item in items] == list(files.values())
        assert [classes[item.label].replace(" ", "_") for item in items] == [
            name.replace(" ", "_") for name in names
        ]
    wanted = r"each of its 64 classes \(caracal_caracal_caracal, .* the name 'Places'"
    with pytest.raises(UserError, match=wanted):
        read("ninco", tmp_path / "a/NINCO/NINCO_popular_datasets_subsamples")


def test_ssb_hard(tmp_path, write_tree, encoded):
    first, last = ROWS["ssb-hard"].class_names()[0], ROWS["ssb-hard"].class_names()[-1]
    files = {
        f"{wnid}/{wnid}_7.JPEG": encoded(i) for i, wnid in enumerate((first, last))
    }
    easy = {"n00015388/n00015388_1.JPEG": encoded(9)}
    write_tree(tmp_path / "21k/imagenet21k_train", files)
    write_tree(tmp_path / "21k/imagenet21k_val", files | easy)
    write_tree(tmp_path / "ood/ssb_hard", files)
    for place in (tmp_path / "21k", tmp_path / "ood", tmp_path / "ood/ssb_hard"):
        assert [tuple(item) for item in read("ssb-hard", place)] == [
            (path, content, label, ())
            for (path, content), label in zip(files.items(), (0, 979), strict=True)
        ]
    # The validation images, not the training ones of the same classes.
    (tmp_path / "21k/imagenet21k_val" / first / f"{first}_7.JPEG").unlink()
    assert len(read("ssb-hard", tmp_path / "21k")) == 1
    with pytest.raises(UserError, match="expected a folder of each of its 980 classes"):
        read("ssb-hard", tmp_path / "21k/imagenet21k_val/n00015388")


def test_links_in_a_loop(tmp_path, write_tree, encoded):
    write_tree(tmp_path, {"banded/a.jpg": encoded(0)})
    (tmp_path / "banded/up").symlink_to(tmp_path / "banded")
    with pytest.raises(UserError, match=r"banded/up: a link to a folder above it"):
        read("textures", tmp_path)
