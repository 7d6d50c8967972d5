"""How a source's images become a classifier's input, where it has its own way."""

from collections.abc import Callable

import numpy as np

from jaxbench.data.preprocess import preprocess
from jaxbench.data.source import Source, View
from model_zoo.input_spec import InputSpec

# Called with (encoded file or pixels, specification); gives uint8 of `spec.size`.
Prepare = Callable[[bytes | np.ndarray, InputSpec], np.ndarray]


def preparing(source: Source) -> Prepare:
    """The source's own way of resizing and cropping; `preprocess` for most."""
    while isinstance(source, View):
        source = source.base
    return getattr(source, "prepare", preprocess)
