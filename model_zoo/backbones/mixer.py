"""MLP-Mixer: perceptrons across tokens and across channels, in turn.

Tolstikhin et al. (2021), https://arxiv.org/abs/2105.01601, with timm's details: exact
GELU, epsilon 1e-6, token MLP half as wide as a token, the mean of the normed tokens as
features. Leaves carry timm's names.
"""

from dataclasses import dataclass

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from model_zoo import architecture
from model_zoo.architecture import Outputs, Settings
from model_zoo.input_spec import HALF, InputSpec
from model_zoo.layers import initializers as init
from model_zoo.layers.initializers import Rule
from model_zoo.layers.mlp import Mlp, head
from model_zoo.layers.norms import LayerNorm
from model_zoo.layers.patch_embed import PatchEmbed, num_patches
from model_zoo.layers.stochastic import DropPath

_IMAGENET = InputSpec(mean=HALF, std=HALF)
_MICRO = InputSpec(size=(8, 8), crop_fraction=1.0, mean=HALF, std=HALF)
_MINI = InputSpec(size=(32, 32), crop_fraction=1.0, mean=HALF, std=HALF)


@dataclass(frozen=True)
class MixerArchitecture:
    """Dimensions of an MLP-Mixer.

    Attributes:
        width: Channels of a token.
        depth: Number of blocks.
        patch_size: Side of a patch in pixels.
        mlp_ratio: Hidden channels of the channel MLP over `width`.
        input_spec: The input that the variant was made for.
    """

    width: int
    depth: int
    patch_size: int
    mlp_ratio: int = 4
    input_spec: InputSpec = _IMAGENET

    @property
    def num_features(self) -> int:
        """Channels of a token."""
        return self.width

    def check_size(self, size: tuple[int, int]) -> str | None:
        """Whole patches only."""
        return architecture.divisible(size, self.patch_size)

    def build(self, settings: Settings) -> nnx.Module:
        """Builds the network."""
        return Mixer(self, settings)

    def init_rules(self) -> tuple[Rule, ...]:
        """Glorot-uniform MLPs as in timm, and a head that starts at zero."""
        return (
            Rule(r"head\..*", init.zeros),
            Rule(r"stem\.proj\.kernel", init.lecun_normal),
            Rule(r".*\.kernel", init.xavier_uniform),
            Rule(r".*\.mlp_.*\.bias", init.normal(1e-6)),
            Rule(r".*\.scale", init.ones),
            Rule(r".*\.bias", init.zeros),
        )


class Mixer(nnx.Module):
    """Patches, blocks, norm, mean over tokens, linear head."""

    def __init__(self, config: MixerArchitecture, settings: Settings) -> None:
        width, dtype = config.width, settings.dtype
        self.stem = PatchEmbed(config.patch_size, width, dtype=dtype)
        tokens = num_patches(settings.size, config.patch_size)
        self.blocks = nnx.List(
            Block(config, tokens, settings) for _ in range(config.depth)
        )
        self.norm = LayerNorm(width, dtype=dtype)
        self.dropout = nnx.Dropout(settings.drop_rate)
        self.head = head(width, settings.num_classes)

    def __call__(
        self, images: Float[Array, "n h w 3"], rngs: nnx.Rngs | None = None
    ) -> Outputs:
        """Classifies normalised images."""
        x = self.stem(images)
        for block in self.blocks:
            x = block(x, rngs)
        features = self.norm(x).astype(jnp.float32).mean(1)
        return architecture.classify(features, self.dropout, self.head, rngs)


class Block(nnx.Module):
    """Token mixing and channel mixing, each normalised before and added.

    Stochastic depth drops every block at the same rate, as timm does here.
    """

    def __init__(
        self, config: MixerArchitecture, tokens: int, settings: Settings
    ) -> None:
        width, dtype = config.width, settings.dtype
        self.norm1 = LayerNorm(width, dtype=dtype)
        self.mlp_tokens = Mlp(tokens, width // 2, dtype=dtype)
        self.norm2 = LayerNorm(width, dtype=dtype)
        self.mlp_channels = Mlp(width, config.mlp_ratio * width, dtype=dtype)
        self.drop_path = DropPath(settings.drop_path_rate)

    def __call__(
        self, x: Float[Array, "n t d"], rngs: nnx.Rngs | None
    ) -> Float[Array, "n t d"]:
        """Applies the block."""
        mixed = self.mlp_tokens(self.norm1(x).swapaxes(1, 2)).swapaxes(1, 2)
        x = x + self.drop_path(mixed, rngs)
        return x + self.drop_path(self.mlp_channels(self.norm2(x)), rngs)


VARIANTS: dict[str, MixerArchitecture] = {
    "mixer_micro": MixerArchitecture(
        48, 2, patch_size=2, mlp_ratio=2, input_spec=_MICRO
    ),
    "mixer_mini": MixerArchitecture(
        128, 4, patch_size=4, mlp_ratio=2, input_spec=_MINI
    ),
    "mixer_s32_224": MixerArchitecture(512, 8, patch_size=32),
    "mixer_s16_224": MixerArchitecture(512, 8, patch_size=16),
    "mixer_b32_224": MixerArchitecture(768, 12, patch_size=32),
    "mixer_b16_224": MixerArchitecture(768, 12, patch_size=16),
}
