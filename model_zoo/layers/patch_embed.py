"""Images to tokens."""

from collections.abc import Callable

from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from model_zoo.layers.linear import Conv


class PatchEmbed(nnx.Module):
    """Projects non-overlapping patches, row by row, to a sequence of tokens.

    Rows and columns of pixels that fill no patch are cut off.

    Args:
        patch_size: Side of a patch in pixels.
        num_features: Channels of a token.
        use_bias: Whether a bias is added.
        norm: Layer after the projection, or None.
        dtype: Computation's dtype.
    """

    def __init__(
        self,
        patch_size: int,
        num_features: int,
        *,
        use_bias: bool = True,
        norm: Callable[[Array], Array] | None = None,
        dtype: DTypeLike,
    ) -> None:
        self.proj = Conv(
            3,
            num_features,
            patch_size,
            stride=patch_size,
            use_bias=use_bias,
            dtype=dtype,
        )
        self.norm = norm

    def __call__(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n t d"]:
        """Cuts and projects."""
        x = self.proj(images)
        x = x.reshape(x.shape[0], -1, x.shape[-1])
        return x if self.norm is None else self.norm(x)


def num_patches(size: tuple[int, int], patch_size: int) -> int:
    """Tokens of an image of `size` (height, width) pixels."""
    return (size[0] // patch_size) * (size[1] // patch_size)
