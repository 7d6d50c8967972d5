"""Images that their authors have cropped are shown whole."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from jaxbench.data import KNOWN, load_images, open_dataset, take
from jaxbench.data.known.open import open_known
from jaxbench.data.preparing import preparing, uncropped
from model_zoo.input_spec import InputSpec
from tests.data.known.layouts import STAND_INS
from tests.data.known.test_imagenet import address, prepare


def bordered(side=224, width=4):
    """A gray PNG with a white border."""
    pixels = np.full((side, side, 3), 128, np.uint8)
    pixels[:width] = pixels[-width:] = pixels[:, :width] = pixels[:, -width:] = 255
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue(), pixels


# Their authors' programs have cropped them to 224 pixels.
CROPPED = ("cue-conflict", "imagenet-c", "stylized-imagenet")


@pytest.mark.parametrize("name", CROPPED)
def test_what_is_cropped_already_is_not_cropped_again(name, tmp_path, write_tree):
    content, pixels = bordered()
    stand_in = STAND_INS[name]()
    write_tree(tmp_path / "official", dict.fromkeys(stand_in.files, content))
    prepare(name, tmp_path / "official", stand_in.config)
    source = open_dataset(address(name, stand_in.config))
    assert preparing(source) is uncropped
    spec = InputSpec(size=(224, 224), crop_fraction=0.875)
    for image in load_images(source, spec).images:
        np.testing.assert_array_equal(image, pixels)
    # A larger input sees all of it too.
    larger = InputSpec(size=(256, 256), crop_fraction=0.875)
    assert (load_images(source, larger).images[:, [0, -1]] == 255).all()


def test_all_others_are_cropped_as_the_model_says():
    assert {name for name, row in KNOWN.items() if row.cropped} == set(CROPPED)


def test_the_fingerprint_says_that_nothing_is_cut_off(tmp_path, write_tree):
    """Numbers and decoded images of cropped ones are none of uncropped ones."""
    stand_in = STAND_INS["cue-conflict"]()
    root = write_tree(tmp_path / "official", stand_in.files)
    prepare("cue-conflict", root)
    row = dataclasses.replace(KNOWN["cue-conflict"], cropped=False)
    whole, cut = (
        open_dataset("cue-conflict"),
        open_known("cue-conflict", row, "", "test"),
    )
    assert whole.fingerprint != cut.fingerprint
    assert take(whole, [1, 0]).fingerprint != take(cut, [1, 0]).fingerprint
