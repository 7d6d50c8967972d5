"""Learned sizes of residual branches."""

from flax import nnx
from jaxtyping import Array, Float

from model_zoo.layers.linear import parameter


class LayerScale(nnx.Module):
    """Scales every channel of a branch: https://arxiv.org/abs/2103.17239."""

    def __init__(self, num_features: int) -> None:
        self.gamma = parameter(num_features)

    def __call__(self, x: Float[Array, "*rows d"]) -> Float[Array, "*rows d"]:
        """Scales the last axis."""
        gamma = self.gamma[...].astype(x.dtype)
        return x * gamma.reshape((1,) * (x.ndim - 1) + (-1,))
