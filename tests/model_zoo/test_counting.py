"""Multiply-accumulates, against counts by hand and published ones."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest

from model_zoo import InputSpec, classifier_from_function, create_model
from model_zoo.counting import _count, count_macs
from model_zoo.layers.convolution import convolve


def count(function, *shapes):
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return _count(jax.make_jaxpr(function)(*arguments).jaxpr)


def test_products():
    assert count(jnp.matmul, (2, 3, 4), (4, 5)) == 2 * 3 * 4 * 5
    product = partial(jnp.einsum, "bqhd,bkhd->bhqk")
    assert count(product, (2, 3, 4, 5), (2, 6, 4, 5)) == 2 * 4 * 3 * 6 * 5
    assert count(lambda x: jax.nn.gelu(x + 1).mean(), (7, 8)) == 0


@pytest.mark.parametrize("groups", [1, 2, 4, 8])
def test_convolutions_count_as_such_in_whichever_form(groups):
    convolution = partial(convolve, stride=2, padding=(1, 1), groups=groups)
    found = count(convolution, (1, 6, 10, 8), (3, 3, 8 // groups, 16))
    assert found == 3 * 5 * 16 * 9 * 8 // groups


def test_what_is_inside():
    def scanned(x, w):
        return jax.lax.scan(lambda x, _: (x @ w, None), x, length=5)[0]

    def branched(x, w):
        return jax.lax.cond(x.sum() > 0, lambda: x @ w, lambda: (x @ w) @ w)

    def looped(x, w):
        return jax.lax.while_loop(lambda x: x.sum() > 0, lambda x: x @ w, x)

    shapes = (2, 3), (3, 3)
    assert count(scanned, *shapes) == 5 * 18
    assert count(branched, *shapes) == 2 * 18
    assert count(jax.checkpoint(jax.jit(jnp.matmul)), *shapes) == 18
    with pytest.raises(ValueError, match="unknown length"):
        count(looped, *shapes)


# By torch.utils.flop_counter.FlopCounterMode on timm's models, halved; the fast forms
# of no backend, and no choice of ours, may change them.
@pytest.mark.parametrize(
    ("name", "macs"),
    [
        ("resnet50", 4_089_184_256),
        ("convnext_tiny", 4_455_531_264),
        ("vit_small_patch16_224", 4_598_882_304),
        ("mixer_s16_224", 3_776_958_464),
    ],
)
def test_published(name, macs):
    assert count_macs(create_model(name)) == pytest.approx(macs, rel=5e-3)


def test_a_users_function_cannot_be_counted():
    model = classifier_from_function(
        lambda variables, images: images,
        name="mine",
        num_classes=3,
        input_spec=InputSpec(),
    )
    with pytest.raises(ValueError, match="variables"):
        count_macs(model)
