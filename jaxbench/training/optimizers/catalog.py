"""The table of optimizers, each a function of traced hyper-parameters.

An optimizer is built *inside* the traced step from scalars that may be tracers. One
compiled program then serves every learning rate and weight decay, and `jax.vmap` over
the scalars trains several members at once. (`optax.inject_hyperparams` keeps them in
the optimizer's state instead; that fails for some transformations and silently
differs for others.)

The first twenty are those of arXiv 2410.06373, in its order and with its conventions:
where its decay is coupled or decoupled, and the constants of its code. Their rates and
decays are the most frequent of the best that it found on CIFAR-100.

To add an optimizer: a function from `Hyper` and `Leaves` to an
`optax.GradientTransformation`, and a row here. The tests ask each row for an
independent trajectory.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax.numpy as jnp
import optax

from jaxbench.errors import UserError, unknown_name
from jaxbench.own import Table
from jaxbench.training.optimizers.adabound import adabound
from jaxbench.training.optimizers.adam import adafactor, adam, adamax, adamw, adopt
from jaxbench.training.optimizers.adan import adan
from jaxbench.training.optimizers.base import Hyper, Leaves, Optimizer
from jaxbench.training.optimizers.descent import adadelta, adagrad, lion, rmsprop, sgd
from jaxbench.training.optimizers.layerwise import lamb, lars, novograd
from jaxbench.training.optimizers.mars import mars
from jaxbench.training.optimizers.muon import muon
from jaxbench.training.optimizers.nadam import nadam
from jaxbench.training.optimizers.prodigy import prodigy
from jaxbench.training.optimizers.projection import adamp, sgdp
from jaxbench.training.optimizers.rectified import adabelief, radam
from jaxbench.training.optimizers.schedule_free import averaged, schedule_free_adamw
from jaxbench.training.optimizers.soap import soap
from jaxbench.training.optimizers.sophia import CURVATURE_EVERY, sophia

_ADAM = MappingProxyType({"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8})
_PROJECTION = MappingProxyType({"epsilon": 1e-8, "delta": 0.1, "wd_ratio": 0.1})


def _row(
    build: Callable[[Hyper, Leaves], optax.GradientTransformation],
    title: str,
    reference: str,
    *,
    learning_rate: float,
    weight_decay: float,
    options: Mapping[str, float],
    **others,
) -> Optimizer:
    defaults = {"learning_rate": learning_rate, "weight_decay": weight_decay}
    return Optimizer(
        build.__name__,
        build,
        reference,
        MappingProxyType(defaults),
        MappingProxyType(dict(options)),
        title,
        **others,
    )


_FIXED_RATE = (
    _row(
        sgd,
        "SGD-M",
        "https://proceedings.mlr.press/v28/sutskever13.html",
        learning_rate=0.1,
        weight_decay=1e-4,
        options={"momentum": 0.9},
        decoupled=False,
    ),
    _row(
        sgdp,
        "SGDP",
        "https://arxiv.org/abs/2006.08217",
        learning_rate=0.1,
        weight_decay=1e-4,
        options={"momentum": 0.9, **_PROJECTION},
    ),
    _row(
        lion,
        "LION",
        "https://arxiv.org/abs/2302.06675",
        learning_rate=1e-4,
        weight_decay=0.0,
        options={"beta1": 0.9, "beta2": 0.99},
    ),
)

_ADAPTIVE_WITH_MOMENTUM = (
    _row(
        adam,
        "Adam",
        "https://arxiv.org/abs/1412.6980",
        learning_rate=5e-4,
        weight_decay=1e-8,
        options=_ADAM,
        decoupled=False,
    ),
    _row(
        adamax,
        "Adamax",
        "https://arxiv.org/abs/1412.6980",
        learning_rate=1e-3,
        weight_decay=1e-4,
        options=_ADAM,
        decoupled=False,
    ),
    _row(
        nadam,
        "NAdam",
        "https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ",
        learning_rate=5e-4,
        weight_decay=0.0,
        options={**_ADAM, "momentum_decay": 4e-3},
        decoupled=False,
    ),
    _row(
        adamw,
        "AdamW",
        "https://arxiv.org/abs/1711.05101",
        learning_rate=5e-4,
        weight_decay=0.05,
        options=_ADAM,
    ),
    _row(
        lamb,
        "LAMB",
        "https://arxiv.org/abs/1904.00962",
        learning_rate=5e-3,
        weight_decay=0.05,
        options={**_ADAM, "epsilon": 1e-6, "max_grad_norm": 1.0},
    ),
    _row(
        radam,
        "RAdam",
        "https://arxiv.org/abs/1908.03265",
        learning_rate=1e-3,
        weight_decay=0.0,
        options=_ADAM,
    ),
    _row(
        adamp,
        "AdamP",
        "https://arxiv.org/abs/2006.08217",
        learning_rate=1e-3,
        weight_decay=0.05,
        options={**_ADAM, **_PROJECTION},
    ),
    _row(
        adan,
        "Adan",
        "https://arxiv.org/abs/2208.06677",
        learning_rate=2e-3,
        weight_decay=0.05,
        options={
            "beta1": 0.98,
            "beta2": 0.92,
            "beta3": 0.99,
            "epsilon": 1e-8,
            "max_grad_norm": 5.0,
        },
    ),
)

_ESTIMATED_RATE = (
    _row(
        adabound,
        "AdaBound",
        "https://arxiv.org/abs/1902.09843",
        learning_rate=5e-4,
        weight_decay=1e-4,
        options={**_ADAM, "final_learning_rate": 0.1, "gamma": 1e-3},
    ),
    _row(
        lars,
        "LARS",
        "https://arxiv.org/abs/1708.03888",
        learning_rate=1.2,
        weight_decay=1e-6,
        options={"momentum": 0.9, "trust": 1e-3},
    ),
    _row(
        adafactor,
        "AdaFactor",
        "https://arxiv.org/abs/1804.04235",
        learning_rate=5e-4,
        weight_decay=0.01,
        options={"decay_rate": 0.8, "epsilon": 1e-30, "clip_threshold": 1.0},
    ),
    _row(
        adabelief,
        "AdaBelief",
        "https://arxiv.org/abs/2010.07468",
        learning_rate=5e-3,
        weight_decay=0.01,
        options={**_ADAM, "epsilon": 1e-16},
    ),
    _row(
        novograd,
        "NovoGrad",
        "https://arxiv.org/abs/1905.11286",
        learning_rate=2e-3,
        weight_decay=0.01,
        options={"beta1": 0.95, "beta2": 0.98, "epsilon": 1e-8},
    ),
    _row(
        sophia,
        "Sophia",
        "https://arxiv.org/abs/2305.14342",
        learning_rate=1e-4,
        weight_decay=0.1,
        options={"beta1": 0.965, "beta2": 0.99, "rho": 0.04},
        curvature_every=CURVATURE_EVERY,
    ),
)

_ADAPTIVE_WITHOUT_MOMENTUM = (
    _row(
        adagrad,
        "AdaGrad",
        "https://jmlr.org/papers/v12/duchi11a.html",
        learning_rate=5e-4,
        weight_decay=1e-4,
        options={"epsilon": 1e-10},
        decoupled=False,
    ),
    _row(
        adadelta,
        "AdaDelta",
        "https://arxiv.org/abs/1212.5701",
        learning_rate=2.0,
        weight_decay=0.0,
        options={"rho": 0.9, "epsilon": 1e-6},
        decoupled=False,
    ),
    _row(
        rmsprop,
        "RMSProp",
        "https://www.cs.toronto.edu/~tijmen/csc321/slides/lecture_slides_lec6.pdf",
        learning_rate=5e-4,
        weight_decay=0.0,
        options={"alpha": 0.99, "epsilon": 1e-8},
        decoupled=False,
    ),
)

# Rates as their authors advise (Muon: as AdamW, see there), and the decay of AdamW.
_LATER = (
    _row(
        muon,
        "Muon",
        "https://kellerjordan.github.io/posts/muon/",
        learning_rate=1e-3,
        weight_decay=0.05,
        options={"momentum": 0.95, **_ADAM},
    ),
    _row(
        soap,
        "SOAP",
        "https://arxiv.org/abs/2409.11321",
        learning_rate=3e-3,
        weight_decay=0.05,
        options={
            "beta1": 0.95,
            "beta2": 0.95,
            "shampoo_beta": 0.95,
            "epsilon": 1e-8,
        },
    ),
    _row(
        schedule_free_adamw,
        "Schedule-Free AdamW",
        "https://arxiv.org/abs/2405.15682",
        learning_rate=2.5e-3,
        weight_decay=0.05,
        options=_ADAM,
        evaluated=averaged,
        single_rate="the iterate behind its average moves by one rate",
    ),
    _row(
        prodigy,
        "Prodigy",
        "https://arxiv.org/abs/2306.06101",
        learning_rate=1.0,
        weight_decay=0.05,
        options={**_ADAM, "d0": 1e-6, "d_coef": 1.0},
        single_rate="it estimates one rate from the distance that all parameters have "
        "moved, and its authors' code refuses several too",
    ),
    _row(
        adopt,
        "ADOPT",
        "https://arxiv.org/abs/2411.02853",
        learning_rate=1e-3,
        weight_decay=0.05,
        options={"beta1": 0.9, "beta2": 0.9999, "epsilon": 1e-6},
    ),
    _row(
        mars,
        "MARS",
        "https://arxiv.org/abs/2411.10438",
        learning_rate=3e-3,
        weight_decay=0.05,
        options={"beta1": 0.95, "beta2": 0.99, "epsilon": 1e-8, "gamma": 0.025},
    ),
)

OPTIMIZERS: Table[Optimizer] = Table(
    "optimizer",
    {
        row.name: row
        for rows in (
            _FIXED_RATE,
            _ADAPTIVE_WITH_MOMENTUM,
            _ESTIMATED_RATE,
            _ADAPTIVE_WITHOUT_MOMENTUM,
            _LATER,
        )
        for row in rows
    },
)


def get_optimizer(name: str) -> Optimizer:
    """Looks an optimizer up.

    Raises:
        UserError: If there is none of that name; the nearest names are given.
    """
    if name not in OPTIMIZERS:
        raise UserError(unknown_name("optimizer", name, OPTIMIZERS))
    return OPTIMIZERS[name]


def hyper_for(
    optimizer: Optimizer, learning_rate: float, weight_decay: float, **options: float
) -> Hyper:
    """Hyper-parameters as arrays; options that are not given have the row's values.

    Raises:
        UserError: If the optimizer has no such option.
    """
    for name in options:
        if name not in optimizer.options:
            kind = f"option of {optimizer.name}"
            raise UserError(unknown_name(kind, name, optimizer.options))
    values = {**optimizer.options, **options}
    return Hyper(
        jnp.float32(learning_rate),
        jnp.float32(weight_decay),
        {name: jnp.float32(value) for name, value in values.items()},
    )
