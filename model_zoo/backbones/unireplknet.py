"""UniRepLKNet: large depthwise kernels that train beside small dilated ones.

Ding et al. (2024), https://arxiv.org/abs/2311.15599. A dilated kernel is a large one
with zeros between its taps, so `reparametrisation.fuse` merges all branches of a
trained block, and the batch norms after them. Leaves carry the original's names where
these name layers rather than positions in a list.
"""

from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from model_zoo import architecture
from model_zoo.architecture import Outputs, Settings
from model_zoo.layers import initializers as init
from model_zoo.layers.activations import ACTIVATIONS
from model_zoo.layers.channel_attention import SqueezeExcite
from model_zoo.layers.initializers import Rule
from model_zoo.layers.layer_scale import LayerScale
from model_zoo.layers.linear import Conv, Linear
from model_zoo.layers.mlp import head
from model_zoo.layers.norms import BatchNorm, LayerNorm, ResponseNorm
from model_zoo.layers.pooling import global_average
from model_zoo.layers.stochastic import DropPath, linear_rates
from model_zoo.reparametrisation import Arrays, fold_norm

_EPSILON = 1e-5
# Side and dilation of the kernels beside a large one, by the large one's side.
_BRANCHES = {
    7: ((5, 1), (3, 2), (3, 3)),
    9: ((5, 1), (5, 2), (3, 3), (3, 4)),
    11: ((5, 1), (5, 2), (3, 3), (3, 4), (3, 5)),
    13: ((5, 1), (7, 2), (3, 3), (3, 4), (3, 5)),
    15: ((5, 1), (7, 2), (3, 3), (3, 5), (3, 7)),
    17: ((5, 1), (9, 2), (3, 4), (3, 5), (3, 7)),
}
Maps = Float[Array, "n h w d"]


@dataclass(frozen=True)
class UniRepLKNetArchitecture:
    """Dimensions of a UniRepLKNet.

    Attributes:
        widths: Channels of each stage; every stage after the first halves the image.
        kernel_sizes: Side of each block's depthwise kernel in pixels, a tuple a stage:
            3 or 5, which stand alone, or 7, 9, 11, 13, 15 or 17, which train beside
            dilated ones.
        layer_scale: Initial value of the scale that ends each branch.
        reparametrised: Whether branches and batch norms are merged, as `fuse` does.
    """

    widths: tuple[int, ...]
    kernel_sizes: tuple[tuple[int, ...], ...]
    layer_scale: float = 1e-6
    reparametrised: bool = False

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.kernel_sizes):
            raise ValueError(
                f"UniRepLKNet: {len(self.widths)} widths and {len(self.kernel_sizes)} "
                "tuples of kernel_sizes, wanted one of each a stage"
            )
        wrong = {s for stage in self.kernel_sizes for s in stage} - {3, 5, *_BRANCHES}
        if wrong:
            raise ValueError(
                f"UniRepLKNet: kernel_sizes hold {sorted(wrong)}, wanted odd sides of "
                "3 to 17 pixels"
            )

    @property
    def num_features(self) -> int:
        """Channels of the last stage."""
        return self.widths[-1]

    def check_size(self, size: tuple[int, int]) -> str | None:
        """Any size will do: padded convolutions never run out of pixels."""
        return architecture.at_least(size, 1)

    def build(self, settings: Settings) -> nnx.Module:
        """Builds the network."""
        return UniRepLKNet(self, settings)

    def init_rules(self) -> tuple[Rule, ...]:
        """Normal 0.02 kernels, zero biases, small layer scales, no response norm."""
        return (
            Rule(r".*\.gamma", init.constant(self.layer_scale)),
            Rule(r".*\.act\.scale", init.zeros),
            Rule(r".*\.kernel", init.normal(0.02)),
            Rule(r".*\.(scale|var)", init.ones),
            Rule(r".*\.(bias|mean)", init.zeros),
        )

    def fuse(self, arrays: Arrays) -> tuple["UniRepLKNetArchitecture", Arrays]:
        """Merges each block's branches and norms; see `reparametrisation.fuse`."""
        merged = {n: a for n, a in arrays.items() if not n.startswith("stages.")}
        for i, stage in enumerate(self.kernel_sizes):
            for j, side in enumerate(stage):
                block = f"stages.{i}.{j}."
                leaves = {
                    name.removeprefix(block): array
                    for name, array in arrays.items()
                    if name.startswith(block)
                }
                merged |= {block + n: a for n, a in _merge(leaves, side).items()}
        return replace(self, reparametrised=True), merged


class UniRepLKNet(nnx.Module):
    """Stages, each embedding and blocks; global average, norm, linear head."""

    def __init__(self, config: UniRepLKNetArchitecture, settings: Settings) -> None:
        depths = [len(stage) for stage in config.kernel_sizes]
        rates = iter(linear_rates(settings.drop_path_rate, sum(depths)))
        self.downsample_layers = nnx.List()
        self.stages = nnx.List()
        for i, sides in enumerate(config.kernel_sizes):
            layers = (
                _stem(config, settings)
                if i == 0
                else _downsample(config.widths[i - 1], config.widths[i], settings)
            )
            self.downsample_layers.append(nnx.List(layers))
            self.stages.append(
                nnx.List(
                    Block(config, config.widths[i], side, next(rates), settings)
                    for side in sides
                )
            )
        self.norm = LayerNorm(config.num_features, dtype=jnp.float32)
        self.dropout = nnx.Dropout(settings.drop_rate)
        self.head = head(config.num_features, settings.num_classes)

    def __call__(
        self, images: Float[Array, "n h w 3"], rngs: nnx.Rngs | None = None
    ) -> Outputs:
        """Classifies normalised images."""
        x = images
        for layers, blocks in zip(self.downsample_layers, self.stages, strict=True):
            for i, layer in enumerate(layers):
                # The stem's two convolutions have a GELU between them.
                x = layer(ACTIVATIONS["gelu"](x) if i == 2 else x)
            for block in blocks:
                x = block(x, rngs)
        features = self.norm(global_average(x))
        return architecture.classify(features, self.dropout, self.head, rngs)


class Block(nnx.Module):
    """Depthwise convolution, gate, MLP with response norm, added to the stream."""

    def __init__(
        self,
        config: UniRepLKNetArchitecture,
        width: int,
        side: int,
        rate: float,
        settings: Settings,
    ) -> None:
        merged, dtype = config.reparametrised, settings.dtype
        self.dwconv = (
            DilatedConv(width, side, merged, settings)
            if side in _BRANCHES
            else _depthwise(width, side, 1, merged, settings)
        )
        self.norm = nnx.data(None if merged else _batch_norm(width, settings))
        self.se = SqueezeExcite(width, width // 4, dtype=dtype)
        self.pwconv1 = Linear(width, 4 * width, dtype=dtype)
        self.act = ResponseNorm(4 * width, use_bias=not merged, dtype=dtype)
        self.pwconv2 = Linear(4 * width, width, use_bias=merged, dtype=dtype)
        self.pwconv2_norm = nnx.data(None if merged else _batch_norm(width, settings))
        self.layer_scale = nnx.data(None if merged else LayerScale(width))
        self.drop_path = DropPath(rate)

    def __call__(self, x: Maps, rngs: nnx.Rngs | None) -> Maps:
        """Applies the block."""
        y = self.dwconv(x)
        y = self.se(y if self.norm is None else self.norm(y))
        y = self.pwconv2(self.act(ACTIVATIONS["gelu"](self.pwconv1(y))))
        if self.pwconv2_norm is not None:
            y = self.pwconv2_norm(y)
        if self.layer_scale is not None:
            y = self.layer_scale(y)
        return self.drop_path.add(x, y, rngs)


class DilatedConv(nnx.Module):
    """A large depthwise kernel plus small dilated ones, each with a norm."""

    def __init__(self, width: int, side: int, merged: bool, settings: Settings) -> None:
        self.lk_origin = _depthwise(width, side, 1, merged, settings)
        self.names = () if merged else tuple(f"k{k}_{r}" for k, r in _BRANCHES[side])
        if merged:
            return
        self.origin_bn = _batch_norm(width, settings)
        for name, (k, r) in zip(self.names, _BRANCHES[side], strict=True):
            conv = _depthwise(width, k, r, False, settings)
            setattr(self, f"dil_conv_{name}", conv)
            setattr(self, f"dil_bn_{name}", _batch_norm(width, settings))

    def __call__(self, x: Maps) -> Maps:
        """Mixes pixels."""
        y = self.lk_origin(x)
        if self.names:
            y = self.origin_bn(y)
        for name in self.names:
            convolved = getattr(self, f"dil_conv_{name}")(x)
            y = y + getattr(self, f"dil_bn_{name}")(convolved)
        return y


def _stem(config: UniRepLKNetArchitecture, settings: Settings) -> list[nnx.Module]:
    width, dtype = config.widths[0], settings.dtype
    half = width // 2
    return [
        Conv(3, half, 3, stride=2, padding=1, dtype=dtype),
        LayerNorm(half, dtype=dtype),
        Conv(half, width, 3, stride=2, padding=1, dtype=dtype),
        LayerNorm(width, dtype=dtype),
    ]


def _downsample(num_in: int, width: int, settings: Settings) -> list[nnx.Module]:
    conv = Conv(num_in, width, 3, stride=2, padding=1, dtype=settings.dtype)
    return [conv, LayerNorm(width, dtype=settings.dtype)]


def _depthwise(
    width: int, side: int, dilation: int, use_bias: bool, settings: Settings
) -> Conv:
    return Conv(
        width,
        width,
        side,
        padding=dilation * (side // 2),
        dilation=dilation,
        groups=width,
        use_bias=use_bias,
        dtype=settings.dtype,
    )


def _batch_norm(width: int, settings: Settings) -> BatchNorm:
    return BatchNorm(width, epsilon=_EPSILON, dtype=settings.dtype)


def _merge(leaves: Arrays, side: int) -> Arrays:
    """A block's leaves after its branches, norms and scale are merged."""

    def folded(norm: str, kernel: np.ndarray, bias: np.ndarray | float = 0.0):
        return fold_norm(leaves, norm, kernel, bias, epsilon=_EPSILON)

    conv = "dwconv.lk_origin" if side in _BRANCHES else "dwconv"
    kernel, bias = leaves[f"{conv}.kernel"], np.zeros(())
    if side in _BRANCHES:
        kernel, bias = folded("dwconv.origin_bn", kernel)
    for k, r in _BRANCHES.get(side, ()):
        name = f"k{k}_{r}"
        small, more = folded(
            f"dwconv.dil_bn_{name}", leaves[f"dwconv.dil_conv_{name}.kernel"]
        )
        first, last = side // 2 - r * (k // 2), side // 2 + r * (k // 2) + 1
        kernel[first:last:r, first:last:r] += small
        bias = bias + more
    kernel, bias = folded("norm", kernel, bias)
    last, last_bias = leaves["pwconv2.kernel"], leaves["act.bias"]
    last, last_bias = folded("pwconv2_norm", last, last_bias @ last)
    gamma = leaves["layer_scale.gamma"]
    kept = ("se.", "pwconv1.", "act.scale")
    return {
        **{name: array for name, array in leaves.items() if name.startswith(kept)},
        f"{conv}.kernel": kernel,
        f"{conv}.bias": bias,
        "pwconv2.kernel": last * gamma,
        "pwconv2.bias": last_bias * gamma,
    }


ARCHITECTURE = UniRepLKNetArchitecture
