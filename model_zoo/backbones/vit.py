"""Vision Transformer: an encoder over patches, and what has been made of it since.

Dosovitskiy et al. (2021), https://arxiv.org/abs/2010.11929, and the changes of DeiT
and DeiT III (arXiv 2012.12877, 2204.07118), CLIP (2103.00020), FlexiViT (2212.08013),
SigLIP (2303.15343), DINOv2 with registers (2304.07193, 2309.16588), AIMv2 (2411.14402)
and others, with timm's details: one fused qkv projection (q, k, v; heads within each)
and exact GELU. Leaves carry timm's names.
"""

from dataclasses import KW_ONLY, dataclass
from typing import Literal

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from model_zoo import architecture
from model_zoo.architecture import Outputs, Settings
from model_zoo.backbones.vit_blocks import AttentionPool, EncoderArchitecture, Tokens
from model_zoo.layers import initializers as init
from model_zoo.layers.initializers import Rule
from model_zoo.layers.linear import parameter
from model_zoo.layers.mlp import head
from model_zoo.layers.patch_embed import PatchEmbed, num_patches
from model_zoo.layers.stack import apply_blocks
from model_zoo.layers.stochastic import linear_rates


@dataclass(frozen=True)
class ViTArchitecture(EncoderArchitecture):
    """Dimensions and options of a Vision Transformer; the blocks' are inherited.

    Attributes:
        patch_size: Side of a patch in pixels.
        patch_norm: Whether patches are normalised before positions are added.
        class_token: Whether a class token goes before the patches.
        distilled: Whether a distillation token follows it; each of the two has a head,
            logits are the heads' mean, features the tokens' mean.
        register_tokens: Learned tokens between class token and patches.
        embed_prefix: Whether these tokens have position embeddings.
        pre_norm: Whether tokens are normalised before the first block; the patches'
            projection has no bias then.
        last_norm: The norm after the last block is of "tokens", or of their "pooled"
            mean, or there is "none".
        pool: What the head sees: the class "token", the "average" of all patches, or
            the pooling of an attention "map".
        pool_prefix: Whether the tokens before the patches are pooled with them.
        position_resize: Filter that fits position embeddings of a file to another image
            size: "cubic" with antialiasing; "linear" without; "linear_corners", whose
            corner positions stay where they are.
        init_std: Standard deviation of initial kernels and position embeddings. timm's
            0.02 is 0.55 / sqrt(768); narrow variants take the same multiple of theirs.
    """

    patch_size: int
    _: KW_ONLY
    patch_norm: bool = False
    class_token: bool = True
    distilled: bool = False
    register_tokens: int = 0
    embed_prefix: bool = True
    pre_norm: bool = False
    last_norm: Literal["tokens", "pooled", "none"] = "tokens"
    pool: Literal["token", "average", "map"] = "token"
    pool_prefix: bool = False
    position_resize: Literal["cubic", "linear", "linear_corners"] = "cubic"
    init_std: float = 0.02

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pool == "token" and not self.class_token:
            raise ValueError(f"{type(self).__name__}: pool 'token' needs class_token")
        if self.distilled and self.pool != "token":
            raise ValueError(f"{type(self).__name__}: distilled needs pool 'token'")

    @property
    def num_features(self) -> int:
        """Channels of a token."""
        return self.width

    @property
    def num_prefix(self) -> int:
        """Tokens before the patches."""
        return self.class_token + self.distilled + self.register_tokens

    def check_size(self, size: tuple[int, int]) -> str | None:
        """At least one patch; pixels that fill no patch are cut off, as in timm."""
        return architecture.at_least(size, self.patch_size)

    def build(self, settings: Settings) -> nnx.Module:
        """Builds the network."""
        return ViT(self, settings)

    def init_rules(self) -> tuple[Rule, ...]:
        """As timm starts it: normal kernels, torch's default for the patches.

        A gated MLP's second half starts at one, whichever half is the gate.
        """
        kernel = init.normal(self.init_std)
        patch_limit = (3 * self.patch_size**2) ** -0.5
        scale = init.constant(1.0 if self.layer_scale is None else self.layer_scale)
        return (
            Rule(r"patch_embed\.proj\..*", init.uniform(patch_limit)),
            Rule(r"cls_token|reg_token", init.normal(1e-6)),
            Rule(r"attn_pool\.latent", init.truncated_normal(self.width**-0.5)),
            Rule(r".*\.lambda_.*", init.normal(0.1)),
            Rule(r".*\.gamma", scale),
            *([Rule(r"blocks\..*\.scale", scale)] if self.block == "post_norm" else []),
            *(self._packed_rules() if self.mlp == "glu_packed" else []),
            Rule(r".*\.fc1_g\.kernel", init.normal(1e-6)),
            Rule(r".*\.fc1_g\.bias", init.ones),
            Rule(r"pos_embed|dist_token|.*\.kernel", kernel),
            Rule(r".*\.scale", init.ones),
            Rule(r".*\.(mlp_)?bias", init.zeros),
        )

    def _packed_rules(self) -> list[Rule]:
        kernel = init.halves(init.normal(self.init_std), init.normal(1e-6))
        return [
            Rule(r"blocks\..*\.fc1\.kernel", kernel),
            Rule(r"blocks\..*\.fc1\.bias", init.halves(init.zeros, init.ones)),
        ]


class ViT(nnx.Module):
    """Patches, blocks, norm, pooling, linear head."""

    def __init__(self, config: ViTArchitecture, settings: Settings) -> None:
        width, dtype = config.width, settings.dtype
        self.dtype = dtype
        self.config = config
        self.patch_embed = PatchEmbed(
            config.patch_size,
            width,
            use_bias=not config.pre_norm,
            norm=config.make_norm(width, dtype) if config.patch_norm else None,
            dtype=dtype,
        )
        self._make_tokens(settings.size)
        self.norm_pre = config.make_norm(width, dtype) if config.pre_norm else None
        rates = linear_rates(settings.drop_path_rate, config.depth)
        self.blocks = nnx.List(
            config.make_block(i, rate, dtype) for i, rate in enumerate(rates)
        )
        last_norm = config.make_norm(width, jnp.float32)
        self.norm = last_norm if config.last_norm == "tokens" else None
        self.fc_norm = last_norm if config.last_norm == "pooled" else None
        self.attn_pool = AttentionPool(config, dtype) if config.pool == "map" else None
        self.dropout = nnx.Dropout(settings.drop_rate)
        self.head = head(width, settings.num_classes)
        if config.distilled:
            self.head_dist = head(width, settings.num_classes)

    def _make_tokens(self, size: tuple[int, int]) -> None:
        config = self.config
        counts = {
            "cls_token": int(config.class_token),
            "dist_token": int(config.distilled),
            "reg_token": config.register_tokens,
        }
        self.prefix = tuple(name for name, count in counts.items() if count)
        for name in self.prefix:
            setattr(self, name, parameter(1, counts[name], config.width))
        length = num_patches(size, config.patch_size)
        length += config.num_prefix if config.embed_prefix else 0
        self.pos_embed = parameter(1, length, config.width)

    def __call__(
        self, images: Float[Array, "n h w 3"], rngs: nnx.Rngs | None = None
    ) -> Outputs:
        """Classifies normalised images."""
        x = self._embed(self.patch_embed(images))
        if self.norm_pre is not None:
            x = self.norm_pre(x)
        x = apply_blocks(self.blocks, x, rngs)
        x = self._select(x)
        if self.norm is not None:
            x = self.norm(x)
        if self.config.distilled:
            return self._classify_twice(x, rngs)
        features = self._pool(x)
        if self.fc_norm is not None:
            features = self.fc_norm(features)
        return architecture.classify(features, self.dropout, self.head, rngs)

    def _embed(self, x: Tokens) -> Float[Array, "n p d"]:
        """Adds positions and the tokens before the patches."""
        positions = self.pos_embed[...].astype(self.dtype)
        if not self.config.embed_prefix:
            x = x + positions
        if self.prefix:
            first = [getattr(self, name)[...] for name in self.prefix]
            first = jnp.concatenate(first, axis=1).astype(self.dtype)
            first = jnp.broadcast_to(first, (x.shape[0], *first.shape[1:]))
            x = jnp.concatenate([first, x], axis=1)
        return x + positions if self.config.embed_prefix else x

    def _select(self, x: Tokens) -> Float[Array, "n s d"]:
        """The tokens that reach the head."""
        config = self.config
        if config.pool == "token":
            return x[:, : 1 + config.distilled]
        return x if config.pool_prefix else x[:, config.num_prefix :]

    def _pool(self, x: Tokens) -> Float[Array, "n d"]:
        if self.attn_pool is not None:
            return self.attn_pool(x).astype(jnp.float32)
        return x.astype(jnp.float32).mean(1)

    def _classify_twice(
        self, x: Float[Array, "n 2 d"], rngs: nnx.Rngs | None
    ) -> Outputs:
        """Each token has its own head, and its own dropout."""
        dropped = self.dropout(x, rngs=rngs)
        logits = self.head(dropped[:, 0]) + self.head_dist(dropped[:, 1])
        return Outputs(logits / 2, x.mean(1))


ARCHITECTURE = ViTArchitecture
