"""RepVGG: 3x3 convolutions that train beside a 1x1 convolution and a shortcut.

Ding et al. (2021), https://arxiv.org/abs/2101.03697. `reparametrisation.fuse` merges
the three branches of a trained block into one 3x3 convolution. Leaves carry timm's
names.
"""

from dataclasses import dataclass, replace

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from model_zoo import architecture
from model_zoo.architecture import Outputs, Settings
from model_zoo.layers import initializers as init
from model_zoo.layers.channel_attention import SqueezeExcite
from model_zoo.layers.initializers import Initializer, Rule
from model_zoo.layers.linear import Conv
from model_zoo.layers.mlp import head
from model_zoo.layers.norms import BatchNorm
from model_zoo.layers.pooling import global_average
from model_zoo.layers.stochastic import DropPath, linear_rates
from model_zoo.reparametrisation import Arrays, fold_norm

_EPSILON = 1e-5


@dataclass(frozen=True)
class RepVGGArchitecture:
    """Dimensions of a RepVGG.

    Attributes:
        depths: Blocks of each stage; every stage's first block halves the image.
        widths: Channels of each stage.
        stem_width: Channels of the first block, which stands before the stages and
            halves the image too.
        groups: Groups of every second block's convolutions.
        squeeze_ratio: Channels inside the squeeze-and-excitation gates over those
            outside; None for no gates.
        reparametrised: Whether each block is one convolution, as `fuse` makes it.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    stem_width: int = 64
    groups: int = 1
    squeeze_ratio: float | None = None
    reparametrised: bool = False

    @property
    def num_features(self) -> int:
        """Channels of the last stage."""
        return self.widths[-1]

    def check_size(self, size: tuple[int, int]) -> str | None:
        """Any size will do: padded convolutions never run out of pixels."""
        return architecture.at_least(size, 1)

    def build(self, settings: Settings) -> nnx.Module:
        """Builds the network."""
        return RepVGG(self, settings)

    def init_rules(self) -> tuple[Rule, ...]:
        """As timm starts it: Kaiming-normal convolutions, norms near 0.1."""
        return (
            Rule(r"head\.fc\.kernel", init.normal(0.01)),
            Rule(r"stages\.\d+\.\d*[13579]\.conv.*\.kernel", _grouped(self.groups)),
            Rule(r".*\.kernel", init.he_normal_fan_out),
            Rule(r".*\.scale", _around(0.1)),
            Rule(r".*\.(bn|identity)\.bias", init.normal(0.1)),
            Rule(r".*\.(bias|mean)", init.zeros),
            Rule(r".*\.var", init.ones),
        )

    def fuse(self, arrays: Arrays) -> tuple["RepVGGArchitecture", Arrays]:
        """Merges each block's branches; see `reparametrisation.fuse`."""
        branches = r".conv_kxk.conv.kernel", ".conv_kxk.", ".conv_1x1.", ".identity."
        blocks = [
            n.removesuffix(branches[0]) for n in arrays if n.endswith(branches[0])
        ]
        merged = {
            name: array
            for name, array in arrays.items()
            if not any(branch in name for branch in branches)
        }
        for block in blocks:
            kernel, bias = _merge(arrays, block)
            merged[f"{block}.reparam_conv.kernel"] = kernel
            merged[f"{block}.reparam_conv.bias"] = bias
        return replace(self, reparametrised=True), merged


class RepVGG(nnx.Module):
    """First block, stages, global average, linear head."""

    def __init__(self, config: RepVGGArchitecture, settings: Settings) -> None:
        self.stem = Block(config, 3, config.stem_width, 2, 1, 0.0, settings)
        rates = iter(linear_rates(settings.drop_path_rate, sum(config.depths)))
        self.stages = nnx.List()
        num_in = config.stem_width
        for depth, width in zip(config.depths, config.widths, strict=True):
            blocks = nnx.List()
            for i in range(depth):
                stride = 2 if i == 0 else 1
                groups = config.groups if i % 2 == 1 else 1
                rate = next(rates)
                blocks.append(
                    Block(config, num_in, width, stride, groups, rate, settings)
                )
                num_in = width
            self.stages.append(blocks)
        self.head = Head(num_in, settings)

    def __call__(
        self, images: Float[Array, "n h w 3"], rngs: nnx.Rngs | None = None
    ) -> Outputs:
        """Classifies normalised images."""
        x = self.stem(images, rngs)
        for stage in self.stages:
            for block in stage:
                x = block(x, rngs)
        return self.head(x, rngs)


class Block(nnx.Module):
    """3x3 and 1x1 convolution and, where shapes allow, the input; each with a norm.

    Stochastic depth drops the convolutions where there is a shortcut, as timm does.
    """

    def __init__(
        self,
        config: RepVGGArchitecture,
        num_in: int,
        width: int,
        stride: int,
        groups: int,
        rate: float,
        settings: Settings,
    ) -> None:
        self.branches = not config.reparametrised
        options = {"stride": stride, "groups": groups, "dtype": settings.dtype}
        if config.reparametrised:
            self.reparam_conv = Conv(num_in, width, 3, padding=1, **options)
        else:
            self.conv_kxk = ConvNorm(num_in, width, 3, **options)
            self.conv_1x1 = ConvNorm(num_in, width, 1, **options)
            same = num_in == width and stride == 1
            self.identity = nnx.data(
                BatchNorm(width, epsilon=_EPSILON, dtype=settings.dtype)
                if same
                else None
            )
            self.drop_path = DropPath(rate)
        squeezed = round((config.squeeze_ratio or 0) * width)
        self.attn = nnx.data(
            SqueezeExcite(width, squeezed, dtype=settings.dtype)
            if config.squeeze_ratio is not None
            else None
        )

    def __call__(
        self, x: Float[Array, "n h w i"], rngs: nnx.Rngs | None
    ) -> Float[Array, "n p q o"]:
        """Applies the block."""
        x = self._sum_of_branches(x, rngs) if self.branches else self.reparam_conv(x)
        return jax.nn.relu(x if self.attn is None else self.attn(x))

    def _sum_of_branches(self, x: Array, rngs: nnx.Rngs | None) -> Array:
        y = self.conv_1x1(x) + self.conv_kxk(x)
        if self.identity is None:
            return y
        return self.drop_path(y, rngs) + self.identity(x)


class ConvNorm(nnx.Module):
    """Convolution without bias, batch norm."""

    def __init__(
        self,
        num_in: int,
        width: int,
        kernel_size: int,
        *,
        stride: int,
        groups: int,
        dtype: np.dtype,
    ) -> None:
        self.conv = Conv(
            num_in,
            width,
            kernel_size,
            stride=stride,
            padding=kernel_size // 2,
            groups=groups,
            use_bias=False,
            dtype=dtype,
        )
        self.bn = BatchNorm(width, epsilon=_EPSILON, dtype=dtype)

    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n p q o"]:
        """Convolves and normalises."""
        return self.bn(self.conv(x))


class Head(nnx.Module):
    """Global average, dropout, linear layer."""

    def __init__(self, width: int, settings: Settings) -> None:
        self.dropout = nnx.Dropout(settings.drop_rate)
        self.fc = head(width, settings.num_classes)

    def __call__(self, x: Float[Array, "n h w d"], rngs: nnx.Rngs | None) -> Outputs:
        """Classifies feature maps."""
        return architecture.classify(global_average(x), self.dropout, self.fc, rngs)


def _merge(arrays: Arrays, block: str) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias of a block's three branches in one."""

    def folded(kernel: np.ndarray, norm: str) -> tuple[np.ndarray, np.ndarray]:
        return fold_norm(arrays, f"{block}.{norm}", kernel, epsilon=_EPSILON)

    wide = arrays[f"{block}.conv_kxk.conv.kernel"]
    kernel, bias = folded(wide, "conv_kxk.bn")
    narrow, more = folded(arrays[f"{block}.conv_1x1.conv.kernel"], "conv_1x1.bn")
    kernel[1, 1] += narrow[0, 0]
    bias = bias + more
    if f"{block}.identity.scale" in arrays:
        _, _, num_in, num_out = wide.shape
        identity = np.zeros((num_in, num_out))
        identity[np.arange(num_out) % num_in, np.arange(num_out)] = 1
        shortcut, more = folded(identity, "identity")
        kernel[1, 1] += shortcut
        bias = bias + more
    return kernel, bias


def _grouped(groups: int) -> Initializer:
    """Kaiming-normal by the fan-out of one group."""

    def initializer(generator: np.random.Generator, shape: tuple[int, ...]):
        return init.he_normal_fan_out(generator, shape) * np.float32(groups**0.5)

    return initializer


def _around(mean: float) -> Initializer:
    """Normal whose mean and standard deviation are equal."""

    def initializer(generator: np.random.Generator, shape: tuple[int, ...]):
        return init.normal(mean)(generator, shape) + np.float32(mean)

    return initializer


ARCHITECTURE = RepVGGArchitecture
