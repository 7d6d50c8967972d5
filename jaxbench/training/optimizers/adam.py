"""Adam and those of its kin for which optax has the arithmetic.

The notation is that of `descent.py`.
"""

import jax
import jax.numpy as jnp
import optax

from jaxbench.training.optimizers.base import (
    Hyper,
    Leaves,
    add_decay,
    descend,
    transformation,
)


def scale_by_adam(hyper: Hyper) -> optax.GradientTransformation:
    """Adam's direction with the betas and the epsilon of the options."""
    options = hyper.options
    return optax.scale_by_adam(
        b1=options["beta1"], b2=options["beta2"], eps=options["epsilon"]
    )


def adam(hyper: Hyper, leaves: Leaves) -> optax.GradientTransformation:
    """Gradients over their root mean square, both averaged; coupled decay.

        d_t = g_t + lambda p_{t-1}
        m_t = beta1 m_{t-1} + (1 - beta1) d_t
        v_t = beta2 v_{t-1} + (1 - beta2) d_t^2
        p_t = p_{t-1} - eta_t m'_t / (sqrt(v'_t) + epsilon)
        with m'_t = m_t / (1 - beta1^t) and v'_t = v_t / (1 - beta2^t)

    Kingma & Ba (2015), algorithm 1, https://arxiv.org/abs/1412.6980. The coupled decay
    (L2 penalty) is that of torch.
    """
    return optax.chain(add_decay(hyper, leaves), scale_by_adam(hyper), descend(hyper))


def adamw(hyper: Hyper, leaves: Leaves) -> optax.GradientTransformation:
    """Adam with decoupled weight decay.

        m_t = beta1 m_{t-1} + (1 - beta1) g_t
        v_t = beta2 v_{t-1} + (1 - beta2) g_t^2
        p_t = p_{t-1} - eta_t (m'_t / (sqrt(v'_t) + epsilon) + lambda p_{t-1})
        with m'_t = m_t / (1 - beta1^t) and v'_t = v_t / (1 - beta2^t)

    Loshchilov & Hutter (2019), algorithm 2, https://arxiv.org/abs/1711.05101. As in
    torch and optax, and other than in the paper, the decay is multiplied by the whole
    learning rate and not by its schedule alone.
    """
    return optax.chain(scale_by_adam(hyper), add_decay(hyper, leaves), descend(hyper))


def adamax(hyper: Hyper, leaves: Leaves) -> optax.GradientTransformation:
    """Adam with a decaying maximum in place of the second moment; coupled decay.

        d_t = g_t + lambda p_{t-1}
        m_t = beta1 m_{t-1} + (1 - beta1) d_t
        u_t = max(beta2 u_{t-1}, |d_t| + epsilon)
        p_t = p_{t-1} - eta_t / (1 - beta1^t) m_t / u_t

    Kingma & Ba (2015), algorithm 2, https://arxiv.org/abs/1412.6980; epsilon
    and the coupled decay are those of torch.
    """
    options = hyper.options
    return optax.chain(
        add_decay(hyper, leaves),
        optax.scale_by_adamax(
            b1=options["beta1"], b2=options["beta2"], eps=options["epsilon"]
        ),
        descend(hyper),
    )


# Smaller axes are not worth factoring: as timm, which asks for more than 16.
_SMALLEST_FACTORED = 17


def adafactor(hyper: Hyper, leaves: Leaves) -> optax.GradientTransformation:
    """Second moments of matrices from their rows and columns; decoupled decay.

        b_t = 1 - t^-decay_rate
        v_t = b_t v_{t-1} + (1 - b_t) (g_t^2 + epsilon)
        u_t = g_t / sqrt(v_t)
        p_t = p_{t-1} - eta_t (u_t / max(1, rms(u_t) / clip_threshold)
                               + lambda p_{t-1})

    of v, where both channel axes of a kernel are longer than 16, only the means over
    its rows and over its columns are kept, and v is their product over the mean.

    Shazeer & Stern (2018), algorithms 4 and 5, https://arxiv.org/abs/1804.04235, with a
    rate from outside and without a first moment. The published implementations (those
    of fairseq, timm and arXiv 2410.06373 alike) multiply by the scale of the parameter
    only if they choose the rate themselves; with a rate from outside it has no effect,
    although they call it `scale_parameter=True`. So there is none here. The axes are
    timm's: arXiv 2410.06373 factors a convolution over its window, and everything of
    two axes and more.
    """
    options = hyper.options
    return optax.chain(
        optax.scale_by_factored_rms(
            decay_rate=options["decay_rate"],
            min_dim_size_to_factor=_SMALLEST_FACTORED,
            epsilon=options["epsilon"],
        ),
        optax.clip_by_block_rms(options["clip_threshold"]),
        add_decay(hyper, leaves),
        descend(hyper),
    )


def adopt(hyper: Hyper, leaves: Leaves) -> optax.GradientTransformation:
    """Adam that divides by the second moment before the newest gradient.

        v_1 = g_1^2, p_1 = p_0, and for t > 1
        c_t = (t - 1)^(1/4)
        m_t = beta1 m_{t-1}
              + (1 - beta1) clip(g_t / max(sqrt(v_{t-1}), epsilon), -c_t, c_t)
        v_t = beta2 v_{t-1} + (1 - beta2) g_t^2
        p_t = p_{t-1} - eta_t (m_t + lambda p_{t-1})

    Taniguchi et al. (2024), algorithm 2 with the clipping of its authors' code,
    https://arxiv.org/abs/2411.02853. The decay is decoupled, and as in that code the
    first step leaves the parameters as they are. (timm's bound is t^0.333.)
    """
    options = hyper.options
    scale = optax.contrib.scale_by_adopt(
        b1=options["beta1"], b2=options["beta2"], eps=options["epsilon"]
    )
    decay = add_decay(hyper, leaves)

    def update(gradients, state, parameters):
        directions, new = scale.update(gradients, state)
        decayed, _ = decay.update(directions, decay.init(parameters), parameters)
        rate = jnp.where(state.count > 0, hyper.learning_rate, 0)
        return jax.tree.map(lambda u: -rate * u, decayed), new

    return transformation(scale.init, update)
