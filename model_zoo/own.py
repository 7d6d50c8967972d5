"""A user's own NNX module under an own name, beside the zoo's."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flax import nnx

from model_zoo import registry
from model_zoo.architecture import Outputs, Settings
from model_zoo.classifier import (
    Images,
    NetworkClassifier,
    PRNGKey,
    Variables,
    check_logits,
    leaves,
    typed_key,
)
from model_zoo.input_spec import InputSpec
from model_zoo.layers.initializers import Rule

Make = Callable[[Settings, nnx.Rngs], nnx.Module]


@dataclass(frozen=True)
class ModuleArchitecture:
    """An architecture that a user's function makes.

    Attributes:
        make: `make(settings, rngs)`, giving the module with its initial values.
        num_features: Length of the features that the module gives; None if it gives
            logits alone.
    """

    make: Make
    num_features: int | None

    def check_size(self, size: tuple[int, int]) -> str | None:
        """Any size: what the module cannot take, its own code says."""
        return None

    def build(self, settings: Settings) -> nnx.Module:
        """Builds the network without computing its initial values.

        Raises:
            ValueError: If the module keeps random state of its own.
        """
        network = nnx.eval_shape(lambda: self.make(settings, nnx.Rngs(0)))
        if random := sorted(leaves(network, nnx.RngState)):
            raise ValueError(
                f"the module keeps random state ({', '.join(random)}), wanted none: "
                "give nnx.Dropout its rngs at the call, dropout(x, rngs=rngs), and not "
                "when it is made"
            )
        return network

    def init_rules(self) -> tuple[Rule, ...]:
        """None: the module initialises itself."""
        return ()


@dataclass(frozen=True)
class ModuleClassifier(NetworkClassifier):
    """A classifier whose network is a user's own."""

    architecture: ModuleArchitecture

    def init(self, key: PRNGKey) -> Variables:
        """Makes the module with its own initialisers."""

        @jax.jit
        def make(key):
            return nnx.state(self.architecture.make(self.settings, nnx.Rngs(key)))

        state = nnx.to_flat_state(make(typed_key(key)))
        return {
            ".".join(map(str, path)): np.asarray(leaf.get_value())
            for path, leaf in state
        }

    def apply(self, variables: Variables, images: Images) -> Outputs:
        """Classifies in evaluation mode and checks the shape of the logits."""
        outputs = super().apply(variables, images)
        check_logits(self, outputs, images, "module")
        return outputs

    def apply_train(
        self, variables: Variables, images: Images, key: PRNGKey
    ) -> tuple[Outputs, Variables]:
        """Classifies in training mode and checks the shape of the logits."""
        outputs, updated = super().apply_train(variables, images, key)
        check_logits(self, outputs, images, "module")
        return outputs, updated


@dataclass(frozen=True)
class OwnEntry(registry.ArchitectureEntry):
    """A row of the registry that a user's program added."""

    def build(self) -> ModuleArchitecture:
        """The architecture."""
        return self.arguments["architecture"]

    def rules(self) -> Any:
        """Names as the module has them."""
        from model_zoo.weights.rules import Rules

        return Rules(as_is=True)


def register_model(
    name: str,
    make: Make,
    *,
    input_spec: InputSpec,
    num_features: int | None = None,
) -> None:
    """Adds a user's own NNX module to the zoo of this process.

    `create_model`, `load_pretrained`, sweeps and the command line then know its name,
    and it is trained and evaluated as any other.

    Args:
        name: Without a dot; not one that the zoo has.
        make: `make(settings, rngs)`, giving the module. The module is called as
            `module(images, rngs)`, with normalised images [n, h, w, 3] of
            `settings.dtype` and rngs for `nnx.Dropout(rate)(x, rngs=rngs)` (None in
            evaluation), and gives logits [n, settings.num_classes] or
            `model_zoo.Outputs`. `deterministic` and `use_running_average` of Flax's own
            layers are set for it.
        input_spec: The images it wants.
        num_features: Length of the features in its `Outputs`; None if it gives logits
            alone.

    Raises:
        ValueError: If the name holds a dot or is the zoo's.
    """
    if "." in name or not name:
        raise ValueError(
            f"name is {name!r}, wanted one without a dot, which sets off a tag"
        )
    architecture = ModuleArchitecture(make, num_features)
    arguments = {"architecture": architecture}
    registry.register(OwnEntry(name, "own", arguments, input_spec))
