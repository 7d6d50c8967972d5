"""Where training starts: from scratch, or from weights that were trained before."""

import fnmatch
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxbench.errors import UserError, unknown_name
from jaxbench.training.depth import depth_rates
from jaxbench.training.members import Trainable, initial_variables


@dataclass(frozen=True, eq=False)
class Start:
    """What a population starts from.

    Attributes:
        variables: Trained weights, flat. Those that are missing, or whose shape another
            number of classes decides, are a new head: each member draws it from its
            seed. None trains from scratch.
        layer_decay: Learning rates fall by this factor from each layer to the one
            before it, in (0, 1]; 1 trains all alike. See `depth_rates`.
        frozen: Patterns of names (`fnmatch`) of variables that are not trained, running
            statistics included; a pattern with `!` in front trains again what ones
            before it froze. `("*", "!head.*")` trains the head alone. Frozen
            normalisation still normalises with the statistics of the batch, as the
            rest of the network does in training.
        name: Says which weights these are, for the settings of a checkpoint.
    """

    variables: Mapping[str, Any] | None = None
    layer_decay: float = 1.0
    frozen: tuple[str, ...] = ()
    name: str = "scratch"


def start_problems(classifier: Trainable, begin: Start) -> Iterator[str]:
    """Lists what does not fit."""
    if not 0 < begin.layer_decay <= 1:
        yield f"layer_decay is {begin.layer_decay!r}, wanted a number in (0, 1]"
    if begin.frozen and begin.variables is None:
        yield (
            "parts are frozen without weights to start from; what is drawn at "
            "random should be trained"
        )
    known = (*classifier.parameter_names, *classifier.state_names)
    for pattern in begin.frozen:
        if not fnmatch.filter(known, pattern.removeprefix("!")):
            yield unknown_name("frozen part", pattern, known)
    if not classifier.parameter_names - frozen_names(classifier, begin):
        yield "every parameter is frozen; nothing is left to train"


def frozen_names(classifier: Trainable, begin: Start) -> frozenset[str]:
    """The variables that `begin.frozen` names."""
    known = classifier.parameter_names | classifier.state_names
    frozen: set[str] = set()
    for pattern in begin.frozen:
        named = fnmatch.filter(known, pattern.removeprefix("!"))
        frozen = frozen - set(named) if pattern[:1] == "!" else frozen | set(named)
    return frozenset(frozen)


def starting_variables(
    classifier: Trainable, begin: Start, seed: int
) -> dict[str, np.ndarray]:
    """A member's variables before the first step.

    Raises:
        UserError: If the weights are another network's, or a frozen part is not among
            them.
    """
    drawn = initial_variables(classifier, seed)
    if begin.variables is None:
        return drawn
    given = {name: np.asarray(value) for name, value in begin.variables.items()}
    new_head = {
        name
        for name, value in drawn.items()
        if name not in given or given[name].shape != value.shape
    }
    problems = [
        *_shape_problems(classifier, drawn, given, new_head),
        *(
            f"{name} is frozen, and the weights do not have it"
            for name in sorted(new_head & frozen_names(classifier, begin))
        ),
    ]
    if problems:
        raise UserError(
            f"{classifier.name} cannot start from {begin.name}: {'; '.join(problems)}"
        )
    return {
        name: value if name in new_head else given[name].astype(value.dtype)
        for name, value in drawn.items()
    }


def _shape_problems(
    classifier: Trainable,
    drawn: Mapping[str, np.ndarray],
    given: Mapping[str, np.ndarray],
    new_head: Iterable[str],
) -> Iterator[str]:
    layers = {name.rpartition(".")[0] for name in output_names(classifier)}
    for name in sorted(new_head):
        shape = drawn[name].shape
        found = given[name].shape if name in given else None
        # The output layer's leaves end with the classes, and may have other ones.
        of_head = name.rpartition(".")[0] in layers
        if not of_head or (found is not None and found[:-1] != shape[:-1]):
            what = "missing" if found is None else str(found)
            yield f"{name} is {what}, wanted {shape}"


def learning_rates(classifier: Any, begin: Start) -> tuple[tuple[str, float], ...]:
    """Factor of the learning rate by trained parameter, where it is not 1."""
    if begin.layer_decay == 1:
        return ()
    frozen = frozen_names(classifier, begin)
    rates = depth_rates(classifier, begin.layer_decay)
    return tuple((n, rate) for n, rate in sorted(rates.items()) if n not in frozen)


def output_names(classifier: Trainable) -> frozenset[str]:
    """Kernels of the output layer: two-dimensional, their columns the classes."""
    return frozenset(
        name
        for name, leaf in classifier.shapes.items()
        if name.endswith("kernel")
        and len(leaf.shape) == 2
        and leaf.shape[-1] == classifier.num_classes
    )
