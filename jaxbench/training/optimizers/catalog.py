"""The table of optimizers, each a function of traced hyper-parameters.

An optimizer is built *inside* the traced step from scalars that may be tracers. One
compiled program then serves every learning rate and weight decay, and `jax.vmap` over
the scalars trains several members at once. (`optax.inject_hyperparams` keeps them in
the optimizer's state instead; that fails for some transformations and silently
differs for others.)

In the formulae of this file, t counts steps from 1, g is the gradient, eta the learning
rate of the step, lambda the weight decay, which is zero for parameters that are not to
decay, and every operation is elementwise.

To add an optimizer: a function from `Hyper` and a mask to an
`optax.GradientTransformation`, and a row in `OPTIMIZERS`. The tests ask each row for an
independent trajectory.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

import jax
import optax
from jaxtyping import Array, Float

from jaxbench.errors import UserError, unknown_name


class Hyper(NamedTuple):
    """The hyper-parameters of one step, float32 scalars that may be traced.

    Attributes:
        learning_rate: As scheduled for this step.
        weight_decay: Of the parameters that decay.
    """

    learning_rate: Float[Array, ""]
    weight_decay: Float[Array, ""]


DecayMask = Mapping[str, bool]


@dataclass(frozen=True)
class Optimizer:
    """One row of the table.

    Attributes:
        name: Its name in `OPTIMIZERS`.
        build: From the step's hyper-parameters and the mask of the parameters that
            decay (name to bool, with the structure of the parameters) to the
            transformation. Its state must depend on the parameters only: neither
            shapes nor initial values may come from the hyper-parameters.
        reference: Address of the paper that defines it.
        defaults: `learning_rate` and `weight_decay` to start a search from.
    """

    name: str
    build: Callable[[Hyper, DecayMask], optax.GradientTransformation]
    reference: str
    defaults: Mapping[str, float] = field(compare=False)


def sgd(hyper: Hyper, mask: DecayMask) -> optax.GradientTransformation:
    """Stochastic gradient descent with heavy-ball momentum and coupled decay.

        d_t = g_t + lambda p_{t-1}
        m_t = 0.9 m_{t-1} + d_t,  m_0 = 0
        p_t = p_{t-1} - eta_t m_t

    Sutskever et al. (2013), https://proceedings.mlr.press/v28/sutskever13.html, in the
    form of torch: the rate stands outside the momentum, so that a change of rate acts
    at once; the momentum is not damped; the decay passes through it (L2 penalty).
    """
    return optax.chain(
        optax.add_decayed_weights(hyper.weight_decay, mask=mask),
        optax.trace(decay=0.9, nesterov=False),
        _descend(hyper),
    )


def adamw(hyper: Hyper, mask: DecayMask) -> optax.GradientTransformation:
    """Adam with decoupled weight decay.

        m_t = 0.9 m_{t-1} + 0.1 g_t
        v_t = 0.999 v_{t-1} + 0.001 g_t^2
        p_t = p_{t-1} - eta_t (m'_t / (sqrt(v'_t) + 1e-8) + lambda p_{t-1})
        with m'_t = m_t / (1 - 0.9^t) and v'_t = v_t / (1 - 0.999^t)

    Loshchilov & Hutter (2019), algorithm 2, https://arxiv.org/abs/1711.05101. As in
    torch and optax, and other than in the paper, the decay is multiplied by the whole
    learning rate and not by its schedule alone.
    """
    return optax.chain(
        optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-8),
        optax.add_decayed_weights(hyper.weight_decay, mask=mask),
        _descend(hyper),
    )


def lion(hyper: Hyper, mask: DecayMask) -> optax.GradientTransformation:
    """Sign of an interpolated momentum, with decoupled weight decay.

        u_t = sign(0.9 m_{t-1} + 0.1 g_t)
        m_t = 0.99 m_{t-1} + 0.01 g_t,  m_0 = 0
        p_t = p_{t-1} - eta_t (u_t + lambda p_{t-1})

    Chen et al. (2023), algorithm 2, https://arxiv.org/abs/2302.06675; no deviation. The
    paper advises a rate 3 to 10 times smaller than AdamW's and a decay as many times
    larger.
    """
    return optax.chain(
        optax.scale_by_lion(b1=0.9, b2=0.99),
        optax.add_decayed_weights(hyper.weight_decay, mask=mask),
        _descend(hyper),
    )


def _descend(hyper: Hyper) -> optax.GradientTransformation:
    """Turns a direction of ascent into a step of the traced learning rate."""
    return optax.stateless(
        lambda updates, _: jax.tree.map(lambda u: -hyper.learning_rate * u, updates)
    )


def _row(build, reference: str, *, learning_rate: float, weight_decay: float):
    defaults = {"learning_rate": learning_rate, "weight_decay": weight_decay}
    return Optimizer(build.__name__, build, reference, MappingProxyType(defaults))


_ROWS = (
    _row(
        sgd,
        "https://proceedings.mlr.press/v28/sutskever13.html",
        learning_rate=0.1,
        weight_decay=5e-4,
    ),
    _row(
        adamw,
        "https://arxiv.org/abs/1711.05101",
        learning_rate=1e-3,
        weight_decay=0.05,
    ),
    _row(
        lion,
        "https://arxiv.org/abs/2302.06675",
        learning_rate=1e-4,
        weight_decay=0.5,
    ),
)

OPTIMIZERS: Mapping[str, Optimizer] = MappingProxyType({row.name: row for row in _ROWS})


def get_optimizer(name: str) -> Optimizer:
    """Looks an optimizer up.

    Raises:
        UserError: If there is none of that name; the nearest names are given.
    """
    if name not in OPTIMIZERS:
        raise UserError(unknown_name("optimizer", name, OPTIMIZERS))
    return OPTIMIZERS[name]
