"""AlexNet, in the form of its author's second paper.

Krizhevsky (2014), https://arxiv.org/abs/1404.5997, as torchvision has it: no local
response normalisation and no groups. Feature maps are averaged to 6x6 and flattened
with the channels first, so that weights fit; that only matters to their order. Dropout
acts before both hidden layers, not before the last one. No residual branch, so no
stochastic depth. Leaves carry torchvision's names: `features.0.kernel` is
`features.0.weight` there.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from model_zoo import architecture
from model_zoo.architecture import Outputs, Settings
from model_zoo.layers import initializers as init
from model_zoo.layers.initializers import Rule
from model_zoo.layers.linear import Conv, Linear
from model_zoo.layers.mlp import head
from model_zoo.layers.pooling import adaptive_avg_pool, max_pool

# Kernel side, stride and padding of each convolution, in pixels.
_CONVOLUTIONS = ((11, 4, 2), (5, 1, 2), (3, 1, 1), (3, 1, 1), (3, 1, 1))
# Those that a 3x3 max pool of stride 2 follows.
_POOLED = (0, 1, 4)
# Side of the maps that the hidden layers see, in pixels.
_FIELD = 6


@dataclass(frozen=True)
class AlexNetArchitecture:
    """Dimensions of an AlexNet.

    Attributes:
        widths: Channels of the five convolutions.
        hidden_widths: Channels of the two hidden dense layers.
    """

    widths: tuple[int, int, int, int, int] = (64, 192, 384, 256, 256)
    hidden_widths: tuple[int, int] = (4096, 4096)

    @property
    def num_features(self) -> int:
        """Channels of the second hidden layer."""
        return self.hidden_widths[1]

    def check_size(self, size: tuple[int, int]) -> str | None:
        """One pixel must be left after the last pool."""
        return architecture.at_least(size, 63)

    def build(self, settings: Settings) -> nnx.Module:
        """Builds the network.

        Raises:
            ValueError: If stochastic depth is asked for.
        """
        if settings.drop_path_rate:
            raise ValueError(
                f"got drop_path_rate={settings.drop_path_rate}, but AlexNet has no "
                "branches that could be dropped; wanted 0"
            )
        return AlexNet(self, settings)

    def init_rules(self) -> tuple[Rule, ...]:
        """Torch's default: uniform to one over the root of the fan-in."""
        rules, num_in, index = [], 3, 0
        for i, ((side, _, _), width) in enumerate(
            zip(_CONVOLUTIONS, self.widths, strict=True)
        ):
            limit = (num_in * side**2) ** -0.5
            rules.append(Rule(rf"features\.{index}\..*", init.uniform(limit)))
            num_in, index = width, index + (3 if i in _POOLED else 2)
        fans = {1: num_in * _FIELD**2, 4: self.hidden_widths[0], 6: self.num_features}
        for index, fan in fans.items():
            rules.append(Rule(rf"classifier\.{index}\..*", init.uniform(fan**-0.5)))
        return tuple(rules)


class AlexNet(nnx.Module):
    """Convolutions, average to 6x6, two hidden dense layers, linear head."""

    def __init__(self, config: AlexNetArchitecture, settings: Settings) -> None:
        dtype = settings.dtype
        layers, num_in = [], 3
        for i, ((side, stride, padding), width) in enumerate(
            zip(_CONVOLUTIONS, config.widths, strict=True)
        ):
            layers += [
                Conv(num_in, width, side, stride=stride, padding=padding, dtype=dtype),
                nnx.static(jax.nn.relu),
            ]
            if i in _POOLED:
                layers.append(nnx.static(partial(max_pool, size=3, stride=2)))
            num_in = width
        self.features = nnx.List(layers)
        first, second = config.hidden_widths
        self.classifier = nnx.List(
            [
                nnx.Dropout(settings.drop_rate),
                Linear(num_in * _FIELD**2, first, dtype=dtype),
                nnx.static(jax.nn.relu),
                nnx.Dropout(settings.drop_rate),
                Linear(first, second, dtype=dtype),
                nnx.static(jax.nn.relu),
                head(second, settings.num_classes),
            ]
        )

    def __call__(
        self, images: Float[Array, "n h w 3"], rngs: nnx.Rngs | None = None
    ) -> Outputs:
        """Classifies normalised images."""
        x = images
        for layer in self.features:
            x = layer(x)
        x = adaptive_avg_pool(x, (_FIELD, _FIELD)).transpose(0, 3, 1, 2)
        x = x.reshape(x.shape[0], -1)
        *hidden, last = self.classifier
        for layer in hidden:
            x = layer(x, rngs=rngs) if isinstance(layer, nnx.Dropout) else layer(x)
        features = x.astype(jnp.float32)
        return Outputs(last(features), features)


ARCHITECTURE = AlexNetArchitecture
