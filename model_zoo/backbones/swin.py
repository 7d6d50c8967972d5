"""Swin Transformer: attention in windows that shift from block to block.

Liu et al. (2021), https://arxiv.org/abs/2103.14030; Swin-S3 differs in the windows that
a search found (https://arxiv.org/abs/2111.14725). timm's details: exact GELU, epsilon
1e-5, stages that merge patches before their blocks, and the mean of the normed tokens
as features. Leaves carry timm's names.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from model_zoo import architecture
from model_zoo.architecture import Outputs, Settings
from model_zoo.layers import initializers as init
from model_zoo.layers.attention import attend
from model_zoo.layers.initializers import Rule
from model_zoo.layers.linear import Linear, parameter
from model_zoo.layers.mlp import Mlp, head
from model_zoo.layers.norms import LayerNorm
from model_zoo.layers.patch_embed import PatchEmbed
from model_zoo.layers.pooling import global_average
from model_zoo.layers.stochastic import DropPath, linear_rates

_EPSILON = 1e-5
_MLP_RATIO = 4
# What separates tokens that a shift brought together; timm's, and far enough below 0.
_APART = -100.0

Pair = tuple[int, int]


@dataclass(frozen=True)
class SwinArchitecture:
    """Dimensions of a Swin Transformer.

    Attributes:
        width: Channels of a token in the first stage; every later stage doubles them.
        depths: Blocks of each stage; every stage after the first halves the grid.
        num_heads: Attention heads of each stage.
        window_size: Side of the attention windows in tokens; or of each stage's. Grids
            that are smaller are one window, and others are padded to whole windows.
        patch_size: Side of a patch in pixels.

    Raises:
        ValueError: If heads or windows are as many as no stages.
    """

    width: int
    depths: tuple[int, ...]
    num_heads: tuple[int, ...]
    window_size: int | tuple[int, ...] = 7
    patch_size: int = 4

    def __post_init__(self) -> None:
        for name, values in (
            ("num_heads", self.num_heads),
            ("window_size", self.window_sizes),
        ):
            if len(values) != len(self.depths):
                raise ValueError(
                    f"{name} has {len(values)} entries for {len(self.depths)} stages"
                )

    @property
    def window_sizes(self) -> tuple[int, ...]:
        """Side of each stage's windows."""
        if isinstance(self.window_size, int):
            return (self.window_size,) * len(self.depths)
        return self.window_size

    @property
    def num_features(self) -> int:
        """Channels of the last stage."""
        return self.width * 2 ** (len(self.depths) - 1)

    def grid(self, size: Pair, stage: int) -> Pair:
        """Rows and columns of tokens of a stage."""
        rows, columns = (-(-(side // self.patch_size) // 2**stage) for side in size)
        return rows, columns

    def window(self, size: Pair, stage: int) -> Pair:
        """Height and width of a stage's windows in tokens."""
        side = self.window_sizes[stage]
        rows, columns = self.grid(size, stage)
        return min(side, rows), min(side, columns)

    def check_size(self, size: Pair) -> str | None:
        """One patch must be there; what fills no patch is cut off."""
        return architecture.at_least(size, self.patch_size)

    def build(self, settings: Settings) -> nnx.Module:
        """Builds the network."""
        return Swin(self, settings)

    def init_rules(self) -> tuple[Rule, ...]:
        """As timm starts it: normal kernels, torch's default for the patches."""
        patch_limit = (3 * self.patch_size**2) ** -0.5
        return (
            Rule(r"patch_embed\.proj\..*", init.uniform(patch_limit)),
            Rule(r".*\.(kernel|relative_position_bias_table)", init.normal(0.02)),
            Rule(r".*\.scale", init.ones),
            Rule(r".*\.bias", init.zeros),
        )


class Swin(nnx.Module):
    """Patches, stages, norm, mean over tokens, linear head."""

    def __init__(self, config: SwinArchitecture, settings: Settings) -> None:
        width, dtype = config.width, settings.dtype
        norm = LayerNorm(width, epsilon=_EPSILON, dtype=dtype)
        self.patch_embed = PatchEmbed(config.patch_size, width, norm=norm, dtype=dtype)
        self.grid = config.grid(settings.size, 0)
        rates = iter(linear_rates(settings.drop_path_rate, sum(config.depths)))
        self.layers = nnx.List()
        for i, depth in enumerate(config.depths):
            stage_rates = [next(rates) for _ in range(depth)]
            self.layers.append(Stage(config, i, stage_rates, settings))
        self.norm = LayerNorm(config.num_features, epsilon=_EPSILON, dtype=dtype)
        self.head = Head(config.num_features, settings)

    def __call__(
        self, images: Float[Array, "n h w 3"], rngs: nnx.Rngs | None = None
    ) -> Outputs:
        """Classifies normalised images."""
        x = self.patch_embed(images)
        x = x.reshape(x.shape[0], *self.grid, x.shape[2])
        for stage in self.layers:
            x = stage(x, rngs)
        return self.head(self.norm(x), rngs)


class Stage(nnx.Module):
    """Merging of patches after the first stage, then blocks, every second shifted."""

    def __init__(
        self,
        config: SwinArchitecture,
        index: int,
        rates: list[float],
        settings: Settings,
    ) -> None:
        width = config.width * 2**index
        self.downsample = nnx.data(
            PatchMerging(width // 2, settings) if index > 0 else None
        )
        grid = config.grid(settings.size, index)
        window = config.window(settings.size, index)
        # A grid of one window along an axis has nothing to shift there.
        half = config.window_sizes[index] // 2
        rows, columns = (
            half if side > extent else 0
            for side, extent in zip(grid, window, strict=True)
        )
        self.blocks = nnx.List(
            Block(
                width,
                config.num_heads[index],
                window,
                (rows, columns) if i % 2 else (0, 0),
                rate,
                settings,
            )
            for i, rate in enumerate(rates)
        )

    def __call__(
        self, x: Float[Array, "n h w i"], rngs: nnx.Rngs | None
    ) -> Float[Array, "n p q o"]:
        """Applies the stage."""
        if self.downsample is not None:
            x = self.downsample(x)
        for block in self.blocks:
            x = block(x, rngs)
        return x


class PatchMerging(nnx.Module):
    """Joins 2x2 tokens, normalises, and halves their channels.

    An odd border is padded with zeros.
    """

    def __init__(self, width: int, settings: Settings) -> None:
        dtype = settings.dtype
        self.norm = LayerNorm(4 * width, epsilon=_EPSILON, dtype=dtype)
        self.reduction = Linear(4 * width, 2 * width, use_bias=False, dtype=dtype)

    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n p q o"]:
        """Halves the grid, rounding up."""
        x = _pad(x, (2, 2))
        n, height, width, channels = x.shape
        x = x.reshape(n, height // 2, 2, width // 2, 2, channels)
        # Down first, then right: the order in which the weights were trained.
        x = x.transpose(0, 1, 3, 4, 2, 5)
        return self.reduction(self.norm(x.reshape(n, height // 2, width // 2, -1)))


class Block(nnx.Module):
    """Attention in windows and MLP, each normalised before and added to the stream.

    Args:
        width: Channels of a token.
        num_heads: Attention heads.
        window: Height and width of the windows in tokens.
        shift: Rows and columns by which the windows are moved.
        rate: Stochastic depth of both branches.
        settings: The user's choices.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        window: Pair,
        shift: Pair,
        rate: float,
        settings: Settings,
    ) -> None:
        dtype = settings.dtype
        self.norm1 = LayerNorm(width, epsilon=_EPSILON, dtype=dtype)
        self.attn = WindowAttention(width, num_heads, window, settings)
        self.norm2 = LayerNorm(width, epsilon=_EPSILON, dtype=dtype)
        self.mlp = Mlp(width, _MLP_RATIO * width, dtype=dtype)
        self.drop_path = DropPath(rate)
        self.window = window
        self.shift = shift

    def __call__(
        self, x: Float[Array, "n h w d"], rngs: nnx.Rngs | None
    ) -> Float[Array, "n h w d"]:
        """Applies the block to a grid of tokens."""
        x = self.drop_path.add(x, self._mix(self.norm1(x)), rngs)
        return self.drop_path.add(x, self.mlp(self.norm2(x)), rngs)

    def _mix(self, x: Array) -> Array:
        """Attention after a cyclic shift, which is undone; padding comes after it."""
        height, width = x.shape[1:3]
        rows, columns = self.shift
        x = _pad(jnp.roll(x, (-rows, -columns), (1, 2)), self.window)
        padded = (x.shape[1], x.shape[2])
        mask = _mask(padded, self.window, self.shift) if any(self.shift) else None
        x = self.attn(_windows(x, self.window), mask)
        x = _grid(x, padded, self.window)[:, :height, :width]
        return jnp.roll(x, self.shift, (1, 2))


class WindowAttention(nnx.Module):
    """Multi-head self-attention in a window, with a bias for relative positions."""

    def __init__(
        self, width: int, num_heads: int, window: Pair, settings: Settings
    ) -> None:
        offsets = (2 * window[0] - 1) * (2 * window[1] - 1)
        self.relative_position_bias_table = parameter(offsets, num_heads)
        self.qkv = Linear(width, 3 * width, dtype=settings.dtype)
        self.proj = Linear(width, width, dtype=settings.dtype)
        self.num_heads = num_heads
        self.window = window

    def __call__(
        self,
        x: Float[Array, "n windows t d"],
        mask: Float[np.ndarray, "windows 1 t t"] | None,
    ) -> Float[Array, "n windows t d"]:
        """Mixes the tokens of each window; softmax in float32."""
        qkv = self.qkv(x).reshape(*x.shape[:3], 3, self.num_heads, -1)
        table = self.relative_position_bias_table[...]
        bias = table[_relative_positions(self.window)].transpose(2, 0, 1)[None]
        if mask is not None:
            bias = bias + mask
        # Images share the bias, which is each window's own.
        mixed = jax.vmap(partial(attend, bias=bias))(
            qkv[..., 0, :, :], qkv[..., 1, :, :], qkv[..., 2, :, :]
        )
        return self.proj(mixed.reshape(x.shape))


class Head(nnx.Module):
    """Mean over tokens, dropout, linear layer."""

    def __init__(self, width: int, settings: Settings) -> None:
        self.dropout = nnx.Dropout(settings.drop_rate)
        self.fc = head(width, settings.num_classes)

    def __call__(self, x: Float[Array, "n h w d"], rngs: nnx.Rngs | None) -> Outputs:
        """Classifies a grid of tokens."""
        return architecture.classify(global_average(x), self.dropout, self.fc, rngs)


def _pad(x: Array, multiple: Pair) -> Array:
    """Zeros below and to the right, to whole multiples."""
    below, beside = (
        -length % m for length, m in zip(x.shape[1:3], multiple, strict=True)
    )
    return jnp.pad(x, ((0, 0), (0, below), (0, beside), (0, 0)))


def _windows(x: Array, window: Pair) -> Array:
    """Cuts a grid [n, h, w, d] into windows [n, windows, tokens, d], row by row."""
    n, height, width, channels = x.shape
    rows, columns = height // window[0], width // window[1]
    x = x.reshape(n, rows, window[0], columns, window[1], channels)
    x = x.transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, rows * columns, window[0] * window[1], channels)


def _grid(x: Array, size: Pair, window: Pair) -> Array:
    """The inverse of `_windows`."""
    rows, columns = size[0] // window[0], size[1] // window[1]
    x = x.reshape(x.shape[0], rows, columns, *window, x.shape[3])
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(x.shape[0], *size, x.shape[5])


def _relative_positions(window: Pair) -> np.ndarray:
    """For every two tokens of a window, the row of the table that is their offset's."""
    places = np.indices(window).reshape(2, -1)
    down, right = places[:, :, None] - places[:, None, :]
    return (down + window[0] - 1) * (2 * window[1] - 1) + right + window[1] - 1


def _mask(size: Pair, window: Pair, shift: Pair) -> np.ndarray:
    """Biases [windows, 1, tokens, tokens] that part what only the shift made meet."""
    regions = [
        np.searchsorted([length - side, length - step], np.arange(length), "right")
        for length, side, step in zip(size, window, shift, strict=True)
    ]
    region = 3 * regions[0][:, None] + regions[1]
    tokens = _windows_of(region, window)
    apart = tokens[:, None, :, None] != tokens[:, None, None, :]
    return np.where(apart, np.float32(_APART), np.float32(0))


def _windows_of(region: np.ndarray, window: Pair) -> np.ndarray:
    """Cuts a grid [h, w] into windows [windows, tokens]."""
    rows, columns = region.shape[0] // window[0], region.shape[1] // window[1]
    cut = region.reshape(rows, window[0], columns, window[1]).swapaxes(1, 2)
    return cut.reshape(rows * columns, -1)


ARCHITECTURE = SwinArchitecture
