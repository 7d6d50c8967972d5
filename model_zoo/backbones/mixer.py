"""MLP-Mixer and its kin: perceptrons across tokens and across channels, in turn.

Tolstikhin et al. (2021), https://arxiv.org/abs/2105.01601; ResMLP by Touvron et al.
(2021), https://arxiv.org/abs/2105.03404; gMLP by Liu et al. (2021),
https://arxiv.org/abs/2105.08050; with timm's details: exact GELU, the mean of the
normed tokens as features. Leaves carry timm's names.
"""

from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from model_zoo import architecture
from model_zoo.architecture import Outputs, Settings
from model_zoo.layers import initializers as init
from model_zoo.layers.activations import ACTIVATIONS
from model_zoo.layers.initializers import Rule
from model_zoo.layers.layer_scale import LayerScale
from model_zoo.layers.linear import Linear, parameter
from model_zoo.layers.mlp import GluMlp, Mlp, head
from model_zoo.layers.norms import LayerNorm
from model_zoo.layers.patch_embed import PatchEmbed, num_patches
from model_zoo.layers.stack import apply_blocks
from model_zoo.layers.stochastic import DropPath

Tokens = Float[Array, "n t d"]


@dataclass(frozen=True)
class MixerArchitecture:
    """Dimensions and options of an MLP-Mixer.

    Attributes:
        width: Channels of a token.
        depth: Number of blocks.
        patch_size: Side of a patch in pixels.
        mlp_ratio: Hidden channels of the channel MLP over `width`.
        block: "mixer" is a token MLP, then a channel MLP; "resmlp" a linear map across
            tokens, then a channel MLP, with affine maps for norms and scaled branches;
            "gmlp" a channel MLP in which one half gates the other across tokens.
        token_ratio: Hidden numbers of a mixer's token MLP over `width`.
        mlp: A mixer's MLPs: "plain", or "glu", gated (arXiv 2002.05202); both ratios
            count gate and gated then.
        activation: Name of the MLPs' activation.
        layer_scale: Initial value of the scales of resmlp's branches.
    """

    width: int
    depth: int
    patch_size: int
    mlp_ratio: int | float = 4
    block: Literal["mixer", "resmlp", "gmlp"] = "mixer"
    token_ratio: int | float = 0.5
    mlp: Literal["plain", "glu"] = "plain"
    activation: str = "gelu"
    layer_scale: float = 1e-4

    @property
    def num_features(self) -> int:
        """Channels of a token."""
        return self.width

    def check_size(self, size: tuple[int, int]) -> str | None:
        """At least one patch; pixels that fill no patch are cut off, as in timm."""
        return architecture.at_least(size, self.patch_size)

    def build(self, settings: Settings) -> nnx.Module:
        """Builds the network."""
        return Mixer(self, settings)

    def init_rules(self) -> tuple[Rule, ...]:
        """Glorot-uniform MLPs as in timm, and a head that starts at zero.

        Gates start open: at one, whatever the input.
        """
        glu_kernel = init.halves(init.xavier_uniform, init.normal(1e-6))
        glu_bias = init.halves(init.normal(1e-6), init.ones)
        glu = [
            Rule(r"blocks\..*\.fc1\.kernel", glu_kernel),
            Rule(r"blocks\..*\.fc1\.bias", glu_bias),
        ]
        return (
            *(glu if self.mlp == "glu" else []),
            Rule(r"head\..*", init.zeros),
            Rule(r"stem\.proj\.kernel", init.lecun_normal),
            Rule(r".*\.gate\.proj\.kernel", init.normal(1e-6)),
            Rule(r".*\.gate\.proj\.bias", init.ones),
            Rule(r".*\.gate\.norm\.bias", init.zeros),
            Rule(r".*\.kernel", init.xavier_uniform),
            Rule(r".*\.mlp_.*\.bias", init.normal(1e-6)),
            Rule(r".*\.gamma", init.constant(self.layer_scale)),
            Rule(r".*\.(scale|alpha)", init.ones),
            Rule(r".*\.(bias|beta)", init.zeros),
        )


class Mixer(nnx.Module):
    """Patches, blocks, norm, mean over tokens, linear head."""

    def __init__(self, config: MixerArchitecture, settings: Settings) -> None:
        width, dtype = config.width, settings.dtype
        self.stem = PatchEmbed(config.patch_size, width, dtype=dtype)
        tokens = num_patches(settings.size, config.patch_size)
        kinds = {"mixer": MixerBlock, "resmlp": ResMlpBlock, "gmlp": GatedBlock}
        self.blocks = nnx.List(
            kinds[config.block](config, tokens, settings) for _ in range(config.depth)
        )
        norm = Affine if config.block == "resmlp" else LayerNorm
        self.norm = norm(width, dtype=jnp.float32)
        self.dropout = nnx.Dropout(settings.drop_rate)
        self.head = head(width, settings.num_classes)

    def __call__(
        self, images: Float[Array, "n h w 3"], rngs: nnx.Rngs | None = None
    ) -> Outputs:
        """Classifies normalised images."""
        x = self.stem(images)
        x = apply_blocks(self.blocks, x, rngs)
        features = self.norm(x).mean(1)
        return architecture.classify(features, self.dropout, self.head, rngs)


class MixerBlock(nnx.Module):
    """Token mixing and channel mixing, each normalised before and added.

    Stochastic depth drops every block at the same rate, here and in the other blocks,
    as timm does.
    """

    def __init__(
        self, config: MixerArchitecture, tokens: int, settings: Settings
    ) -> None:
        width, dtype = config.width, settings.dtype

        def mlp(num_features: int, ratio: float) -> Mlp | GluMlp:
            hidden = int(ratio * width)
            if config.mlp == "plain":
                return Mlp(
                    num_features, hidden, activation=config.activation, dtype=dtype
                )
            return GluMlp(
                num_features,
                hidden // 2,
                activation=config.activation,
                gate_last=True,
                dtype=dtype,
            )

        self.norm1 = LayerNorm(width, dtype=dtype)
        self.mlp_tokens = mlp(tokens, float(config.token_ratio))
        self.norm2 = LayerNorm(width, dtype=dtype)
        self.mlp_channels = mlp(width, float(config.mlp_ratio))
        self.drop_path = DropPath(settings.drop_path_rate)

    def __call__(self, x: Tokens, rngs: nnx.Rngs | None) -> Tokens:
        """Applies the block."""
        mixed = self.mlp_tokens(self.norm1(x).swapaxes(1, 2)).swapaxes(1, 2)
        x = self.drop_path.add(x, mixed, rngs)
        return self.drop_path.add(x, self.mlp_channels(self.norm2(x)), rngs)


class ResMlpBlock(nnx.Module):
    """A linear map across tokens and a channel MLP, both scaled and added."""

    def __init__(
        self, config: MixerArchitecture, tokens: int, settings: Settings
    ) -> None:
        width, dtype = config.width, settings.dtype
        self.norm1 = Affine(width, dtype=dtype)
        self.linear_tokens = Linear(tokens, tokens, dtype=dtype)
        self.ls1 = LayerScale(width)
        self.norm2 = Affine(width, dtype=dtype)
        self.mlp_channels = Mlp(
            width,
            int(config.mlp_ratio * width),
            activation=config.activation,
            dtype=dtype,
        )
        self.ls2 = LayerScale(width)
        self.drop_path = DropPath(settings.drop_path_rate)

    def __call__(self, x: Tokens, rngs: nnx.Rngs | None) -> Tokens:
        """Applies the block."""
        mixed = self.linear_tokens(self.norm1(x).swapaxes(1, 2)).swapaxes(1, 2)
        x = self.drop_path.add(x, self.ls1(mixed), rngs)
        mixed = self.mlp_channels(self.norm2(x))
        return self.drop_path.add(x, self.ls2(mixed), rngs)


class GatedBlock(nnx.Module):
    """A channel MLP with a gate across tokens, normalised before and added."""

    def __init__(
        self, config: MixerArchitecture, tokens: int, settings: Settings
    ) -> None:
        self.norm = LayerNorm(config.width, dtype=settings.dtype)
        self.mlp_channels = GatedMlp(config, tokens, settings.dtype)
        self.drop_path = DropPath(settings.drop_path_rate)

    def __call__(self, x: Tokens, rngs: nnx.Rngs | None) -> Tokens:
        """Applies the block."""
        return self.drop_path.add(x, self.mlp_channels(self.norm(x)), rngs)


class GatedMlp(nnx.Module):
    """Linear, activation, spatial gate, Linear."""

    def __init__(
        self, config: MixerArchitecture, tokens: int, dtype: DTypeLike
    ) -> None:
        hidden = int(config.mlp_ratio * config.width)
        self.fc1 = Linear(config.width, hidden, dtype=dtype)
        self.gate = SpatialGate(hidden // 2, tokens, dtype)
        self.fc2 = Linear(hidden // 2, config.width, dtype=dtype)
        self.activation = config.activation

    def __call__(self, x: Tokens) -> Tokens:
        """Maps every token, with the others' help."""
        return self.fc2(self.gate(ACTIVATIONS[self.activation](self.fc1(x))))


class SpatialGate(nnx.Module):
    """Multiplies half of the channels by the other half, mapped across tokens."""

    def __init__(self, num_features: int, tokens: int, dtype: DTypeLike) -> None:
        self.norm = LayerNorm(num_features, epsilon=1e-5, dtype=dtype)
        self.proj = Linear(tokens, tokens, dtype=dtype)

    def __call__(self, x: Float[Array, "n t c"]) -> Float[Array, "n t g"]:
        """Gates; half of the channels are left."""
        x, gate = jnp.split(x, 2, axis=-1)
        return x * self.proj(self.norm(gate).swapaxes(1, 2)).swapaxes(1, 2)


class Affine(nnx.Module):
    """Scales and shifts every channel; no statistics."""

    def __init__(self, num_features: int, *, dtype: DTypeLike) -> None:
        self.alpha = parameter(num_features)
        self.beta = parameter(num_features)
        self.dtype = dtype

    def __call__(self, x: Tokens) -> Tokens:
        """Maps every channel."""
        x = x.astype(jnp.float32)
        alpha, beta = (p[...].reshape(1, 1, -1) for p in (self.alpha, self.beta))
        return (x * alpha + beta).astype(self.dtype)


ARCHITECTURE = MixerArchitecture
