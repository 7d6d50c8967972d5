"""How images and models are drawn anew: a seed, from which studies make their keys."""

import zlib
from typing import NamedTuple

import jax
from jaxtyping import Array, Key


class Resampling(NamedTuple):
    """The draws behind intervals.

    Attributes:
        seed: Chooses them.
        num_resamples: How many; 0 for no intervals.
    """

    seed: int
    num_resamples: int

    def key(self, *place: str) -> Key[Array, ""]:
        """A key that depends on names alone, not on what else is in the folder."""
        key = jax.random.key(self.seed)
        if not place:
            return key
        return jax.random.fold_in(key, zlib.crc32("\n".join(place).encode()))
