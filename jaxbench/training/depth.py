"""How deep in a network each parameter stands, whatever its family."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxbench.errors import UserError

# A component that counts: a bare number, or a word that the families number.
_COUNT = r"(?:\d+|(?:layer|stage|blocks?|denseblock|denselayer|transition|s|b)\d+)"
_BLOCK = re.compile(
    rf"(?!stem|patch_embed|head)(?:features\.)?(?:[a-z_]+\.)?{_COUNT}(?:\.(?:(?:blocks|layers)\.)?{_COUNT})?(?=\.|$)"
)
# Calls that are part of the graph they stand in; loops and conditions count as one use.
_INLINED = ("jaxpr", "call_jaxpr", "fun_jaxpr")


def depth_rates(classifier: Any, decay: float) -> dict[str, float]:
    """A factor of the learning rate for each parameter, smaller towards the images.

    The layer closest to the logits has factor 1, the one before it `decay`, the next
    `decay^2`. A layer is a block, `blocks.3` or `layer2.0`; what comes before the first
    block is one layer, as is what comes after the last. Which comes first is read from
    the order in which the network uses its parameters. Clark et al. (2020), section
    3.1, https://arxiv.org/abs/2003.10555; Bao et al. (2022), appendix.

    Args:
        classifier: A network of the zoo.
        decay: In (0, 1].

    Returns:
        Parameter name to factor in (0, 1].

    Raises:
        UserError: If the network's names show no blocks.
    """
    uses = first_uses(classifier)
    names = [name for name in uses if name in classifier.parameter_names]
    begins: dict[str, int] = {}
    for name in names:
        if block := _block(name):
            begins[block] = min(begins.get(block, uses[name]), uses[name])
    if not begins:
        raise UserError(
            f"the blocks of {classifier.name} cannot be found by the names of its "
            "parameters, so rates cannot fall with depth; set layer_decay to 1"
        )
    # What leads into a stage (`stages.1.downsample`) belongs to its first block.
    for outer in sorted(begins):
        inner = [block for block in begins if block.startswith(f"{outer}.")]
        if inner:
            first = min(inner, key=begins.__getitem__)
            begins[first] = min(begins[first], begins[outer])
            begins[outer] = begins[first]
    order = sorted(set(begins.values()))
    # The stem is place 0; what is read between blocks belongs to the next of them.
    last = len(order) + 1
    places = {
        name: 1 + order.index(begins[block])
        if (block := _block(name))
        else _place(uses[name], order)
        for name in names
    }
    return {name: decay ** (last - place) for name, place in places.items()}


def _place(use: int, order: list[int]) -> int:
    """Which layer a parameter outside the blocks belongs to, by when it is read."""
    following = [place for place, begin in enumerate(order, start=1) if begin > use]
    if following and following[0] == 1:
        return 0
    return following[0] if following else len(order) + 1


def first_uses(classifier: Any) -> dict[str, int]:
    """Name of each variable to the place of the first operation that reads it."""
    size = tuple(classifier.input_spec.size)
    image = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    variables = classifier.shapes
    names = sorted(variables)

    def logits(leaves, image):
        return classifier.apply(dict(zip(names, leaves, strict=True)), image).logits

    graph = jax.make_jaxpr(logits)([variables[name] for name in names], image).jaxpr
    known = dict(zip(graph.invars[: len(names)], names, strict=True))
    uses: dict[str, int] = {}
    for place, name in enumerate(_reads(graph, known)):
        uses.setdefault(name, place)
    # What the logits do not depend on stands nowhere; it is as good as the head.
    return {name: uses.get(name, len(uses) * len(names)) for name in names}


def _reads(graph: Any, known: Mapping[Any, str]) -> Iterator[str]:
    """Names in the order in which operations read them, repeats included."""
    known = dict(known)
    for equation in graph.eqns:
        read = [v for v in equation.invars if not hasattr(v, "val") and v in known]
        inner = next(
            (equation.params[n] for n in _INLINED if n in equation.params), None
        )
        if inner is None or len(_open(inner).invars) != len(equation.invars):
            yield from (known[variable] for variable in read)
            continue
        body = _open(inner)
        passed = {
            theirs: known[ours]
            for ours, theirs in zip(equation.invars, body.invars, strict=True)
            if not hasattr(ours, "val") and ours in known
        }
        yield from _reads(body, passed)


def _open(graph: Any) -> Any:
    """The graph itself, where it comes with its constants."""
    return getattr(graph, "jaxpr", graph)


def _block(name: str) -> str:
    """The block that a parameter belongs to, as its name says; empty without one."""
    found = _BLOCK.match(name)
    return found[0] if found else ""
