"""Images to tokens."""

from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from model_zoo.layers.linear import Conv


class PatchEmbed(nnx.Module):
    """Projects non-overlapping patches, row by row, to a sequence of tokens."""

    def __init__(self, patch_size: int, num_features: int, *, dtype: DTypeLike) -> None:
        self.proj = Conv(3, num_features, patch_size, stride=patch_size, dtype=dtype)

    def __call__(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n t d"]:
        """Cuts and projects."""
        x = self.proj(images)
        return x.reshape(x.shape[0], -1, x.shape[-1])


def num_patches(size: tuple[int, int], patch_size: int) -> int:
    """Tokens of an image of `size` (height, width) pixels."""
    return (size[0] // patch_size) * (size[1] // patch_size)
