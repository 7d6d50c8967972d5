"""How many images does it take to separate two models? Power of McNemar's test.

Two models on the same images differ on some of them: `p10` is the probability that only
the first is right on an image, `p01` that only the second is. Their sum is the
discordance, their difference the difference of the accuracies.
"""

import math
from statistics import NormalDist

import numpy as np
from jaxtyping import Float, Int

from jaxbench.metrics.types import AnyArray

Shares = float | np.floating | Float[AnyArray, "..."]
Counts = int | float | np.number | Float[AnyArray, "..."] | Int[AnyArray, "..."]
_Floats = Float[np.ndarray, "..."]

_NORMAL = NormalDist()
# Numbers of discordant images that are less likely than this change no digit shown.
_NEGLIGIBLE = 1e-12


def mcnemar_images_needed(
    p10: Shares, p01: Shares, *, alpha: float = 0.05, power: float = 0.8
) -> _Floats:
    """Images after which McNemar's two-sided test finds a difference.

    With discordance s = p10 + p01, difference d = p10 - p01 and normal quantiles z:

        n = (z[1 - alpha / 2] sqrt(s) + z[power] sqrt(s - d^2))^2 / d^2

    Connor (1987), "Sample size for testing differences in proportions for the
    paired-sample design": https://doi.org/10.2307/2531961. A normal approximation: the
    exact test, which is conservative, has somewhat less power at this n than asked for
    (see `mcnemar_exact_power`).

    Args:
        p10: Probability that only the first model is right; in [0, 1].
        p01: Probability that only the second is.
        alpha: Level of the test; divide it by the number of comparisons to correct
            for them as Bonferroni does.
        power: Probability that the difference is found.

    Returns:
        Whole numbers, rounded up; infinite where p10 = p01.

    Raises:
        ValueError: If probabilities are out of range or sum to more than 1, or alpha
            or power is outside (0, 1).
    """
    p10, p01 = _checked(p10, p01, alpha=alpha, power=power)
    discordance, difference = p10 + p01, np.abs(p10 - p01)
    spread = np.sqrt(np.maximum(discordance - difference**2, 0.0))
    reach = _quantile(1 - alpha / 2) * np.sqrt(discordance) + _quantile(power) * spread
    with np.errstate(divide="ignore", invalid="ignore"):
        # A whole number must not be rounded up for its last bit.
        needed = np.ceil((reach / difference) ** 2 * (1 - 1e-12))
    return np.where(difference > 0, np.maximum(needed, 1.0), np.inf)


def mcnemar_power(
    num_images: Counts,
    p10: Shares,
    p01: Shares,
    *,
    alpha: float = 0.05,
) -> _Floats:
    """Probability that McNemar's two-sided test finds a difference of two models.

        Phi((|d| sqrt(n) - z[1 - alpha / 2] sqrt(s)) / sqrt(s - d^2))

    with s, d and the source as in `mcnemar_images_needed`, whose inverse it is. The
    chance to find the difference with the wrong sign is left out, as there.

    Args:
        num_images: Images that both models see; at least 1.
        p10: Probability that only the first model is right; in [0, 1].
        p01: Probability that only the second is.
        alpha: Level of the test.

    Returns:
        In [0, 1]; 0 if the models never differ.

    Raises:
        ValueError: If probabilities are out of range or sum to more than 1, alpha is
            outside (0, 1), or num_images < 1.
    """
    p10, p01 = _checked(p10, p01, alpha=alpha)
    count = np.asarray(num_images, np.float64)
    if (count < 1).any():
        raise ValueError(f"num_images is {num_images}; wanted at least 1")
    discordance, difference = p10 + p01, np.abs(p10 - p01)
    spread = np.sqrt(np.maximum(discordance - difference**2, 0.0))
    lead = difference * np.sqrt(count)
    lead = lead - _quantile(1 - alpha / 2) * np.sqrt(discordance)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(spread > 0, lead / spread, np.where(lead > 0, np.inf, -np.inf))
    return np.asarray(_erfc(-z / math.sqrt(2)) / 2, np.float64)


def mcnemar_exact_power(
    num_images: int, p10: float, p01: float, *, alpha: float = 0.05
) -> float:
    """Probability that McNemar's exact test has a p-value of at most alpha.

    By enumeration: of n images D ~ binomial(n, p10 + p01) are discordant, and the
    first model is right on K ~ binomial(D, p10 / (p10 + p01)) of those. The test
    rejects where 2 P(X <= min(K, D - K)) <= alpha for X ~ binomial(D, 1/2), on either
    side. The number is that of `jaxbench.metrics.mcnemar`'s own decisions, to 1e-9.
    Duffy (1984), "Asymptotic and exact power for the McNemar test and its analogue
    with R controls per case": https://doi.org/10.2307/2531151.

    Args:
        num_images: n, at least 1; time grows as its square: 50,000 take a second.
        p10: Probability that only the first model is right; in [0, 1].
        p01: Probability that only the second is.
        alpha: Level of the test.

    Returns:
        In [0, 1]. At p10 = p01 it is the test's size: at most alpha.

    Raises:
        ValueError: If probabilities are out of range or sum to more than 1, alpha is
            outside (0, 1), or num_images < 1.
    """
    _checked(p10, p01, alpha=alpha)
    if num_images < 1:
        raise ValueError(f"num_images is {num_images}; wanted at least 1")
    discordance = float(p10) + float(p01)
    if discordance == 0:
        return 0.0
    log_factorial = np.concatenate(
        [[0.0], np.cumsum(np.log(np.arange(1, num_images + 1)))]
    )
    discordant = _binomial(num_images, min(discordance, 1.0), log_factorial)
    total = 0.0
    for count in np.flatnonzero(discordant > _NEGLIGIBLE).tolist():
        fair = np.cumsum(_binomial(count, 0.5, log_factorial))
        # The cumulated halves reach 1/2 in the middle: a tie is never rejected.
        rejected = int(np.searchsorted(2 * fair, alpha, side="right"))
        rejected = min(rejected, (count + 1) // 2)
        if rejected:
            wins = _binomial(count, float(p10) / discordance, log_factorial)
            tails = wins[:rejected].sum() + wins[count + 1 - rejected :].sum()
            total += float(discordant[count]) * float(tails)
    return min(total, 1.0)


def detectable_difference(
    num_images: Counts,
    discordance: Shares,
    *,
    alpha: float = 0.05,
    power: float = 0.8,
) -> _Floats:
    """The smallest difference of accuracies that a number of images can show.

    `mcnemar_images_needed`, solved for the difference at a given discordance s: the
    larger root of (n + b^2) d^2 - 2 a sqrt(n s) d + (a^2 - b^2) s = 0 with
    a = z[1 - alpha / 2] and b = z[power].

    Args:
        num_images: Images that both models see; at least 1.
        discordance: Share of images on which exactly one of the two is right.
        alpha: Level of the test.
        power: Probability that the difference is found; at least 1/2.

    Returns:
        Fractions; NaN where even a difference as large as the discordance (one model
        right wherever they differ) would need more images.

    Raises:
        ValueError: If the discordance is outside [0, 1], alpha outside (0, 1), power
            outside [1/2, 1), or num_images < 1.
    """
    s, _ = _checked(discordance, 0.0, alpha=alpha, power=power)
    n = np.asarray(num_images, np.float64)
    problems = []
    if (n < 1).any():
        problems.append(f"num_images is {num_images}; wanted at least 1")
    if power < 0.5:
        problems.append(f"power is {power}; wanted at least 1/2")
    if problems:
        raise ValueError("; ".join(problems))
    a, b = _quantile(1 - alpha / 2), _quantile(power)
    under = a * a * n * s - (n + b * b) * (a * a - b * b) * s
    root = (a * np.sqrt(n * s) + np.sqrt(np.maximum(under, 0.0))) / (n + b * b)
    return np.where((under >= 0) & (root <= s) & (s > 0), root, np.nan)


def independent_discordance(a: Shares, b: Shares) -> tuple[_Floats, _Floats]:
    """p10 and p01 of two models whose errors had nothing to do with each other.

    Models usually fail on the same hard images and differ on fewer: what is computed
    from these asks for too many images.

    Args:
        a: Accuracy of the first model, a fraction.
        b: Accuracy of the second.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    # A product of arrays without axes is a number.
    return np.asarray(a * (1 - b)), np.asarray(b * (1 - a))


def _binomial(
    trials: int, probability: float, log_factorial: Float[np.ndarray, " m"]
) -> Float[np.ndarray, " k"]:
    """P(X = k) for k = 0 ... trials."""
    k = np.arange(trials + 1)
    if probability in (0.0, 1.0):
        return (k == round(trials * probability)).astype(np.float64)
    choose = log_factorial[trials] - log_factorial[k] - log_factorial[trials - k]
    odds = k * math.log(probability) + (trials - k) * math.log1p(-probability)
    return np.exp(choose + odds)


def _quantile(share: float) -> float:
    return _NORMAL.inv_cdf(share)


_erfc = np.frompyfunc(math.erfc, 1, 1)


def _checked(
    p10: Shares, p01: Shares, *, alpha: float, power: float = 0.5
) -> tuple[_Floats, _Floats]:
    """Both as float64.

    Raises:
        ValueError: If anything is out of range; all problems at once.
    """
    arrays = np.asarray(p10, np.float64), np.asarray(p01, np.float64)
    problems = [
        f"{name} is {value}; wanted a fraction in (0, 1)"
        for name, value in (("alpha", alpha), ("power", power))
        if not 0.0 < value < 1.0
    ]
    # NaN fails the comparison too.
    if not all(((values >= 0) & (values <= 1)).all() for values in arrays):
        problems.append(
            f"p10 is {p10} and p01 is {p01}; wanted probabilities in [0, 1]"
        )
    elif (arrays[0] + arrays[1] > 1 + 1e-9).any():
        problems.append(f"p10 {p10} and p01 {p01} sum to more than 1")
    if problems:
        raise ValueError("; ".join(problems))
    return arrays
