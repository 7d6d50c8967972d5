"""A network as two pure functions of a flat dictionary of arrays.

Flax is used while tracing only: a network is built abstractly once, split into its
graph and its leaves, and from then on `apply` and `apply_train` merge the graph with
whatever arrays the caller's dictionary holds. Names are the leaves' paths joined by
dots (`layer1.0.conv1.kernel`); files of weights, checkpoints and optimizers use them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.core import Tracer
from jaxtyping import Array, Float, Key, UInt32

from model_zoo.architecture import Architecture, Outputs, Settings
from model_zoo.input_spec import InputSpec
from model_zoo.layers.initializers import draw

Variables = dict[str, Array | np.ndarray]
Images = Float[Array | np.ndarray, "n h w 3"]
PRNGKey = Key[Array, ""] | UInt32[Array | np.ndarray, " words"]


@dataclass(frozen=True)
class Classifier(ABC):
    """An image classifier as pure functions; hashable, equal when made alike.

    Nothing here holds an array: variables are an argument, so a classifier may be a
    static argument or a cache key, and `jit`, `vmap` (over variables and keys), `grad`
    and `shard_map` apply to its methods as to any function.

    Attributes:
        name: The name it was created by.
        num_classes: Number of logits.
        input_spec: The images it wants; normalisation is the caller's.
    """

    name: str
    num_classes: int
    input_spec: InputSpec

    @property
    @abstractmethod
    def num_features(self) -> int | None:
        """Length of the feature vector, None where a function gives none."""

    @property
    @abstractmethod
    def shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Every leaf that `init` makes, by dotted name."""

    @property
    @abstractmethod
    def parameter_names(self) -> frozenset[str]:
        """The trainable leaves."""

    @property
    @abstractmethod
    def state_names(self) -> frozenset[str]:
        """The leaves that training updates without a gradient: running statistics."""

    @property
    def num_parameters(self) -> int | None:
        """Trainable numbers, None where a function's variables are unknown."""
        return sum(prod(self.shapes[name].shape) for name in self.parameter_names)

    @property
    def decay_names(self) -> frozenset[str]:
        """The parameters that weight decay is meant for: kernels.

        Not norms, biases, layer scales, class tokens and position embeddings.
        """
        kernels = (n for n in self.parameter_names if n.split(".")[-1] == "kernel")
        return frozenset(kernels)

    @abstractmethod
    def init(self, key: PRNGKey) -> Variables:
        """Draws initial variables with NumPy, without compiling anything.

        Args:
            key: A JAX key; the same key gives the same float32 arrays.
        """

    @abstractmethod
    def apply(self, variables: Variables, images: Images) -> Outputs:
        """Classifies in evaluation mode.

        Args:
            variables: Every leaf of `shapes`.
            images: Normalised images of `input_spec.size`.

        Raises:
            ValueError: If names are missing or unknown, or the images' size is wrong.
        """

    @abstractmethod
    def apply_train(
        self, variables: Variables, images: Images, key: PRNGKey
    ) -> tuple[Outputs, Variables]:
        """Classifies in training mode.

        Args:
            variables: Every leaf of `shapes`.
            images: Normalised images of `input_spec.size`.
            key: Randomness of dropout and stochastic depth.

        Returns:
            The outputs, and the updated leaves of `state_names` alone.

        Raises:
            ValueError: As `apply`.
        """


@dataclass(frozen=True)
class _Graph:
    """A network without its leaves: how to build it again around a dictionary."""

    evaluation: nnx.GraphDef
    training: nnx.GraphDef
    paths: dict[str, tuple[str | int, ...]]
    shapes: dict[str, jax.ShapeDtypeStruct]
    parameter_names: frozenset[str]

    def merge(self, variables: Mapping[str, Array | np.ndarray], *, training: bool):
        nested: dict = {}
        for name, path in self.paths.items():
            branch = nested
            for step in path[:-1]:
                branch = branch.setdefault(step, {})
            branch[path[-1]] = jnp.asarray(variables[name])
        return nnx.merge(self.training if training else self.evaluation, nested)


@dataclass(frozen=True)
class NetworkClassifier(Classifier):
    """A classifier of the zoo; `create_model` makes it.

    Attributes:
        architecture: The variant's dimensions.
        settings: The user's choices.
    """

    architecture: Architecture
    settings: Settings

    @cached_property
    def _graph(self) -> _Graph:
        network = self.architecture.build(self.settings)
        modes = [
            nnx.view(
                network,
                deterministic=not training,
                use_running_average=not training,
                raise_if_not_found=False,
            )
            for training in (False, True)
        ]
        evaluation, training = (nnx.split(mode)[0] for mode in modes)
        found = leaves(network)
        return _Graph(
            evaluation,
            training,
            {name: path for name, (path, _) in found.items()},
            {name: leaf.get_value() for name, (_, leaf) in found.items()},
            frozenset(leaves(network, nnx.Param)),
        )

    @property
    def num_features(self) -> int | None:
        """Length of the feature vector; None of an own module that gives none."""
        return self.architecture.num_features

    @property
    def shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Every leaf that `init` makes, by dotted name."""
        return dict(self._graph.shapes)

    @property
    def parameter_names(self) -> frozenset[str]:
        """The trainable leaves."""
        return self._graph.parameter_names

    @property
    def state_names(self) -> frozenset[str]:
        """The running statistics of batch normalisation."""
        return frozenset(self._graph.shapes) - self._graph.parameter_names

    def init(self, key: PRNGKey) -> Variables:
        """Draws initial variables by the rules of the family."""
        if isinstance(key, Tracer):
            raise ValueError(
                f"{self.name}: init got a traced key, but it draws with NumPy; call it "
                "outside jit, vmap and grad"
            )
        seed = np.asarray(jax.random.key_data(typed_key(key))).ravel().tolist()
        return {**draw(self.architecture.init_rules(), self._graph.shapes, seed)}

    def apply(self, variables: Variables, images: Images) -> Outputs:
        """Classifies in evaluation mode."""
        self._check(variables, images)
        network = self._graph.merge(variables, training=False)
        return as_outputs(network(jnp.asarray(images, self.settings.dtype), None))

    def apply_train(
        self, variables: Variables, images: Images, key: PRNGKey
    ) -> tuple[Outputs, Variables]:
        """Classifies in training mode."""
        self._check(variables, images)
        network = self._graph.merge(variables, training=True)
        rngs = nnx.Rngs(dropout=typed_key(key))
        outputs = as_outputs(network(jnp.asarray(images, self.settings.dtype), rngs))
        found = leaves(network)
        updated = {name: found[name][1].get_value() for name in self.state_names}
        return outputs, updated

    def _check(self, variables: Variables, images: Images) -> None:
        problems = _name_problems(self._graph.shapes, variables)
        height, width = self.input_spec.size
        if tuple(images.shape[1:]) != (height, width, 3):
            problems.append(
                f"images have shape {tuple(images.shape)}, wanted (n, {height}, "
                f"{width}, 3): resize them, or create the model with another image_size"
            )
        if not jnp.issubdtype(images.dtype, jnp.floating):
            problems.append(
                f"images are {images.dtype}, wanted floats that are normalised by "
                "input_spec's mean and std"
            )
        if problems:
            raise ValueError(f"{self.name}: {'; '.join(problems)}")


@dataclass(frozen=True)
class FunctionClassifier(Classifier):
    """A user's own function; `classifier_from_function` makes it.

    Attributes:
        function: `function(variables, images)`, pure.
    """

    function: Callable[..., Array | Outputs]

    @property
    def num_features(self) -> None:
        """None: it may or may not give features."""
        return None

    @property
    def num_parameters(self) -> None:
        """None: the function's variables are unknown."""
        return None

    @property
    def shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Raises ValueError: the function's variables are unknown."""
        raise self._refusal("shapes")

    @property
    def parameter_names(self) -> frozenset[str]:
        """Raises ValueError: the function's variables are unknown."""
        raise self._refusal("parameter_names")

    @property
    def state_names(self) -> frozenset[str]:
        """Raises ValueError: the function's variables are unknown."""
        raise self._refusal("state_names")

    def init(self, key: PRNGKey) -> Variables:
        """Raises ValueError: a function cannot do this."""
        raise self._refusal("init")

    def apply(self, variables: Any, images: Images) -> Outputs:
        """Calls the function and checks the shape of its logits."""
        result = as_outputs(self.function(variables, images))
        check_logits(self, result, images, "function")
        return result

    def apply_train(
        self, variables: Variables, images: Images, key: PRNGKey
    ) -> tuple[Outputs, Variables]:
        """Raises ValueError: a function cannot do this."""
        raise self._refusal("apply_train")

    def _refusal(self, what: str) -> ValueError:
        return ValueError(
            f"{self.name}: {what} is not known of a user's own function; pass its "
            "variables to apply, or take a model of the zoo to train one"
        )


def classifier_from_function(
    apply: Callable[..., Array | Outputs],
    *,
    name: str,
    num_classes: int,
    input_spec: InputSpec,
) -> Classifier:
    """Makes a user's own model a classifier that can be evaluated.

    Args:
        apply: Pure `apply(variables, images)`, giving logits [n, k] or `Outputs`;
            variables may be any pytree, images are normalised as `input_spec` says.
        name: What results call it.
        num_classes: Number of logits, k.
        input_spec: The images it wants.

    Returns:
        A classifier whose `init`, `apply_train` and names of leaves raise ValueError.
    """
    return FunctionClassifier(name, num_classes, input_spec, apply)


def check_logits(
    classifier: Classifier, outputs: Outputs, images: Images, what: str
) -> None:
    """Raises ValueError if a user's own code gave logits of another shape."""
    wanted = (images.shape[0], classifier.num_classes)
    if outputs.logits.shape != wanted:
        raise ValueError(
            f"{classifier.name}: the {what} gave logits of shape "
            f"{outputs.logits.shape}, wanted {wanted}: one row an image, "
            "one column a class"
        )


def as_outputs(result: Array | Outputs) -> Outputs:
    """Bare logits as outputs without features; all float32."""
    logits, features = result if isinstance(result, Outputs) else (result, None)
    if features is not None:
        features = features.astype(jnp.float32)
    return Outputs(logits.astype(jnp.float32), features)


def check_variables(classifier: Classifier, variables: Variables) -> None:
    """Checks names, shapes and dtypes of a classifier's variables.

    Raises:
        ValueError: If anything differs; every difference is named.
    """
    wanted = classifier.shapes
    problems = _name_problems(wanted, variables)
    for name in sorted(wanted.keys() & variables.keys()):
        leaf, want = variables[name], wanted[name]
        if tuple(leaf.shape) != want.shape:
            problems.append(
                f"{name} has shape {tuple(leaf.shape)}, wanted {want.shape}"
            )
        if leaf.dtype != want.dtype:
            problems.append(f"{name} is {leaf.dtype}, wanted {want.dtype}")
    if problems:
        listing = "\n  ".join(problems)
        raise ValueError(
            f"these variables are not those of {classifier.name} with "
            f"{classifier.num_classes} classes:\n  {listing}"
        )


def _name_problems(wanted: Mapping[str, object], got: Mapping[str, object]) -> list:
    missing = sorted(wanted.keys() - got.keys())
    unknown = sorted(got.keys() - wanted.keys())
    problems = []
    if missing:
        problems.append(f"variables lack {', '.join(missing)}")
    if unknown:
        problems.append(f"variables hold unknown {', '.join(unknown)}")
    return problems


def typed_key(key: PRNGKey) -> Array:
    """A typed key, whether a typed or a raw one came."""
    if isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        return key
    return jax.random.wrap_key_data(jnp.asarray(key))


def leaves(network: nnx.Module, kind: type = nnx.Variable) -> dict[str, tuple]:
    """Paths and leaves of a network, by dotted name."""
    state = nnx.to_flat_state(nnx.state(network, kind))
    return {".".join(map(str, path)): (path, leaf) for path, leaf in state}
