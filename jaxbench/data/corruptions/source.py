"""A source under a corruption: CORRUPTIONS, and how randomness belongs to an example.

Noise is drawn from NumPy's legacy `RandomState`, whose streams are frozen (NEP 19),
seeded by a hash of (seed, corruption, severity, example id): the same for every order,
thread count, machine and NumPy version.
"""

import hashlib
import re
from collections.abc import Callable
from functools import cached_property

import numpy as np
from PIL import features

from jaxbench.data.corruptions import blur, digital, noise, weather
from jaxbench.data.corruptions.filters import SIDE, Pixels
from jaxbench.data.preparing import Prepare, preparing, uncropped
from jaxbench.data.preprocess import decode, preprocess
from jaxbench.data.source import (
    DecodeError,
    Example,
    Source,
    digest,
    example_ids,
    read_only,
    source_repr,
)
from jaxbench.errors import UserError, unknown_name
from jaxbench.own import Table
from model_zoo.input_spec import InputSpec

SEVERITIES = (1, 2, 3, 4, 5)
# Changes whenever a corruption gives other pixels: fingerprints must differ.
_VERSION = "2"
# What images were made of before ImageNet-C corrupted them.
_CROP = InputSpec(size=(SIDE, SIDE), crop_fraction=0.875, interpolation="bilinear")

Corruption = Callable[[Pixels, int, np.random.RandomState], Pixels]
# Name -> fn(image uint8 [h, w, 3], severity 1..5, rng) -> uint8 [h, w, 3]: the fifteen
# of ImageNet-C, then the four that it keeps for validation.
CORRUPTIONS: Table[Corruption] = Table(
    "corruption",
    {
        "gaussian_noise": noise.gaussian_noise,
        "shot_noise": noise.shot_noise,
        "impulse_noise": noise.impulse_noise,
        "defocus_blur": blur.defocus_blur,
        "glass_blur": blur.glass_blur,
        "motion_blur": blur.motion_blur,
        "zoom_blur": blur.zoom_blur,
        "snow": weather.snow,
        "frost": weather.frost,
        "fog": weather.fog,
        "brightness": digital.brightness,
        "contrast": digital.contrast,
        "elastic_transform": digital.elastic_transform,
        "pixelate": digital.pixelate,
        "jpeg_compression": digital.jpeg_compression,
        "speckle_noise": noise.speckle_noise,
        "gaussian_blur": blur.gaussian_blur,
        "spatter": weather.spatter,
        "saturate": digital.saturate,
    },
)
_NAME = re.compile(r"([\w.]+:)?[a-z]+(_[a-z]+)*")


def register_corruption(name: str, function: Corruption) -> None:
    """Adds a user's own corruption to those of this process.

    Any address may then end in `+NAME_1` to `+NAME_5`.

    Args:
        name: Small letters, words joined by "_"; not one that the table has.
        function: `function(image, severity, rng)`, from an image uint8 [h, w, 3], a
            severity from 1 to 5 and a `np.random.RandomState` to an image of the same
            shape and type. The stream belongs to the example: same id, same draws.

    Raises:
        UserError: If the name is taken or does not fit, or the function fails or
            changes the shape or type of an image.
    """
    if not _NAME.fullmatch(name):
        raise UserError(
            f"corruption is named {name!r}, wanted small letters, words joined by '_'"
        )
    if not CORRUPTIONS.is_new(name, function):
        return
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    try:
        found = function(image, 1, np.random.RandomState(0))
    except Exception as error:
        raise UserError(
            f"corruption {name!r} raises {type(error).__name__} on an image of "
            f"{SIDE}x{SIDE} pixels: {error}"
        ) from error
    given = (getattr(found, "dtype", None), getattr(found, "shape", None))
    if given != (image.dtype, image.shape):
        raise UserError(
            f"corruption {name!r} turns uint8 {image.shape} into {given[0]} "
            f"{given[1]}, wanted the same"
        )
    CORRUPTIONS.add(name, function, function)


def keyed_rng(
    seed: int, corruption: str, severity: int, id: str
) -> np.random.RandomState:
    """The random stream that belongs to one corrupted example."""
    text = "\0".join((str(seed), corruption, str(severity), id)).encode()
    words = np.frombuffer(hashlib.blake2b(text, digest_size=32).digest(), "<u4")
    return np.random.RandomState(words.astype(np.uint32))


class CorruptedSource:
    """A source's images under one corruption; ids and labels stay.

    An image whose shorter side is longer than 224 is resized and cropped to 224 pixels
    first, as ImageNet-C's were: strengths are meant for images of that size.

    Args:
        base: Any source; encoded images are decoded first.
        corruption: A name in CORRUPTIONS.
        severity: 1 to 5.
        seed: Another seed, other noise.
        name: What to call it; the base's name and the corruption if not given.

    Raises:
        UserError: If the corruption or severity is unknown.
    """

    def __init__(
        self,
        base: Source,
        corruption: str,
        severity: int,
        *,
        seed: int = 0,
        name: str | None = None,
    ) -> None:
        problems = []
        if corruption not in CORRUPTIONS:
            problems.append(unknown_name("corruption", corruption, CORRUPTIONS))
        if severity not in SEVERITIES:
            problems.append(f"severity is {severity}, wanted 1 to 5")
        if preparing(base) not in (preprocess, uncropped, _prepared):
            problems.append(
                f"{base.name} is resized and cropped in its own way, after which no "
                "corruption comes; corrupt the images as they are"
            )
        if problems:
            raise UserError("; ".join(problems))
        self.base, self._corruption, self._severity = base, corruption, severity
        self._seed = seed
        self.name = name or f"{base.name}[{corruption}_{severity}]"
        self.class_names = base.class_names
        self.labels = read_only(np.asarray(base.labels, np.int32))
        self.scoring = getattr(base, "scoring", None)
        self.partial = getattr(base, "partial", None)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The id of every row: those of the clean images."""
        return example_ids(self.base)

    @property
    def fingerprint(self) -> str:
        """Digest of the clean images' fingerprint and what is done to them."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        what = (self._corruption, str(self._severity), str(self._seed), _VERSION)
        if self._corruption == "jpeg_compression":
            what += (f"libjpeg {features.version('jpg')}",)
        what += tuple(CORRUPTIONS.digests([self._corruption]).values())
        return digest(self.base.fingerprint, what)

    @property
    def prepare(self) -> Prepare:
        """How its images become a classifier's input: as the clean ones do.

        Those that were cropped for the corruption are not cropped again.
        """
        return _prepared

    def __repr__(self) -> str:
        return source_repr(self)

    def __len__(self) -> int:
        return len(self.base)

    def __getitem__(self, index: int) -> Example:
        example = self.base[index]
        try:
            image = _working(example.image)
        except ValueError as error:
            raise DecodeError(self.name, example.id, str(error)) from error
        rng = keyed_rng(self._seed, self._corruption, self._severity, example.id)
        corrupted = CORRUPTIONS[self._corruption](image, self._severity, rng)
        return example._replace(image=corrupted)


def _prepared(image: bytes | np.ndarray, spec: InputSpec) -> np.ndarray:
    crop = isinstance(image, np.ndarray) and image.shape[:2] == (SIDE, SIDE)
    return (uncropped if crop else preprocess)(image, spec)


def _working(image: bytes | np.ndarray) -> Pixels:
    pixels = np.asarray(decode(image)) if isinstance(image, bytes) else image
    return preprocess(pixels, _CROP) if min(pixels.shape[:2]) > SIDE else pixels
