"""Small networks with the interface of a classifier, and images to train them on."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from model_zoo.input_spec import InputSpec

SPEC = InputSpec((8, 8), mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
NUM_CLASSES = 4


class Outputs(NamedTuple):
    logits: jax.Array
    features: jax.Array | None


class Traces:
    """Counts how often `apply_train` was traced; all are equal, so keys may hold it."""

    def __init__(self):
        self.count = 0

    def __eq__(self, other):
        return isinstance(other, Traces)

    def __hash__(self):
        return 0


@dataclasses.dataclass(frozen=True)
class Double:
    """Common to the doubles: shapes by name, drawn with NumPy."""

    name: str
    width: int = 8
    drop_rate: float = 0.0
    num_classes: int = NUM_CLASSES
    input_spec: InputSpec = SPEC
    traces: Traces = dataclasses.field(default_factory=Traces)

    state_names = frozenset()

    @property
    def shapes(self):
        return {
            name: jax.ShapeDtypeStruct(size, np.float32)
            for name, size in self.sizes.items()
        }

    @property
    def parameter_names(self):
        return frozenset(self.sizes) - self.state_names

    @property
    def decay_names(self):
        return frozenset(n for n in self.parameter_names if n.endswith("kernel"))

    def init(self, key):
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).tolist())
        return {
            name: (
                rng.normal(0, 1 / np.sqrt(np.prod(shape[:-1])), shape)
                if name.endswith("kernel")
                else np.full(shape, name.endswith(("scale", "var")))
            ).astype(np.float32)
            for name, shape in self.sizes.items()
        }

    def apply(self, variables, images):
        return self._forward(variables, images, None)[0]

    def apply_train(self, variables, images, key):
        self.traces.count += 1
        return self._forward(variables, images, key)

    def _dropped(self, hidden, key):
        if key is None or not self.drop_rate:
            return hidden
        kept = jax.random.bernoulli(key, 1 - self.drop_rate, hidden.shape)
        return jnp.where(kept, hidden / (1 - self.drop_rate), 0.0)


@dataclasses.dataclass(frozen=True)
class DenseNet(Double):
    """Two dense layers: safe inside a `scan` on CPUs too."""

    @property
    def sizes(self):
        pixels = int(np.prod(self.input_spec.size)) * 3
        return {
            "hidden.kernel": (pixels, self.width),
            "hidden.bias": (self.width,),
            "head.kernel": (self.width, self.num_classes),
            "head.bias": (self.num_classes,),
        }

    def _forward(self, variables, images, key):
        flat = images.reshape(images.shape[0], -1)
        hidden = flat @ variables["hidden.kernel"] + variables["hidden.bias"][None]
        hidden = self._dropped(jax.nn.relu(hidden), key)
        logits = hidden @ variables["head.kernel"] + variables["head.bias"][None]
        return Outputs(logits, hidden), {}


@dataclasses.dataclass(frozen=True)
class ConvNet(Double):
    """Convolution, BatchNorm with running statistics, pooling and a head."""

    state_names = frozenset({"norm.mean", "norm.var"})

    @property
    def sizes(self):
        return {
            "conv.kernel": (3, 3, 3, self.width),
            "norm.scale": (self.width,),
            "norm.bias": (self.width,),
            "norm.mean": (self.width,),
            "norm.var": (self.width,),
            "head.kernel": (self.width, self.num_classes),
            "head.bias": (self.num_classes,),
        }

    def _forward(self, variables, images, key):
        hidden = jax.lax.conv_general_dilated(
            images,
            variables["conv.kernel"],
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        mean, var = variables["norm.mean"], variables["norm.var"]
        updated = {}
        if key is not None:
            mean, var = hidden.mean((0, 1, 2)), hidden.var((0, 1, 2))
            updated = {
                "norm.mean": 0.9 * variables["norm.mean"] + 0.1 * mean,
                "norm.var": 0.9 * variables["norm.var"] + 0.1 * var,
            }
        shift, scale = variables["norm.bias"], variables["norm.scale"]
        here = (None, None, None)
        hidden = (hidden - mean[here]) * jax.lax.rsqrt(var[here] + 1e-5)
        hidden = jax.nn.relu(hidden * scale[here] + shift[here]).mean((1, 2))
        hidden = self._dropped(hidden, key)
        logits = hidden @ variables["head.kernel"] + variables["head.bias"][None]
        return Outputs(logits, hidden), updated


def make_images(num_images=72, *, size=(8, 8), num_classes=NUM_CLASSES):
    """Noise around one random picture a class, so that there is something to learn."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, num_classes, num_images).astype(np.int32)
    pictures = rng.integers(40, 216, (num_classes, *size, 3))
    noise = rng.integers(-40, 40, (num_images, *size, 3))
    return (pictures[labels] + noise).astype(np.uint8), labels
