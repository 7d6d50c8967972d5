"""A user's own optimizer, beside those of the table."""

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxbench.errors import UserError
from jaxbench.training.optimizers.base import Hyper, Leaves, Optimizer
from jaxbench.training.optimizers.catalog import OPTIMIZERS

# Whatever a user gives: it is checked here, with messages of its own.
Factory = Any
# What a factory is tried on: a convolution, and a classifier with a bias.
_SHAPES = {"conv.kernel": (3, 3, 2, 4), "head.kernel": (4, 2), "head.bias": (2,)}


def register_optimizer(
    name: str,
    factory: Factory,
    *,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.0,
    options: Mapping[str, float] | None = None,
    title: str = "",
    reference: str = "",
) -> None:
    """Adds a user's own optimizer to those of this process.

    Sweeps, `train_population`, experiment files and the command line then know its
    name, and it is trained, resumed and compared as any other.

    Args:
        name: Not one that the table has.
        factory: `factory(learning_rate, weight_decay, **options)`, giving a
            `optax.GradientTransformation`. It is called within the compiled step, with
            the rate as scheduled: all arguments are traced float32 scalars, so that one
            program serves the whole grid, and its state must not depend on them. If it
            takes `mask`, it gets which parameters decay (kernels), by name. Or a row
            of the table, for whatever a factory cannot say.
        learning_rate: To start a search from.
        weight_decay: Likewise.
        options: Further hyper-parameters and their values; where None, the factory's
            other arguments whose default is a float.
        title: Its name in tables that people read; `name` where "".
        reference: Address of what defines it.

    Raises:
        UserError: If the name is taken, or the factory cannot be trained with: it gives
            no GradientTransformation, its state changes shape, or `jax.vmap` fails.
    """
    if isinstance(factory, Optimizer):
        row, source = factory, factory.build
    else:
        defaults = {"learning_rate": learning_rate, "weight_decay": weight_decay}
        given = _options(name, factory) if options is None else dict(options)
        row = Optimizer(
            name,
            _builder(name, factory),
            reference,
            MappingProxyType(defaults),
            MappingProxyType(given),
            title or name.rpartition(":")[2],
        )
        source = factory
    if OPTIMIZERS.is_new(name, source):
        _check(name, row)
        OPTIMIZERS.add(name, row, source)


def _parameters(name: str, factory: Factory) -> Mapping[str, inspect.Parameter]:
    if not callable(factory):
        raise UserError(
            f"optimizer {name!r} is a {type(factory).__name__}, wanted a function of "
            "learning_rate and weight_decay"
        )
    return inspect.signature(factory).parameters


def _options(name: str, factory: Factory) -> dict[str, float]:
    """The further arguments of a factory that are floats."""
    return {
        key: parameter.default
        for key, parameter in _parameters(name, factory).items()
        if key not in ("learning_rate", "weight_decay")
        and isinstance(parameter.default, float)
    }


def _builder(name: str, factory: Factory) -> Callable[[Hyper, Leaves], Any]:
    parameters = _parameters(name, factory)
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    named = "weight_decay" in parameters or takes_all
    if not named and len(parameters) < 2:
        raise UserError(
            f"optimizer {name!r} takes {', '.join(parameters) or 'nothing'}, wanted a "
            "function of learning_rate and weight_decay"
        )

    def build(hyper: Hyper, leaves: Leaves) -> Any:
        keywords: dict[str, Any] = dict(hyper.options)
        if "mask" in parameters:
            keywords["mask"] = dict(leaves.decay)
        if named:
            return factory(
                hyper.learning_rate, weight_decay=hyper.weight_decay, **keywords
            )
        return factory(hyper.learning_rate, hyper.weight_decay, **keywords)

    return build


def _check(name: str, row: Optimizer) -> None:
    """Traces a step of two members, as a population takes it.

    Raises:
        UserError: If the optimizer cannot be trained with.
    """
    parameters = {n: jnp.zeros(shape, jnp.float32) for n, shape in _SHAPES.items()}
    leaves = Leaves(
        decay={n: n.endswith("kernel") for n in _SHAPES},
        output={n: n == "head.kernel" for n in _SHAPES},
    )
    made: list[Any] = []

    def step(rate: jax.Array) -> tuple[Any, Any, Any]:
        values = {n: jnp.float32(value) for n, value in row.options.items()}
        made.append(row.build(Hyper(rate, rate, values), leaves))
        if not isinstance(made[-1], optax.GradientTransformation):
            return (), (), parameters
        state = made[-1].init(parameters)
        extra = {} if row.curvature_every is None else {"curvature": parameters}
        updates, after = made[-1].update(parameters, state, parameters, **extra)
        return state, after, updates

    try:
        before, after, updates = jax.eval_shape(jax.vmap(step), jnp.ones(2))
    except Exception as error:
        raise UserError(
            f"optimizer {name!r} fails under jit and vmap, where rate, decay and "
            f"options are traced: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(made[-1], optax.GradientTransformation):
        raise UserError(
            f"optimizer {name!r} gives a {type(made[-1]).__name__}, wanted an "
            "optax.GradientTransformation"
        )
    wanted = jax.eval_shape(jax.vmap(lambda _: parameters), jnp.ones(2))
    pairs = {"its state": (before, after), "updates": (wanted, updates)}
    for what, trees in pairs.items():
        one, other = map(_shapes, trees)
        if one != other:
            raise UserError(
                f"optimizer {name!r}: {what} change in structure, shape or dtype in a "
                f"step, from {one} to {other}"
            )


def _shapes(tree: Any) -> str:
    return str(jax.tree.map(lambda leaf: f"{leaf.dtype}{list(leaf.shape[1:])}", tree))
