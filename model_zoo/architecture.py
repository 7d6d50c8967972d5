"""What a family of backbones declares: the meeting point of tables and classifiers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from model_zoo.layers.initializers import Rule


class Outputs(NamedTuple):
    """What a classifier says of a batch, float32.

    Attributes:
        logits: Unnormalised log-probabilities.
        features: The last layer's input, before dropout; None where a user's own
            function gives none.
    """

    logits: Float[Array, "n k"]
    features: Float[Array, "n d"] | None


@dataclass(frozen=True)
class Settings:
    """What the user chooses about a network, whatever its family.

    Attributes:
        num_classes: Number of logits; 0 leaves the features alone.
        size: Image height and width in pixels.
        dtype: Computation's dtype, float32 or bfloat16; parameters stay float32.
        drop_rate: Dropout before the last layer, in [0, 1).
        drop_path_rate: Stochastic depth of the last block, in [0, 1).
    """

    num_classes: int
    size: tuple[int, int]
    dtype: np.dtype
    drop_rate: float = 0.0
    drop_path_rate: float = 0.0


@runtime_checkable
class Architecture(Protocol):
    """One variant of one family: a frozen, hashable dataclass of its dimensions."""

    @property
    def num_features(self) -> int | None:
        """Length of the feature vector, None where there is none."""
        ...

    def check_size(self, size: tuple[int, int]) -> str | None:
        """Says which sizes are allowed if `size` (height, width) is not."""
        ...

    def build(self, settings: Settings) -> nnx.Module:
        """Builds the network: a module called as `network(images, rngs)`."""
        ...

    def init_rules(self) -> tuple[Rule, ...]:
        """How each leaf is initialised."""
        ...


def classify(
    features: Array,
    dropout: nnx.Dropout,
    head: Callable[[Array], Array],
    rngs: nnx.Rngs | None,
) -> Outputs:
    """Ends every network: dropout on float32 features, then the last layer."""
    features = features.astype(jnp.float32)
    return Outputs(head(dropout(features, rngs=rngs)), features)


def divisible(size: tuple[int, int], by: int) -> str | None:
    """The refusal of patch-based families, or None if `size` is fine."""
    if all(side % by == 0 for side in size):
        return None
    return f"height and width divisible by the patch size {by}"


def at_least(size: tuple[int, int], smallest: int) -> str | None:
    """The refusal of convolutional families, or None if `size` is fine."""
    if min(size) >= smallest:
        return None
    return f"height and width of at least {smallest} pixels"
