"""A backbone and its projection head as one network to train."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxbench.errors import UserError
from model_zoo import Classifier
from model_zoo.input_spec import InputSpec

_PREFIX = "projection."


@dataclass(frozen=True)
class Encoder:
    """A backbone with a two-layer perceptron on its features, which is then left off.

    z = W_2 relu(W_1 h + b_1) + b_2 with h the backbone's features: section 2.1 of
    SimCLR. The head has no normalisation of its own.

    Both views go through the network in one batch, so batch normalisation has the
    statistics of both together, as in SimCLR.

    Attributes:
        classifier: The backbone, made with `num_classes=0`.
        hidden: Width of the hidden layer; as many as features when None.
        width: Length of a projection.

    Raises:
        UserError: If the backbone has a head, or gives no features.
    """

    classifier: Classifier
    hidden: int | None = None
    width: int = 128

    def __post_init__(self) -> None:
        if not self.classifier.num_features:
            raise UserError(
                f"{self.classifier.name} gives no features, so there is nothing to "
                "project; take a model of the zoo"
            )
        if self.classifier.num_classes:
            raise UserError(
                f"{self.classifier.name} has a head of {self.classifier.num_classes} "
                "classes that nothing would train; make it with num_classes=0"
            )

    @property
    def name(self) -> str:
        """The backbone's."""
        return self.classifier.name

    @property
    def num_classes(self) -> int:
        """Length of the output: of a projection."""
        return self.width

    @property
    def input_spec(self) -> InputSpec:
        """The backbone's."""
        return self.classifier.input_spec

    @property
    def head_size(self) -> tuple[int, int]:
        """Widths of the head's hidden layer and of a projection."""
        return self.hidden or self.classifier.num_features or 0, self.width

    @property
    def _head_shapes(self) -> dict[str, tuple[int, ...]]:
        features, (hidden, _) = self.classifier.num_features or 0, self.head_size
        return {
            f"{_PREFIX}0.kernel": (features, hidden),
            f"{_PREFIX}0.bias": (hidden,),
            f"{_PREFIX}1.kernel": (hidden, self.width),
            f"{_PREFIX}1.bias": (self.width,),
        }

    @property
    def shapes(self) -> Mapping[str, jax.ShapeDtypeStruct]:
        """Every leaf: the backbone's, and `projection.0` and `.1`."""
        head = {
            name: jax.ShapeDtypeStruct(shape, np.float32)
            for name, shape in self._head_shapes.items()
        }
        return {**self.classifier.shapes, **head}

    @property
    def parameter_names(self) -> frozenset[str]:
        """The trainable leaves."""
        return self.classifier.parameter_names | frozenset(self._head_shapes)

    @property
    def state_names(self) -> frozenset[str]:
        """The backbone's running statistics."""
        return self.classifier.state_names

    @property
    def decay_names(self) -> frozenset[str]:
        """Kernels."""
        kernels = {name for name in self._head_shapes if name.endswith("kernel")}
        return self.classifier.decay_names | kernels

    def init(self, key: Any) -> dict[str, Any]:
        """Draws the variables with NumPy: the backbone's by its own rules.

        The head's kernels are normal with variance 2 / inputs (after He) and, of the
        last layer, 1 / inputs; its biases are zero.
        """
        seed = np.asarray(jax.random.key_data(key)).ravel().tolist()
        generator = np.random.default_rng([*seed, 1])
        head = {}
        for name, shape in self._head_shapes.items():
            gain = 2.0 if name.startswith(f"{_PREFIX}0") else 1.0
            drawn = generator.normal(0.0, np.sqrt(gain / shape[0]), shape)
            drawn = drawn if len(shape) == 2 else np.zeros(shape)
            head[name] = drawn.astype(np.float32)
        return {**self.classifier.init(key), **head}

    def backbone(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        """The variables without the head's."""
        return {n: v for n, v in variables.items() if not n.startswith(_PREFIX)}

    def project(
        self, variables: Mapping[str, Any], features: Float[Array, "n f"]
    ) -> Float[Array, "n d"]:
        """The head."""
        hidden = jnp.matmul(features, variables[f"{_PREFIX}0.kernel"])
        hidden = jax.nn.relu(hidden + variables[f"{_PREFIX}0.bias"][None, :])
        found = jnp.matmul(hidden, variables[f"{_PREFIX}1.kernel"])
        return found + variables[f"{_PREFIX}1.bias"][None, :]

    def apply(
        self, variables: Mapping[str, Any], images: Float[Array, "n h w 3"]
    ) -> Float[Array, "n d"]:
        """Projections in evaluation mode."""
        outputs = self.classifier.apply(self.backbone(variables), images)
        assert outputs.features is not None
        return self.project(variables, outputs.features)

    def apply_train(
        self, variables: Mapping[str, Any], images: Float[Array, "n h w 3"], key: Any
    ) -> tuple[Float[Array, "n d"], dict[str, Any]]:
        """Projections in training mode, and the updated statistics."""
        outputs, updated = self.classifier.apply_train(
            self.backbone(variables), images, key
        )
        assert outputs.features is not None
        return self.project(variables, outputs.features), updated
