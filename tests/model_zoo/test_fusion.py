"""The gradient of a residual stream: made once on CPUs, and the same."""

import jax
import jax.numpy as jnp
import numpy as np

from model_zoo import create_model
from model_zoo.layers.fusion import gradient_made_once

X = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4)), jnp.float32)


def test_value_and_gradient_are_those_of_the_identity():
    def loss(x, hold):
        return (jnp.sin(hold(x)) * jnp.arange(4.0)[None]).sum()

    for grad in (jax.grad, lambda f: jax.jit(jax.grad(f), static_argnums=1)):
        expected = grad(loss)(X, lambda x: x)
        np.testing.assert_allclose(grad(loss)(X, gradient_made_once), expected)
    rows = jax.vmap(jax.grad(lambda x: gradient_made_once(x**2).sum()))(X)
    np.testing.assert_allclose(rows, 2 * X)


def test_a_gradient_that_is_lost_is_lost_as_a_whole():
    slope = jax.grad(lambda x: (gradient_made_once(x) * jnp.nan).sum())(X)
    assert np.isnan(slope).all()


def test_evaluation_is_left_alone_and_training_is_not():
    model = create_model("mixer_micro", num_classes=3)
    images = jax.ShapeDtypeStruct((2, *model.input_spec.size, 3), jnp.float32)

    def train(variables, images):
        outputs, _ = model.apply_train(variables, images, jax.random.key(0))
        return outputs.logits.sum()

    evaluated = jax.make_jaxpr(lambda v, x: model.apply(v, x).logits)
    assert "cond" not in str(evaluated(model.shapes, images))
    trained = str(jax.make_jaxpr(jax.grad(train))(model.shapes, images))
    # Two residual branches a block.
    depth = len({n.split(".")[1] for n in model.shapes if n.startswith("blocks.")})
    assert trained.count("platform_index") >= 2 * depth
