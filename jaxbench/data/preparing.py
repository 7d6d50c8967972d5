"""How a source's images become a classifier's input, where it has its own way."""

import dataclasses
from collections.abc import Callable

import numpy as np

from jaxbench.data.preprocess import preprocess
from jaxbench.data.source import Source, View
from model_zoo.input_spec import InputSpec

# Called with (encoded file or pixels, specification); gives uint8 of `spec.size`.
Prepare = Callable[[bytes | np.ndarray, InputSpec], np.ndarray]


def uncropped(image: bytes | np.ndarray, spec: InputSpec) -> np.ndarray:
    """Resizes an image that is a crop already, and cuts nothing more off."""
    return preprocess(image, dataclasses.replace(spec, crop_fraction=1.0))


def preparing(source: Source) -> Prepare:
    """The source's own way of resizing and cropping; `preprocess` for most."""
    while isinstance(source, View):
        source = source.base
    return getattr(source, "prepare", preprocess)
