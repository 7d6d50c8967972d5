"""Whether two datasets hold the same images, under whatever names they were opened."""

import numpy as np

from jaxbench.data.corruptions.source import CorruptedSource
from jaxbench.data.decoded import DecodedSource
from jaxbench.data.source import Example, Source, View, digest, example_ids
from jaxbench.data.transformations import TransformedSource

_Version = CorruptedSource | DecodedSource | TransformedSource
# Of images with one id in two datasets, so many are compared byte by byte.
_LOOKED_AT = 8


def common_images(a: Source, b: Source) -> int:
    """How many images two datasets have in common.

    Parts of one dataset are compared by ids, whatever was done to their pixels. Two
    datasets share the images of equal ids if any of those looked at are equal, byte by
    byte: `cat/1.png` is another image in another folder. An image that has another id
    in the other dataset is not found.

    Args:
        a: One dataset.
        b: The dataset that it is compared with.
    """
    if a.fingerprint == b.fingerprint:
        return len(a)
    ids_a, ids_b = example_ids(a), example_ids(b)
    place = {id: row for row, id in enumerate(ids_b)}
    common = [(row, place[id]) for row, id in enumerate(ids_a) if id in place]
    if not common:
        return 0
    root_a, root_b = _root(a), _root(b)
    if root_a is root_b or root_a.fingerprint == root_b.fingerprint:
        return len(common)
    a, b = _untouched(a), _untouched(b)
    looked_at = np.linspace(0, len(common) - 1, min(len(common), _LOOKED_AT))
    pairs = [common[int(number)] for number in looked_at]
    alike = any(_content(a[left]) == _content(b[right]) for left, right in pairs)
    return len(common) if alike else 0


def _root(source: Source) -> Source:
    """The dataset that a source is a part or a version of."""
    while isinstance(source, View | _Version):
        source = source.base
    return source


def _untouched(source: Source) -> Source:
    """The same rows with the pixels that they were opened with."""
    if isinstance(source, View):
        base = _untouched(source.base)
        return source if base is source.base else source.over(base)
    if isinstance(source, _Version):
        return _untouched(source.base)
    return source


def _content(example: Example) -> str:
    image = example.image
    if isinstance(image, bytes):
        return digest(image)
    return digest(str(image.shape), np.ascontiguousarray(image).tobytes())
