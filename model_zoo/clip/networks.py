"""CLIP's two towers as one classifier, and the zero-shot classifier made of it."""

import dataclasses
from dataclasses import dataclass
from math import log

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from model_zoo.architecture import Architecture, Outputs, Settings
from model_zoo.classifier import NetworkClassifier, Variables
from model_zoo.clip.text import TextArchitecture, TextTower
from model_zoo.layers import initializers as init
from model_zoo.layers.initializers import Rule
from model_zoo.layers.linear import Linear, parameter

_SHORTEST = 1e-12


@dataclass(frozen=True)
class ClipArchitecture:
    """An image tower, whose head projects to the shared space, and a text tower.

    Attributes:
        image: The image tower; the number of its classes is the shared space's width.
        text: The text tower.
    """

    image: Architecture
    text: TextArchitecture

    @property
    def num_features(self) -> int | None:
        """Length of an image's features before they are projected."""
        return self.image.num_features

    def check_size(self, size: tuple[int, int]) -> str | None:
        """As the image tower."""
        return self.image.check_size(size)

    def build(self, settings: Settings) -> nnx.Module:
        """Builds both towers."""
        return ClipNetwork(self, settings)

    def init_rules(self) -> tuple[Rule, ...]:
        """As each tower is started; the temperature starts at 0.07."""
        return (
            *_below("image", self.image.init_rules()),
            *_below("text", self.text.init_rules()),
            Rule("logit_scale", init.constant(log(1 / 0.07))),
        )


class ClipNetwork(nnx.Module):
    """Both towers and the temperature; called with images it gives their embeddings."""

    def __init__(self, config: ClipArchitecture, settings: Settings) -> None:
        self.image = config.image.build(settings)
        self.text = TextTower(config.text, settings.num_classes, settings.dtype)
        self.logit_scale = parameter(1)

    def __call__(
        self, images: Float[Array, "n h w 3"], rngs: nnx.Rngs | None = None
    ) -> Outputs:
        """Embeds normalised images."""
        return self.image(images, rngs)


@dataclass(frozen=True)
class Clip(NetworkClassifier):
    """A CLIP model; its logits are images' embeddings, not yet of unit length.

    `num_classes` is the width of the space that images and texts share. Leaves are
    those of the image tower under "image.", those of the text tower under "text.", and
    "logit_scale", the logarithm of the factor that cosines were trained with.
    """

    architecture: ClipArchitecture

    def encode_text(
        self, variables: Variables, tokens: Int[Array, "n t"]
    ) -> Float[Array, "n d"]:
        """Embeds texts in the shared space, float32, not yet of unit length.

        Args:
            variables: Every leaf of `shapes`.
            tokens: As `Tokenizer` gives them; zeros behind the end may be cut off.
        """
        network = self._graph.merge(variables, training=False)
        return network.text(tokens).astype(jnp.float32)


@dataclass(frozen=True)
class ZeroShotArchitecture:
    """An image tower whose embeddings are compared with those of class names.

    Attributes:
        image: The image tower.
        width: Of the space that images and texts share.
    """

    image: Architecture
    width: int

    @property
    def num_features(self) -> int:
        """Length of an embedding."""
        return self.width

    def check_size(self, size: tuple[int, int]) -> str | None:
        """As the image tower."""
        return self.image.check_size(size)

    def build(self, settings: Settings) -> nnx.Module:
        """Builds the network."""
        return ZeroShotNetwork(self, settings)

    def init_rules(self) -> tuple[Rule, ...]:
        """As the image tower is started; classes are random directions."""
        return (
            *_below("image", self.image.init_rules()),
            Rule(r"head\.kernel", init.normal(self.width**-0.5)),
        )


class ZeroShotNetwork(nnx.Module):
    """Image tower, unit length, linear layer; features are the unit embeddings."""

    def __init__(self, config: ZeroShotArchitecture, settings: Settings) -> None:
        tower = dataclasses.replace(settings, num_classes=config.width)
        self.image = config.image.build(tower)
        # Without a bias, and in float32 as every last layer.
        self.head = Linear(
            config.width, settings.num_classes, use_bias=False, dtype=jnp.float32
        )

    def __call__(
        self, images: Float[Array, "n h w 3"], rngs: nnx.Rngs | None = None
    ) -> Outputs:
        """Classifies normalised images."""
        embeddings = unit(self.image(images, rngs).logits.astype(jnp.float32))
        return Outputs(self.head(embeddings), embeddings)


def unit(vectors: Float[Array, "*rows d"]) -> Float[Array, "*rows d"]:
    """Divides every vector by its Euclidean length, which counts as 1e-12 at least."""
    # The root of zero has no gradient.
    power = jnp.square(vectors).sum(-1, keepdims=True)
    return vectors * jax.lax.rsqrt(jnp.maximum(power, _SHORTEST**2))


def _below(tower: str, rules: tuple[Rule, ...]) -> list[Rule]:
    """A tower's rules for leaves whose names begin with the tower's."""
    return [Rule(rf"{tower}\.(?:{rule.pattern})", rule.initializer) for rule in rules]
