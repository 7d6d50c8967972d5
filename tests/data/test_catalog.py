import errno
import os
import subprocess
import sys

import numpy as np
import pytest

from jaxbench.data import CORRUPTIONS, DATASETS, expand_addresses, open_dataset
from jaxbench.data.catalog import Address, catalog_addresses, parse_address
from jaxbench.errors import UserError

# Published datasets have to be prepared; tests/data/known is about them.
EMBEDDED = [
    address
    for address in catalog_addresses()
    if DATASETS[address.partition("@")[0].partition("/")[0]].known is None
]


@pytest.mark.parametrize("address", EMBEDDED)
def test_every_address_opens_under_its_name(address):
    source = open_dataset(address)
    assert source.name == address
    assert len(source) == len(source.labels) > 0
    assert source[0].label == source.labels[0]
    assert source.labels.min() >= 0
    assert source.labels.max() < len(source.class_names)
    assert len(set(source.ids)) == len(source)


def test_fingerprints_tell_datasets_apart():
    prints = {open_dataset(address).fingerprint for address in EMBEDDED}
    assert len(prints) == len(EMBEDDED)
    # Pinned: a change of these moves every number that was ever recorded.
    assert open_dataset("digits@test").fingerprint == DIGITS_TEST_FINGERPRINT


DIGITS_TEST_FINGERPRINT = "0078ceed733986e3ea3ca312099dba68"


def test_the_table_is_filled_in():
    for name, dataset in DATASETS.items():
        assert dataset.description.endswith((".", ".)")), name
        assert dataset.reference.startswith(("https://", "http://")), name
        assert dataset.licence, name


ADDRESSES = {
    "digits": ("", "digits", None),
    "digits@test": ("", "digits", "test"),
    "digits-c/contrast_2": ("", "digits-c/contrast_2", None),
    "folder:/data/a@b/c": ("folder", "/data/a@b/c", None),
    "folder:/data/a@b/c@val": ("folder", "/data/a@b/c", "val"),
    "folder:C:/x": ("folder", "C:/x", None),
    "tfds:a/b:1.0.0@test[:25%]": ("tfds", "a/b:1.0.0", "test[:25%]"),
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_addresses_are_taken_apart(address):
    assert parse_address(address) == Address(*ADDRESSES[address])


BAD_ADDRESSES = {
    "digitz": "unknown dataset 'digitz'; did you mean 'digits'.*folder:PATH",
    "digits@tests": "unknown split 'tests'; did you mean 'test'",
    "digits/big": "digits has no configs; leave out /big",
    "digits-ood@test": "digits-ood has no splits; leave out @test",
    "digits-c": r"names 95 datasets; choose one.*give digits-c/\*",
    "digits-c/contrast_6": "unknown config 'contrast_6'; did you mean 'contrast_",
    "foldr:x": "unknown kind of dataset 'foldr'; did you mean 'folder'",
    "folder:": "is not a dataset address; wanted NAME",
    "digits@": "is not a dataset address; wanted NAME",
    "": "is not a dataset address; wanted NAME",
}


@pytest.mark.parametrize("address", BAD_ADDRESSES)
def test_bad_addresses(address):
    with pytest.raises(UserError, match=BAD_ADDRESSES[address]):
        open_dataset(address)


def test_expanding():
    assert expand_addresses("digits") == ("digits",)
    assert expand_addresses(["digits@*", "digits@test", "folder:/x/*"]) == (
        "digits@train",
        "digits@validation",
        "digits@test",
        "folder:/x/*",
    )
    assert expand_addresses("digits-c") == expand_addresses("digits-c/*")
    assert len(expand_addresses("digits-c")) == 5 * len(CORRUPTIONS)
    third = expand_addresses("digits-c/*_3")
    assert third == tuple(f"digits-c/{name}_3" for name in CORRUPTIONS)
    assert expand_addresses("dig*@t*") == ("digits@train", "digits@test")


WILD_SPLITS = {
    "folder:/x@*": "wildcards after @ match .* named datasets.*; of folder: name each",
    "arrays:/x.npz@[tv]*": "of arrays: name each split",
    "tfds:x@*": "of tfds: name each split",
    "digits-ood@*": r"nothing among digits@train\|val.* other names have no splits",
    "digits-c/*@test": r"nothing among digits@train\|val.* other names have no splits",
}


@pytest.mark.parametrize("pattern", WILD_SPLITS)
def test_wildcards_in_splits_that_cannot_be_listed(pattern):
    with pytest.raises(UserError, match=WILD_SPLITS[pattern]):
        expand_addresses(["digits@*", pattern])


def test_brackets_of_tfds_are_not_wildcards():
    assert expand_addresses("tfds:x@test[:25%]") == ("tfds:x@test[:25%]",)


def test_paths_with_an_at_sign(tmp_path, write_tree, photos):
    write_tree(tmp_path / "me@home", photos)
    np.savez(tmp_path / "a@b.npz", images=np.zeros((2, 4, 4), "u1"), labels=[0, 1])
    address = f"folder:{tmp_path}/me@home"
    whole = open_dataset(address)
    assert (len(whole), whole.name) == (30, address)
    assert len(open_dataset(f"{address}@test")) == 3
    assert len(open_dataset(f"arrays:{tmp_path}/a@b.npz")) == 2
    assert expand_addresses(address) == (address,)
    # Nothing is at this whole path: the last part is a split.
    with pytest.raises(UserError, match=r"there is nothing at '.*/me'"):
        open_dataset(f"folder:{tmp_path}/me@work")


def test_the_home_folder(tmp_path, write_tree, photos, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_tree(tmp_path / "photos@2x", photos)
    source = open_dataset("folder:~/photos@2x")
    assert (len(source), source.name) == (30, "folder:~/photos@2x")
    assert len(open_dataset("folder:~/photos@2x@validation")) == 3


def test_patterns_that_match_nothing_are_named_together():
    with pytest.raises(UserError) as caught:
        expand_addresses(["digits-x/*", "digits", "digts@test", "digits-c/mist_1"])
    for part in ("'digits-x/*' matches nothing", "mean 'digits'", "config 'mist_1'"):
        assert part in str(caught.value)


def test_class_names_for_catalog_datasets():
    names = [str(9 - i) for i in range(10)]
    assert open_dataset("digits@test", class_names=names).labels.max() == 9
    assert set(open_dataset("digits-ood", class_names=names).labels) == {0, 1}
    with pytest.raises(UserError, match="2 of 2 classes are not in class_names: 8, 9"):
        open_dataset("digits-ood", class_names=names[2:])


def test_listing_datasets_imports_no_reader_and_no_model():
    """Grain takes seconds to import and TFDS one: only reading images pays for them."""
    program = (
        "import sys; from jaxbench.data import expand_addresses, open_dataset;"
        "expand_addresses('digits*'); open_dataset('digits-c/contrast_1')[0];"
        "slow = {'grain', 'tensorflow_datasets', 'flax'};"
        "print(slow & set(sys.modules))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "set()"


def test_annotations_are_not_images_of_a_pattern():
    assert "imagenet-x" in DATASETS
    assert "imagenet-x" not in expand_addresses("imagenet-[rx]")
    with pytest.raises(UserError, match="matches nothing"):
        expand_addresses("imagenet-[x]")


IMPOSSIBLE = {
    r"'folder:/a\\x00b': an address must be UTF-8 without NUL": "folder:/a\0b",
    r"'arrays:/caf\\udce9': an address must be UTF-8": "arrays:/caf\udce9",
    "there is nothing at '/x+' \\(File name too long\\); check": f"folder:/{'x' * 300}",
    "there is nothing at '/x+.npz' \\(File name too": f"arrays:/{'x' * 300}.npz",
    "no prepared dataset in ": f"tfds:{'x' * 300}",
    "a device, pipe or socket": "folder:/dev/null",
    "too many levels": "folder:LOOP/cat",
}


@pytest.mark.parametrize("message", IMPOSSIBLE)
def test_case_32_paths_that_cannot_be(message, tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    address = IMPOSSIBLE[message].replace("LOOP", str(tmp_path / "loop"))
    with pytest.raises(UserError, match=f"(?i){message}"):
        open_dataset(address)


def test_case_32_a_folder_of_somebody_else(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()

    def denied(path):
        raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(UserError, match=r"Permission denied: '.*repair or remove it"):
        open_dataset(f"folder:{tmp_path}")
    (tmp_path / "a.tar").touch()
    monkeypatch.setattr(os, "stat", denied)
    with pytest.raises(
        UserError, match=r"nothing at '.*/a\.tar' \(Permission denied\)"
    ):
        open_dataset(f"folder:{tmp_path}/a.tar")
