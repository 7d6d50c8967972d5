"""Class names: lists, the orders of other libraries, ImageNet's classes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import jaxbench.data.known as known
from jaxbench.data import ArraySource, open_dataset
from jaxbench.data.class_names import (
    imagenet_ids,
    labelled_as,
    match_classes,
    order_difference,
    ordered_classes,
    read_class_names,
)
from jaxbench.data.known.imagenet_classes import lemmas, wordnet_ids
from jaxbench.data.source import example_ids
from jaxbench.errors import UserError

# What timm 1.0.31's `find_images_and_targets` makes of folders of these names.
TIMM_ORDERS = [
    [str(number) for number in range(1, 13)],
    ["apple", "Bear", "cat", "Dog"],
    ["1a", "2", "2.5", "02x", "10", "a", "a1b", "A2", "a10b2", "a10b10", "b"],
]


@pytest.mark.parametrize("names", TIMM_ORDERS)
def test_case_08_timm_sorts_digits_as_numbers_and_without_case(names):
    assert ordered_classes(reversed(names), "timm") == tuple(names)
    assert ordered_classes(names, "torchvision") == tuple(sorted(names))
    assert order_difference(names) is not None


def test_case_08_names_that_differ_in_case_alone_have_no_order_in_timm():
    with pytest.raises(
        UserError, match="no fixed order of the classes 'Cat' and 'cat'"
    ):
        ordered_classes(["cat", "Cat"], "timm")
    assert order_difference(["a", "b", "c9"]) is None


def test_case_08_a_folder_may_be_labelled_in_timms_order(tmp_path):
    for number in range(1, 13):
        (tmp_path / str(number)).mkdir()
        pixels = np.full((4, 4, 3), number, np.uint8)
        Image.fromarray(pixels).save(tmp_path / str(number) / "x.png")
    plain = open_dataset(f"folder:{tmp_path}")
    timms = open_dataset(f"folder:{tmp_path}", class_order="timm")
    assert open_dataset(f"folder:{tmp_path}", class_order="torchvision") is not timms
    # The image of class "10" is the tenth by number and the second as text.
    row = example_ids(plain).index("10/x.png")
    assert (plain.labels[row], timms.labels[row]) == (1, 9)
    assert timms.class_names == tuple(map(str, range(1, 13)))
    assert plain.fingerprint != timms.fingerprint
    with pytest.raises(UserError, match="give class_names or class_order"):
        open_dataset(f"folder:{tmp_path}", class_names=["1"], class_order="timm")


def test_case_08_only_folders_have_a_library_s_order():
    with pytest.raises(UserError, match=r"digits@test is not a folder whose classes"):
        open_dataset("digits@test", class_order="timm")


def test_case_37_imagenets_list_needs_no_file():
    assert read_class_names("imagenet") == wordnet_ids()
    shipped = Path(known.__file__).with_name("classes") / "imagenet.txt"
    # A second column, set off by a tab, is not part of a name.
    assert read_class_names(str(shipped)) == wordnet_ids()
    with pytest.raises(UserError, match="cannot read class names from imagenets"):
        read_class_names("imagenets")


@pytest.mark.parametrize(
    "names",
    [
        ("n01443537", "n01440764"),
        ("n01443537_goldfish", "n01440764-tench"),
        ("goldfish, Carassius auratus", "tench, Tinca tinca"),
        ("Goldfish", "tench"),
        ("goldfish", "n01440764"),
    ],
)
def test_case_37_folders_are_imagenets_classes_by_id_or_by_name(names):
    assert imagenet_ids(names) == ("n01443537", "n01440764")
    images = np.zeros((2, 4, 4, 3), np.uint8)
    source = ArraySource("mine", images, [0, 1], class_names=names)
    labelled = labelled_as(source, "imagenet", None)
    assert labelled.labels.tolist() == [1, 0]
    assert labelled.class_names == wordnet_ids()


@pytest.mark.parametrize(
    "names",
    [
        (),
        ("cat", "dog"),
        ("n01443537", "n00000001"),
        ("crane",),  # a bird and a machine
        ("tench", "n01440764"),  # one class twice
        ("n014437", "tench"),
    ],
)
def test_case_37_other_names_are_not(names):
    assert imagenet_ids(names) is None


def test_case_08_classes_are_matched_by_name_by_class_and_by_description():
    assert match_classes(("b", "a"), ("a", "b", "c")) == ("b", "a")
    assert match_classes(("tench",), wordnet_ids()) == ("n01440764",)
    unique = [w for w in lemmas() if lemmas().count(w) == 1 and imagenet_ids([w])]
    assert match_classes(("n01440764",), unique) == ("tench, Tinca tinca",)
    described = {"m.01": "cat", "m.02": "dog", "m.03": "dog"}
    assert match_classes(("cat",), tuple(described), described) == ("m.01",)
    # Two classes are called so.
    assert match_classes(("dog",), tuple(described), described) is None
    assert match_classes(("a", "x"), ("a", "b")) is None
