import numpy as np

from jaxbench.training import HyperParameters
from jaxbench.training.members import epoch_order, initial_variables, member_scalars
from tests.training.doubles import ConvNet


def test_an_epoch_shows_no_image_twice_and_fills_every_batch():
    order = epoch_order(3, 0, num_images=70, batch_size=16)
    assert order.shape == (4, 16)
    assert order.dtype == np.int32
    assert len(np.unique(order)) == 64
    assert order.min() >= 0
    assert order.max() < 70


def test_order_depends_on_seed_and_epoch_and_nothing_else():
    def draw(seed, epoch):
        return epoch_order(seed, epoch, num_images=64, batch_size=16)

    np.testing.assert_array_equal(draw(1, 2), draw(1, 2))
    others = [draw(1, 3), draw(2, 2), draw(2, 1), draw(0, 0)]
    assert all((draw(1, 2) != other).any() for other in others)


def test_seed_decides_the_initial_weights():
    first, again, other = (initial_variables(ConvNet("net"), s) for s in (5, 5, 6))
    for name, value in first.items():
        assert isinstance(value, np.ndarray)
        np.testing.assert_array_equal(value, again[name])
    assert (first["conv.kernel"] != other["conv.kernel"]).any()


def test_scalars_have_the_dtypes_that_programs_are_compiled_for():
    scalars = member_scalars(HyperParameters(0.1, 1.0, seed=2**32 - 1))
    assert [str(np.asarray(s).dtype) for s in scalars] == [
        "float32",
        "float32",
        "uint32",
    ]
    assert int(scalars.seed) == 2**32 - 1
