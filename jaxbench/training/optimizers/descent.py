"""Optimizers with one rate for all parameters, or a rate from accumulated squares.

Notation of this package: t counts steps from 1, g is the gradient, p the parameters,
eta the learning rate of the step, lambda the weight decay, which is zero for parameters
that are not to decay, and every operation is elementwise unless said otherwise. Moments
start at zero.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxbench.training.optimizers.base import (
    Hyper,
    Leaves,
    Parameters,
    add_decay,
    descend,
    transformation,
)


def sgd(hyper: Hyper, leaves: Leaves) -> optax.GradientTransformation:
    """Stochastic gradient descent with heavy-ball momentum and coupled decay.

        d_t = g_t + lambda p_{t-1}
        m_t = momentum m_{t-1} + d_t
        p_t = p_{t-1} - eta_t m_t

    Sutskever et al. (2013), https://proceedings.mlr.press/v28/sutskever13.html, in the
    form of torch: the rate stands outside the momentum, so that a change of rate acts
    at once; the momentum is not damped; the decay passes through it (L2 penalty).
    """
    return optax.chain(
        add_decay(hyper, leaves),
        optax.trace(decay=hyper.options["momentum"], nesterov=False),
        descend(hyper),
    )


def lion(hyper: Hyper, leaves: Leaves) -> optax.GradientTransformation:
    """Sign of an interpolated momentum, with decoupled weight decay.

        u_t = sign(beta1 m_{t-1} + (1 - beta1) g_t)
        m_t = beta2 m_{t-1} + (1 - beta2) g_t
        p_t = p_{t-1} - eta_t (u_t + lambda p_{t-1})

    Chen et al. (2023), algorithm 2, https://arxiv.org/abs/2302.06675; no deviation. The
    paper advises a rate 3 to 10 times smaller than AdamW's and a decay as many times
    larger.
    """
    return optax.chain(
        optax.scale_by_lion(b1=hyper.options["beta1"], b2=hyper.options["beta2"]),
        add_decay(hyper, leaves),
        descend(hyper),
    )


class _SquaresState(NamedTuple):
    squares: Parameters


def _scale_by_sum_of_squares(epsilon) -> optax.GradientTransformation:
    """Divides by the root of the sum of all squared gradients so far."""

    def init(parameters):
        return _SquaresState(jax.tree.map(jnp.zeros_like, parameters))

    def update(gradients, state, parameters=None):
        del parameters
        squares = jax.tree.map(lambda s, g: s + g * g, state.squares, gradients)
        updates = jax.tree.map(
            lambda g, s: g / (jnp.sqrt(s) + epsilon), gradients, squares
        )
        return updates, _SquaresState(squares)

    return transformation(init, update)


def adagrad(hyper: Hyper, leaves: Leaves) -> optax.GradientTransformation:
    """Rates from the sum of squared gradients, with coupled decay.

        d_t = g_t + lambda p_{t-1}
        s_t = s_{t-1} + d_t^2
        p_t = p_{t-1} - eta_t d_t / (sqrt(s_t) + epsilon)

    Duchi et al. (2011), https://jmlr.org/papers/v12/duchi11a.html, in the form of
    torch: the sum starts at 0 (optax: 0.1) and epsilon is added to the root (optax:
    under it).
    """
    return optax.chain(
        add_decay(hyper, leaves),
        _scale_by_sum_of_squares(hyper.options["epsilon"]),
        descend(hyper),
    )


def adadelta(hyper: Hyper, leaves: Leaves) -> optax.GradientTransformation:
    """Steps in the unit of the parameters, from two running squares; coupled decay.

        d_t = g_t + lambda p_{t-1}
        v_t = rho v_{t-1} + (1 - rho) d_t^2
        u_t = sqrt(x_{t-1} + epsilon) / sqrt(v_t + epsilon) d_t
        x_t = rho x_{t-1} + (1 - rho) u_t^2
        p_t = p_{t-1} - eta_t u_t

    Zeiler (2012), algorithm 1, https://arxiv.org/abs/1212.5701, where eta is 1; the
    rate and the coupled decay are those of torch.
    """
    return optax.chain(
        add_decay(hyper, leaves),
        optax.scale_by_adadelta(rho=hyper.options["rho"], eps=hyper.options["epsilon"]),
        descend(hyper),
    )


def rmsprop(hyper: Hyper, leaves: Leaves) -> optax.GradientTransformation:
    """Gradients over their running root mean square, with coupled decay.

        d_t = g_t + lambda p_{t-1}
        v_t = alpha v_{t-1} + (1 - alpha) d_t^2
        p_t = p_{t-1} - eta_t d_t / (sqrt(v_t) + epsilon)

    Hinton's lecture 6e (2012),
    https://www.cs.toronto.edu/~tijmen/csc321/slides/lecture_slides_lec6.pdf, in the
    form of torch: epsilon outside the root, no momentum, no centring. The lecture's
    alpha is 0.9, torch's and the default here 0.99.
    """
    return optax.chain(
        add_decay(hyper, leaves),
        optax.scale_by_rms(
            decay=hyper.options["alpha"],
            eps=hyper.options["epsilon"],
            eps_in_sqrt=False,
        ),
        descend(hyper),
    )
