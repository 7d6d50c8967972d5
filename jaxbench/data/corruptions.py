"""Keyed corruptions of five severities, after ImageNet-C (arXiv 1903.12261).

Own implementations, not the published archive: numbers on ImageNet-C itself need its
files. Strengths that are counted in pixels grow with the shorter side of the image, so
that the same severity is sensible for an 8x8 digit and a photograph; the others are
ImageNet-C's own or close to them. JPEG compression is left out: its result depends on
the installed encoder.

Noise is drawn from NumPy's legacy `RandomState`, whose streams are frozen (NEP 19),
seeded by a hash of (seed, corruption, severity, example id): the same for every order,
thread count, machine and NumPy version.
"""

import hashlib
from collections.abc import Callable
from functools import cached_property

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from jaxbench.data.preprocess import decode
from jaxbench.data.source import (
    DecodeError,
    Example,
    Source,
    digest,
    example_ids,
    read_only,
)
from jaxbench.errors import UserError, unknown_name

SEVERITIES = (1, 2, 3, 4, 5)
Pixels = UInt8[np.ndarray, "h w 3"]


def _to_uint8(values: Float[np.ndarray, "h w 3"]) -> Pixels:
    """Values in [0, 1] as bytes, clipped and rounded."""
    return np.round(np.clip(values, 0, 1) * 255).astype(np.uint8)


def gaussian_noise(image: Pixels, severity: int, rng: np.random.RandomState) -> Pixels:
    """Adds normal noise of standard deviation 0.08 to 0.38 (of the range [0, 1])."""
    scale = (0.08, 0.12, 0.18, 0.26, 0.38)[severity - 1]
    return _to_uint8(image / 255 + rng.normal(scale=scale, size=image.shape))


def shot_noise(image: Pixels, severity: int, rng: np.random.RandomState) -> Pixels:
    """Counts photons: Poisson noise where white is 60 down to 3 photons a sample."""
    photons = (60, 25, 12, 5, 3)[severity - 1]
    return _to_uint8(rng.poisson(image / 255 * photons) / photons)


def impulse_noise(image: Pixels, severity: int, rng: np.random.RandomState) -> Pixels:
    """Sets a share of 3 to 27 % of the samples to black or white (salt and pepper)."""
    share = (0.03, 0.06, 0.09, 0.17, 0.27)[severity - 1]
    draw = rng.random_sample(image.shape)
    salted = np.where(draw < share / 2, np.uint8(255), image)
    return np.where(draw >= 1 - share / 2, np.uint8(0), salted)


def gaussian_blur(image: Pixels, severity: int, rng: np.random.RandomState) -> Pixels:
    """Blurs with sigma = a + b * (shorter side) pixels, edges repeated.

    0.45 to 1.15 pixels for 8x8 digits; 1 to 6 at 224 pixels, as in ImageNet-C.
    """
    base, growth = (
        (0.43, 0.0026),
        (0.52, 0.0066),
        (0.61, 0.0106),
        (0.75, 0.0145),
        (0.98, 0.0224),
    )[severity - 1]
    sigma = base + growth * min(image.shape[:2])
    reach = int(4 * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights /= weights.sum()
    blurred = image / 255
    for axis in (0, 1):
        length = blurred.shape[axis]
        widths = [(0, 0)] * 3
        widths[axis] = (reach, reach)
        padded = np.pad(blurred, widths, mode="edge")
        # A sum of shifted images: no BLAS, whose order of addition differs by machine.
        blurred = np.zeros_like(blurred)
        for shift, weight in enumerate(weights):
            window = np.arange(shift, shift + length)
            blurred += weight * padded.take(window, axis)
    return _to_uint8(blurred)


def pixelate(image: Pixels, severity: int, rng: np.random.RandomState) -> Pixels:
    """Averages over boxes: sides shrink to 75 % down to 20 % and are blown up again."""
    share = (0.75, 0.6, 0.45, 0.35, 0.2)[severity - 1]
    height, width = image.shape[:2]
    small = (max(1, round(width * share)), max(1, round(height * share)))
    boxes = Image.fromarray(image).resize(small, Image.Resampling.BOX)
    return np.asarray(boxes.resize((width, height), Image.Resampling.NEAREST))


def contrast(image: Pixels, severity: int, rng: np.random.RandomState) -> Pixels:
    """Keeps 40 down to 5 % of each sample's distance from its channel's mean."""
    share = (0.4, 0.3, 0.2, 0.1, 0.05)[severity - 1]
    # The sum is of whole numbers, so that no machine's order of addition shows.
    total = image.sum(axis=(0, 1), dtype=np.int64, keepdims=True)
    mean = total / (255 * image.shape[0] * image.shape[1])
    return _to_uint8((image / 255 - mean) * share + mean)


def brightness(image: Pixels, severity: int, rng: np.random.RandomState) -> Pixels:
    """Adds 0.1 to 0.5 (of the range [0, 1]) to every sample, clipped at white."""
    return _to_uint8(image / 255 + (0.1, 0.2, 0.3, 0.4, 0.5)[severity - 1])


# Name -> fn(image uint8 [h, w, 3], severity 1..5, rng) -> uint8 [h, w, 3].
CORRUPTIONS: dict[str, Callable[[Pixels, int, np.random.RandomState], Pixels]] = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "impulse_noise": impulse_noise,
    "gaussian_blur": gaussian_blur,
    "pixelate": pixelate,
    "contrast": contrast,
    "brightness": brightness,
}


def keyed_rng(
    seed: int, corruption: str, severity: int, id: str
) -> np.random.RandomState:
    """The random stream that belongs to one corrupted example."""
    text = "\0".join((str(seed), corruption, str(severity), id)).encode()
    words = np.frombuffer(hashlib.blake2b(text, digest_size=32).digest(), "<u4")
    return np.random.RandomState(words.astype(np.uint32))


class CorruptedSource:
    """A source's images under one corruption; ids and labels stay.

    Args:
        base: Any source; encoded images are decoded first.
        corruption: A name in CORRUPTIONS.
        severity: 1 to 5.
        seed: Another seed, other noise.
        name: What to call it; the base's name and the corruption if not given.

    Raises:
        UserError: If there is no such corruption or severity.
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
        if problems:
            raise UserError("; ".join(problems))
        self._base, self._corruption, self._severity = base, corruption, severity
        self._seed = seed
        self.name = name or f"{base.name}[{corruption}_{severity}]"
        self.class_names = base.class_names
        self.labels = read_only(np.asarray(base.labels, np.int32))
        self.scoring = getattr(base, "scoring", None)

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """The id of every row: those of the clean images."""
        return example_ids(self._base)

    @property
    def fingerprint(self) -> str:
        """Digest of the clean images' fingerprint and what is done to them."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        what = (self._corruption, str(self._severity), str(self._seed))
        return digest(self._base.fingerprint, what)

    def __len__(self) -> int:
        return len(self._base)

    def __getitem__(self, index: int) -> Example:
        example = self._base[index]
        image = example.image
        if isinstance(image, bytes):
            try:
                image = np.asarray(decode(image))
            except ValueError as error:
                raise DecodeError(self.name, example.id, str(error)) from error
        rng = keyed_rng(self._seed, self._corruption, self._severity, example.id)
        corrupted = CORRUPTIONS[self._corruption](image, self._severity, rng)
        return example._replace(image=corrupted)
