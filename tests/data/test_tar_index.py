"""Kinds of members: a tar reads as the folder that GNU tar extracts from it does."""

import io
import os
import shutil
import subprocess
import tarfile

import numpy as np
import pytest

from jaxbench.data import load_images, open_dataset
from jaxbench.data.sources.tar import TarTree
from jaxbench.data.sources.trees import DirectoryTree
from jaxbench.errors import UserError, printable
from model_zoo.input_spec import InputSpec
from tests.data.test_folder import image_folder_order

gnu_tar = pytest.mark.skipif(shutil.which("tar") is None, reason="needs GNU tar")


def run_tar(*arguments, where):
    subprocess.run(["tar", *arguments], cwd=where, check=True, capture_output=True)


def same(folder, archive):
    """Opens both, which must agree in everything; gives the folder's source."""
    wanted, found = open_dataset(f"folder:{folder}"), open_dataset(f"folder:{archive}")
    assert (found.ids, found.class_names) == (wanted.ids, wanted.class_names)
    np.testing.assert_array_equal(found.labels, wanted.labels)
    assert [found[i] for i in range(len(found))] == [
        wanted[i] for i in range(len(wanted))
    ]
    assert found.fingerprint == wanted.fingerprint
    return wanted


def extracted(archive, folder):
    """The folder that GNU tar makes of an archive."""
    folder.mkdir()
    run_tar("-xf", archive, where=folder)
    return folder


def link_all_ways(root, photos):
    """Symbolic and hard links to files and folders, and links to links."""
    (root / "cow").symlink_to("cat")  # a class
    (root / "ant").symlink_to("cow")  # a class by two links
    (root / "dog/more").symlink_to("../eel")  # a folder inside a class
    (root / "dog/up.jpg").symlink_to("../cat/01.jpg")
    (root / "dog/twice.jpg").symlink_to("up.jpg")
    (root / "dog/through.jpg").symlink_to("../ant/02.jpg")
    (root / "dog/deep.jpg").symlink_to("more/../cat/03.jpg")
    os.link(root / "cat/04.jpg", root / "eel/hard.jpg")
    os.link(root / "cat/04.jpg", root / "cat/hard.jpg")
    os.link(
        root / "dog/up.jpg", root / "dog/hard-link-to-link.jpg", follow_symlinks=False
    )


@gnu_tar
@pytest.mark.parametrize("format", ["gnu", "posix", "ustar"])
def test_case_04_links_in_a_tar_are_followed_as_in_a_folder(
    tmp_path, write_tree, photos, format
):
    root = write_tree(tmp_path / "photos", photos)
    link_all_ways(root, photos)
    run_tar("-cf", "../p.tar", f"--format={format}", ".", where=root)
    source = same(root, tmp_path / "p.tar")
    samples = list(zip(source.ids, source.labels, strict=True))
    assert samples == image_folder_order(root)
    assert source.class_names == ("ant", "cat", "cow", "dog", "eel")
    assert np.bincount(source.labels).tolist() == [11, 11, 11, 26, 11]
    same(extracted(tmp_path / "p.tar", tmp_path / "again"), tmp_path / "p.tar")


def test_case_04_a_path_may_go_through_links(tmp_path, write_tree, pack, photos):
    root = write_tree(tmp_path / "photos", {f"v1/{p}": c for p, c in photos.items()})
    (root / "latest").symlink_to("v1")
    archive = pack(root, tmp_path / "p.tar")
    same(root / "latest", f"{archive}/latest")
    with pytest.raises(UserError, match="folder 'latest/gnu' is not inside"):
        open_dataset(f"folder:{archive}/latest/gnu")


def add(archive, name, content=b"", **fields):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for field, value in fields.items():
        setattr(member, field, value)
    archive.addfile(member, io.BytesIO(content))


def link(archive, name, target, kind=tarfile.SYMTYPE):
    add(archive, name, type=kind, linkname=target)


BROKEN_LINKS = {
    "dangling": ("b/x.jpg", "gone.jpg", "b/x.jpg: a link to nothing"),
    "loop": ("b/x.jpg", "x.jpg", "b/x.jpg: a link to nothing"),
    "absolute": ("b/x.jpg", "/a/0.jpg", "b/x.jpg: a link to nothing"),
    "outside": ("b/x.jpg", "../../a/0.jpg", "b/x.jpg: a link to nothing"),
    "through a file": ("b/x.jpg", "../a/0.jpg/../0.jpg", "b/x.jpg: a link to nothing"),
    "class": ("owl", "gone", "owl: a link to nothing"),
    "class with a dot": ("001.Owl", "/data/owl", "001.Owl: a link to nothing"),
    "class loop": ("owl", "owl", "owl: a link to nothing"),
    "folder": ("b/more", "../gone", "b/more: a link to nothing"),
    "upwards": ("b/more", "..", "b/more/b: a link to a folder above it"),
}


@pytest.mark.parametrize("kind", BROKEN_LINKS)
@pytest.mark.parametrize("place", ["tar", "folder"])
def test_case_04_links_that_lead_nowhere_are_named(tmp_path, encoded, kind, place):
    """A class must not vanish with its link: the labels behind it would shift."""
    name, target, message = BROKEN_LINKS[kind]
    if place == "folder" and kind in ("absolute", "outside"):
        target = "/nonexistent/a/0.jpg"
    path = tmp_path / "links.tar"
    with tarfile.open(path, "w") as archive:
        for file in ("a/0.jpg", "b/0.jpg"):
            add(archive, file, encoded(0))
        link(archive, name, target)
        link(archive, "README.md", "gone.md")  # no image and no class
    if place == "folder":
        with tarfile.open(path) as archive:
            archive.extractall(tmp_path / "out")
        path = tmp_path / "out"
        message = message.replace("link to nothing", "(link to nothing|loop of links)")
    with pytest.raises(UserError, match=message) as caught:
        open_dataset(f"folder:{path}")
    assert "README" not in str(caught.value)


def test_case_04_a_hard_link_needs_its_file_before_it(tmp_path, encoded):
    path = tmp_path / "links.tar"
    with tarfile.open(path, "w") as archive:
        link(archive, "a/1.jpg", "a/0.jpg", tarfile.LNKTYPE)
        add(archive, "a/0.jpg", encoded(0))
    with pytest.raises(UserError, match=r"a/1\.jpg: .*no a/0\.jpg before it"):
        open_dataset(f"folder:{path}")


@gnu_tar
def test_case_04_later_members_replace_earlier_ones(tmp_path, encoded):
    """And a hard link keeps what it was a link to."""
    path = tmp_path / "again.tar"
    with tarfile.open(path, "w") as archive:
        add(archive, "./a/0.jpg", encoded(0))
        link(archive, "a/hard.jpg", "a/0.jpg", tarfile.LNKTYPE)
        link(archive, "a/soft.jpg", "0.jpg")
        add(archive, "a//0.jpg", encoded(1))
        link(archive, "a/1.jpg", "0.jpg")
        add(archive, "a/1.jpg", encoded(2))  # replaces the link, not its target
        add(archive, "/b/0.jpg", encoded(3))
        add(archive, "b/0.jpg", type=tarfile.SYMTYPE, linkname="../a/hard.jpg")
    source = same(extracted(path, tmp_path / "out"), path)
    content = {source.ids[i]: source[i].image for i in range(len(source))}
    assert content == {
        "a/0.jpg": encoded(1),
        "a/1.jpg": encoded(2),
        "a/hard.jpg": encoded(0),
        "a/soft.jpg": encoded(1),
        "b/0.jpg": encoded(0),
    }


CLASHES = {
    "under a link": [("l", None, "a"), ("l/0.jpg", b"1", None)],
    "under a file": [("c", b"1", None), ("c/0.jpg", b"1", None)],
    "two dots": [("../c/0.jpg", b"1", None)],
    "two dots inside": [("c/../a/1.jpg", b"1", None)],
}


@pytest.mark.parametrize("kind", CLASHES)
def test_case_04_what_tar_would_not_extract_is_named(tmp_path, encoded, kind):
    path = tmp_path / "clash.tar"
    with tarfile.open(path, "w") as archive:
        add(archive, "a/0.jpg", encoded(0))
        for name, content, target in CLASHES[kind]:
            if target:
                link(archive, name, target)
            else:
                add(archive, name, content)
    with pytest.raises(
        UserError, match=r"would not extract '(l|c|\.\./c/0\.jpg|c/\.\./a/1\.jpg)'"
    ):
        open_dataset(f"folder:{path}")


def make_sparse(root, encoded):
    """Files with holes in front, between and behind, and one of nothing but a hole."""
    for name, pieces in {
        "cat/plain.jpg": [(0, encoded(0))],
        "cat/between.ppm": [(0, encoded(1)), (1 << 20, encoded(2))],
        "cat/front.ppm": [(1 << 20, encoded(3))],
        "dog/behind.ppm": [(0, encoded(4))],
        "dog/hole.ppm": [],
        "dog/many.ppm": [(i << 17, encoded(i)) for i in range(30)],
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for offset, content in pieces:
                file.seek(offset)
                file.write(content)
            if name != "cat/plain.jpg":
                file.truncate(4 << 20)
    return root


SPARSE_FORMATS = {
    "gnu": ("--format=gnu",),
    **{
        version: ("--format=posix", f"--sparse-version={version}")
        for version in ("0.0", "0.1", "1.0")
    },
}


@gnu_tar
@pytest.mark.parametrize("format", SPARSE_FORMATS)
def test_case_05_sparse_members_are_read(tmp_path, encoded, format):
    root = make_sparse(tmp_path / "photos", encoded)
    run_tar("-S", *SPARSE_FORMATS[format], "-cf", "../p.tar", ".", where=root)
    with tarfile.open(tmp_path / "p.tar") as archive:
        assert sum(member.issparse() for member in archive) == 5
    assert len(same(root, tmp_path / "p.tar")) == 6


def test_case_05_a_sparse_member_that_claims_too_much(tmp_path):
    """2^50 bytes, of which none is held."""
    path = tmp_path / "claims.tar"
    with tarfile.open(path, "w") as archive:
        pax = {"GNU.sparse.size": str(2**50), "GNU.sparse.map": "0,0"}
        add(archive, "a/0.jpg", pax_headers=pax)
    source = open_dataset(f"folder:{path}")
    with pytest.raises(UserError, match=r"'a/0\.jpg'.*too large for an image file"):
        source[0]


ODD_KINDS = {
    "a device": tarfile.CHRTYPE,
    "a pipe": tarfile.FIFOTYPE,
    "the unknown kind 'M'": b"M",
}


@pytest.mark.parametrize("words", ODD_KINDS)
def test_case_05_other_members_with_an_images_name_are_named(tmp_path, encoded, words):
    path = tmp_path / "odd.tar"
    with tarfile.open(path, "w") as archive:
        add(archive, "a/0.jpg", encoded(0))
        add(archive, "dev/null", type=tarfile.CHRTYPE)
        add(archive, "b/0.jpg", type=ODD_KINDS[words])
        link(archive, "b/1.jpg", "0.jpg")
    with pytest.raises(UserError, match=rf"b/0\.jpg: .*{words}.*; b/1\.jpg: a link to"):
        open_dataset(f"folder:{path}")
    pipe = tmp_path / "b"
    pipe.mkdir()
    os.mkfifo(pipe / "0.jpg")
    with pytest.raises(UserError, match=r"b/0\.jpg: a device, pipe or socket"):
        open_dataset(f"folder:{tmp_path}")


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_case_05_names_that_do_not_fit_a_header(tmp_path, encoded, format):
    name = "a" * 90 + "/" + "b" * 200 + "/" + "é" * 100 + ".jpg"
    path = tmp_path / "long.tar"
    with tarfile.open(path, "w", format=format) as archive:
        add(archive, name, encoded(0))
        add(archive, "c/0.jpg", encoded(1), type=tarfile.CONTTYPE)
        link(archive, "c/1.jpg", f"../{name}")
        add(archive, "c/short.jpg", encoded(2), pax_headers={"path": "c/2.jpg"})
    with tarfile.open(path) as archive:
        archive.extractall(tmp_path / "out")
    source = same(tmp_path / "out", path)
    assert source.ids[0] == name
    assert ("c/2.jpg" in source.ids) == (format == tarfile.PAX_FORMAT)


def test_case_05_apples_files_are_named_when_they_are_decoded(tmp_path, encoded):
    path = tmp_path / "mac.tar"
    with tarfile.open(path, "w") as archive:
        add(archive, "./._a", b"\0\5\26\7")
        add(archive, "./a/._0.jpg", b"\0\5\26\7\0\2\0\0Mac OS X" + bytes(60))
        add(archive, "./a/0.jpg", encoded(0))
    source = open_dataset(f"folder:{path}")
    loaded = load_images(source, InputSpec((8, 8), 1.0), on_error="skip")
    assert [skipped.id for skipped in loaded.skipped] == ["a/._0.jpg"]
    assert "attributes that macOS keeps" in loaded.skipped[0].reason


@pytest.mark.parametrize("extra", ["__MACOSX", ".ipynb_checkpoints", "@eaDir"])
def test_case_04_a_folder_of_the_system_is_not_a_class(
    tmp_path, write_tree, pack, photos, extra
):
    """It would be the first class, and every label one more."""
    files = photos | {f"{extra}/0.jpg": photos["cat/00.jpg"]}
    root = write_tree(tmp_path / "photos", files)
    for place in (root, pack(root, tmp_path / "p.tar")):
        with pytest.raises(UserError, match=f"{extra} holds 1 image and would be a"):
            open_dataset(f"folder:{place}")


def test_case_25_names_that_are_not_utf_8(tmp_path, encoded, pack):
    root = os.fsencode(tmp_path / "photos")
    for i, name in enumerate((b"caf\xe9/\xff.jpg", b"dog/\xe9t\xe9.jpg", b"dog/a.jpg")):
        path = os.path.join(root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(encoded(i))
    archives = [pack(tmp_path / "photos", tmp_path / f"p.{e}") for e in ("tar", "tgz")]
    for archive in archives:
        source = same(tmp_path / "photos", archive)
        assert source.class_names == (r"caf\xe9", "dog")
        assert source.ids == (r"caf\xe9/\xff.jpg", "dog/a.jpg", r"dog/\xe9t\xe9.jpg")
        assert open_dataset(f"folder:{archive}", class_names=["dog", r"caf\xe9"])


def test_case_25_texts_of_no_file_name_can_be_shown():
    assert printable("caf\udce9 \u00e9") == "caf\\xe9 \u00e9"
    assert printable("\ud800 \udce9") == r"\ud800 \udce9"
    assert str(UserError("caf\udce9")) == r"caf\xe9"


def test_case_25_two_names_that_are_written_alike(tmp_path, encoded):
    for name in (b"\xe9.jpg", rb"\xe9.jpg"):
        path = os.path.join(os.fsencode(tmp_path), b"a", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(encoded(0))
    with pytest.raises(UserError, match=r"are both '\\\\xe9.jpg|both 'a/"):
        open_dataset(f"folder:{tmp_path}")


def test_case_32_a_tar_of_very_deep_folders(tmp_path, encoded):
    path = tmp_path / "deep.tar"
    with tarfile.open(path, "w") as archive:
        for name in ("a", "b"):
            add(archive, name + 2_000 * "/d" + "/0.jpg", encoded(0))
    source = open_dataset(f"folder:{path}")
    assert source.class_names == ("a", "b")
    assert source[1].image == encoded(0)


@pytest.mark.parametrize("place", ["tar", "folder"])
def test_case_32_links_that_fan_out(tmp_path, encoded, place):
    """Two links to the next folder in each of 40: a million million images."""
    path = tmp_path / "fan.tar"
    with tarfile.open(path, "w") as archive:
        add(archive, "40/0.jpg", encoded(0))
        for level in range(40):
            link(archive, f"{level}/a", f"../{level + 1}")
            link(archive, f"{level}/b", f"../{level + 1}")
    if place == "folder":
        with tarfile.open(path) as archive:
            archive.extractall(tmp_path / "out")
        path = tmp_path / "out"
    with pytest.raises(UserError, match="links lead to it in over 1000 ways"):
        open_dataset(f"folder:{path}")


@pytest.mark.parametrize("place", ["path", "linkpath"])
def test_case_32_nul_in_a_members_name(tmp_path, encoded, place):
    path = tmp_path / "nul.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        add(archive, "a/0.jpg", encoded(0))
        kind = tarfile.SYMTYPE if place == "linkpath" else tarfile.REGTYPE
        add(archive, "a/1.jpg", type=kind, pax_headers={place: "a/0\0.jpg"})
    with pytest.raises(UserError, match=r"nul\.tar: .*NUL in its path or target"):
        open_dataset(f"folder:{path}")


def header(name, type, size):
    member = tarfile.TarInfo(name)
    member.type, member.size = type, size
    return member.tobuf(tarfile.GNU_FORMAT)


HOSTILE = {
    "long names of long names": header("x", tarfile.GNUTYPE_LONGNAME, 0) * 3_000,
    "a name of 2^60 bytes": header("x", tarfile.GNUTYPE_LONGNAME, 2**60),
    "a size of 2^70 bytes": header("a/0.jpg", tarfile.REGTYPE, 2**70),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_case_32_hostile_headers_are_not_a_whole_tar(tmp_path, kind):
    path = tmp_path / "hostile.tar"
    path.write_bytes(HOSTILE[kind] + bytes(10240))
    with pytest.raises(UserError, match=r"hostile\.tar: not a whole tar file"):
        open_dataset(f"folder:{path}")


def test_trees_agree_on_every_folder(tmp_path, write_tree, pack, photos):
    root = write_tree(tmp_path / "photos", photos)
    link_all_ways(root, photos)
    trees = DirectoryTree(str(root)), TarTree(str(pack(root, tmp_path / "p.tar")))
    for folder in ("", "cat", "ant", "dog", "dog/more"):
        listed = [
            (tree.folders(folder), tree.files(folder), tree.problems(folder))
            for tree in trees
        ]
        assert listed[0] == listed[1]
