"""Power of McNemar's test: formulae against enumeration, simulation and print."""

from math import comb, sqrt
from statistics import NormalDist

import numpy as np
import pytest
from scipy.stats import binomtest

from jaxbench.studies import (
    detectable_difference,
    independent_discordance,
    mcnemar_exact_power,
    mcnemar_images_needed,
    mcnemar_power,
)
from jaxbench.studies.lottery_significance import mcnemar_p_values


def enumerated_power(n, p10, p01, alpha):
    """Every split of n images into only a, only b and neither."""
    total = 0.0
    for a in range(n + 1):
        for b in range(n + 1 - a):
            p_value = binomtest(a, a + b, 0.5).pvalue if a + b else 1.0
            if p_value <= alpha:
                ways = comb(n, a) * comb(n - a, b)
                total += ways * p10**a * p01**b * (1 - p10 - p01) ** (n - a - b)
    return total


def test_a_published_example():
    """powerandsamplesize.com, with Connor (1987), page 209: 22.8 rounded up."""
    assert mcnemar_images_needed(0.05, 0.45, alpha=0.05, power=0.8) == 23
    assert mcnemar_images_needed(0.45, 0.05, alpha=0.05, power=0.8) == 23


def test_power_is_the_formula():
    normal = NormalDist()
    s, d, n = 0.3, 0.1, 120
    z = normal.inv_cdf(0.975)
    wanted = normal.cdf((d * sqrt(n) - z * sqrt(s)) / sqrt(s - d * d))
    assert mcnemar_power(n, 0.2, 0.1) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(
    ("p10", "p01"), [(0.45, 0.05), (0.12, 0.1), (0.02, 0.0), (0.001, 0.0005)]
)
@pytest.mark.parametrize("power", [0.5, 0.8, 0.99])
def test_the_images_needed_are_the_first_that_suffice(p10, p01, power):
    needed = float(mcnemar_images_needed(p10, p01, power=power))
    assert mcnemar_power(needed, p10, p01) >= power - 1e-9
    assert needed == 1 or mcnemar_power(needed - 1, p10, p01) < power


@pytest.mark.parametrize(
    ("n", "p10", "p01", "alpha"),
    [
        (1, 0.5, 0.1, 0.05),
        (9, 0.6, 0.1, 0.05),
        (14, 0.3, 0.3, 0.2),
        (14, 0.7, 0.3, 0.01),
        (12, 0.4, 0.0, 0.0625),
    ],
)
def test_exact_power_against_every_outcome(n, p10, p01, alpha):
    found = mcnemar_exact_power(n, p10, p01, alpha=alpha)
    assert found == pytest.approx(enumerated_power(n, p10, p01, alpha), abs=1e-9)


def test_exact_power_against_simulation():
    """Share of drawn sets of images on which the package's own test rejects."""
    n, p10, p01, draws = 80, 0.25, 0.1, 2000
    rng = np.random.default_rng(0)
    only_a, only_b, _ = rng.multinomial(n, [p10, p01, 1 - p10 - p01], size=draws).T
    share = float(np.mean(mcnemar_p_values(only_a, only_b) <= 0.05))
    exact = mcnemar_exact_power(n, p10, p01)
    assert share == pytest.approx(exact, abs=4 * sqrt(exact * (1 - exact) / draws))


def test_the_approximation_meets_the_exact_power_where_there_are_many_images():
    needed = int(mcnemar_images_needed(0.06, 0.04))
    assert needed == 1960
    exact = mcnemar_exact_power(needed, 0.06, 0.04)
    # The exact test is conservative by half a step of the discordant images.
    assert 0.775 < exact < 0.8


def test_the_size_of_the_exact_test_is_at_most_alpha():
    for n in (20, 300):
        assert 0 < mcnemar_exact_power(n, 0.1, 0.1, alpha=0.05) <= 0.05


def test_the_detectable_difference_needs_these_images():
    n, s = 500, np.array([0.05, 0.2, 1.0])
    d = detectable_difference(n, s)
    needed = mcnemar_images_needed((s + d) / 2, (s - d) / 2)
    assert np.abs(needed - n).max() <= 1  # rounded up
    assert (np.diff(d) > 0).all()


def test_no_difference_is_detectable_with_a_handful_of_images():
    assert np.isnan(detectable_difference(3, 0.1))
    assert np.isnan(detectable_difference(100, 0.0))


def test_models_that_never_differ():
    assert mcnemar_images_needed(0.1, 0.1) == np.inf
    assert mcnemar_images_needed(0.0, 0.0) == np.inf
    assert mcnemar_power(100, 0.0, 0.0) == 0
    assert mcnemar_exact_power(100, 0.0, 0.0) == 0


def test_a_difference_on_every_image():
    assert mcnemar_images_needed(1.0, 0.0) == 4  # z^2 = 3.84
    assert mcnemar_power(4, 1.0, 0.0) == 1
    # Five wins of five have P = 1/16, six of six 1/32.
    assert mcnemar_exact_power(5, 1.0, 0.0) == 0
    assert mcnemar_exact_power(6, 1.0, 0.0) == pytest.approx(1)


def test_independent_errors():
    p10, p01 = independent_discordance(0.8, 0.7)
    assert (p10, p01) == (pytest.approx(0.24), pytest.approx(0.14))
    assert p10 - p01 == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mcnemar_images_needed(1.2, 0.0), r"p10 is 1.2 .* in \[0, 1\]"),
        (lambda: mcnemar_images_needed(np.nan, 0.0), r"in \[0, 1\]"),
        (lambda: mcnemar_images_needed(0.7, 0.6), "sum to more than 1"),
        (lambda: mcnemar_images_needed(0.2, 0.1, alpha=0.0), "alpha is 0.0"),
        (
            lambda: mcnemar_images_needed(0.2, 0.1, alpha=2.0, power=1.0),
            r"alpha is 2.0.*power is 1.0",
        ),
        (lambda: mcnemar_power(0, 0.2, 0.1), "num_images is 0"),
        (lambda: mcnemar_exact_power(0, 0.2, 0.1), "num_images is 0"),
        (lambda: detectable_difference(0, 0.1, power=0.3), "num_images.*power is 0.3"),
    ],
)
def test_values_out_of_range(call, message):
    with pytest.raises(ValueError, match=message):
        call()
