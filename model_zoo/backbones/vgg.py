"""VGG: stages of 3x3 convolutions with max pools between, and a wide head.

Simonyan and Zisserman (2015), https://arxiv.org/abs/1409.1556, with timm's head: the
first hidden layer is a 7x7 convolution and the second a 1x1, so that larger images give
several positions, whose average is classified, and smaller ones are stretched to 7x7.
Dropout acts between the hidden layers too. No residual branch, so no stochastic depth.
Leaves carry timm's names: `features.0.kernel` is `features.0.weight` there.
"""

from dataclasses import dataclass
from functools import partial

import jax
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from model_zoo import architecture
from model_zoo.architecture import Outputs, Settings
from model_zoo.layers import initializers as init
from model_zoo.layers.initializers import Rule
from model_zoo.layers.linear import Conv
from model_zoo.layers.mlp import head
from model_zoo.layers.norms import BatchNorm
from model_zoo.layers.pooling import adaptive_avg_pool, global_average, max_pool

# Side in pixels of what the head sees at once.
_FIELD = 7


@dataclass(frozen=True)
class VGGArchitecture:
    """Dimensions of a VGG.

    Attributes:
        depths: Convolutions of each stage; a max pool ends every stage.
        widths: Channels of each stage.
        hidden_widths: Channels of the head's two hidden layers.
        batch_norm: Whether batch normalisation follows each convolution.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    hidden_widths: tuple[int, int] = (4096, 4096)
    batch_norm: bool = False

    @property
    def num_features(self) -> int:
        """Channels of the second hidden layer."""
        return self.hidden_widths[1]

    def check_size(self, size: tuple[int, int]) -> str | None:
        """One pixel must be left after the pools, which drop odd ones."""
        return architecture.at_least(size, 2 ** len(self.depths))

    def build(self, settings: Settings) -> nnx.Module:
        """Builds the network.

        Raises:
            ValueError: If stochastic depth is asked for.
        """
        if settings.drop_path_rate:
            raise ValueError(
                f"got drop_path_rate={settings.drop_path_rate}, but VGG has no "
                "branches that could be dropped; wanted 0"
            )
        return VGG(self, settings)

    def init_rules(self) -> tuple[Rule, ...]:
        """Kaiming-normal convolutions, a narrow normal for the last layer."""
        return (
            Rule(r"head\.fc\.kernel", init.normal(0.01)),
            Rule(r".*\.kernel", init.he_normal_fan_out),
            Rule(r".*\.(scale|var)", init.ones),
            Rule(r".*\.(bias|mean)", init.zeros),
        )


class VGG(nnx.Module):
    """Stages, hidden layers, average, linear head."""

    def __init__(self, config: VGGArchitecture, settings: Settings) -> None:
        self.features = nnx.List(_features(config, dtype=settings.dtype))
        self.pre_logits = HiddenLayers(config, settings)
        self.head = Head(config.num_features, settings)

    def __call__(
        self, images: Float[Array, "n h w 3"], rngs: nnx.Rngs | None = None
    ) -> Outputs:
        """Classifies normalised images."""
        x = images
        for layer in self.features:
            x = layer(x)
        return self.head(self.pre_logits(x, rngs), rngs)


class HiddenLayers(nnx.Module):
    """7x7 and 1x1 convolutions with ReLU after each and dropout between."""

    def __init__(self, config: VGGArchitecture, settings: Settings) -> None:
        width, dtype = config.widths[-1], settings.dtype
        first, second = config.hidden_widths
        self.fc1 = Conv(width, first, _FIELD, dtype=dtype)
        self.fc2 = Conv(first, second, 1, dtype=dtype)
        self.drop = nnx.Dropout(settings.drop_rate)

    def __call__(
        self, x: Float[Array, "n h w i"], rngs: nnx.Rngs | None
    ) -> Float[Array, "n p q o"]:
        """Maps each field of 7x7 pixels."""
        x = adaptive_avg_pool(x, (max(x.shape[1], _FIELD), max(x.shape[2], _FIELD)))
        x = self.drop(jax.nn.relu(self.fc1(x)), rngs=rngs)
        return jax.nn.relu(self.fc2(x))


class Head(nnx.Module):
    """Average over positions, dropout, linear layer."""

    def __init__(self, width: int, settings: Settings) -> None:
        self.drop = nnx.Dropout(settings.drop_rate)
        self.fc = head(width, settings.num_classes)

    def __call__(self, x: Float[Array, "n h w d"], rngs: nnx.Rngs | None) -> Outputs:
        """Classifies the hidden layers' maps."""
        return architecture.classify(global_average(x), self.drop, self.fc, rngs)


def _features(config: VGGArchitecture, *, dtype: DTypeLike) -> list:
    """The layers in timm's order, which names count."""
    layers, num_in = [], 3
    for depth, width in zip(config.depths, config.widths, strict=True):
        for _ in range(depth):
            layers.append(Conv(num_in, width, 3, padding=1, dtype=dtype))
            if config.batch_norm:
                layers.append(BatchNorm(width, dtype=dtype))
            layers.append(nnx.static(jax.nn.relu))
            num_in = width
        layers.append(nnx.static(partial(max_pool, size=2, stride=2)))
    return layers


ARCHITECTURE = VGGArchitecture
