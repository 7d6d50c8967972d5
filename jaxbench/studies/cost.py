"""What a result costs: time to a target accuracy, and profiles over many workloads.

A workload is what several optimizers are timed on: a backbone on a dataset.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

TAU_MAX = 4.0


class CostProfile(NamedTuple):
    """One optimizer's performance profile in a number, and what it is made of.

    Attributes:
        optimizer: Name of the optimizer.
        score: Normalised area under its profile, in [0, 1]; higher is better.
        num_reached: Workloads whose target it reached.
        num_fastest: Workloads on which nobody was faster.
    """

    optimizer: str
    score: float
    num_reached: int
    num_fastest: int


def time_to_target(
    seconds: Shaped[np.ndarray, "*runs points"],
    accuracy: Float[np.ndarray, "*runs points"],
    target: float,
) -> Float[np.ndarray, "*runs"]:
    """First measured time at which a curve is at or above a target.

    Nothing is interpolated: between two measurements the accuracy is not known, so a
    run is charged until the measurement that shows it there. A curve that falls below
    the target later has reached it all the same, as in AlgoPerf.

    Args:
        seconds: Time of each measurement, from the start of a run.
        accuracy: What was measured, in the unit of target. NaN has not reached it; to
            stack runs of different lengths, fill up with NaN and repeat the last time.
        target: What counts as reached.

    Returns:
        Seconds; infinity where the target is never reached.

    Raises:
        ValueError: If the two shapes differ, the arrays are empty, a time is not
            finite, negative or before the one it follows, or the target is NaN.
    """
    if np.shape(seconds) != np.shape(accuracy) or not np.ndim(seconds):
        raise ValueError(
            f"seconds has shape {np.shape(seconds)} and accuracy {np.shape(accuracy)}; "
            "give one time for each measurement"
        )
    times = np.asarray(seconds, np.float64)
    if not times.shape[-1]:
        raise ValueError("the curves have no points; nothing can be said")
    if not np.isfinite(times).all() or (times < 0).any():
        raise ValueError("a time is negative or not finite")
    if (np.diff(times, axis=-1) < 0).any():
        raise ValueError("a time is before the one it follows; sort the measurements")
    if np.isnan(target):
        raise ValueError("the target is NaN")
    # NaN >= target is False.
    reached = np.asarray(accuracy, np.float64) >= target
    # Times ascend, so the first is the smallest.
    return np.asarray(np.min(np.where(reached, times, np.inf), axis=-1))


def performance_profile(
    times: Float[np.ndarray, "optimizers workloads"],
    taus: Float[np.ndarray, " taus"],
) -> Float[np.ndarray, "optimizers taus"]:
    """Share of the workloads on which an optimizer is at most tau times the fastest.

    rho_s(tau) = |{w : t_sw <= tau min_s' t_s'w}| / |{w}|. Dolan and More (2002), as
    used in AlgoPerf, Dahl et al. (2023): https://arxiv.org/abs/2306.07179. A workload
    whose target nobody reached counts as not reached by anyone, so it stays in the
    denominator.

    Args:
        times: Seconds to the target; infinity where it was not reached.
        taus: At least 1.

    Returns:
        In [0, 1], growing with tau.

    Raises:
        ValueError: If optimizers or workloads are missing, a time is NaN or not above
            0, or a tau is below 1 or NaN.
    """
    ratios = _ratios(times)
    if not (np.asarray(taus) >= 1).all():
        raise ValueError("a tau is below 1; nobody is faster than the fastest")
    within = ratios[:, :, None] <= np.asarray(taus, np.float64)[None, None, :]
    # inf <= inf: not even an infinite tau makes up for a target that is not reached.
    return (within & np.isfinite(ratios)[:, :, None]).mean(axis=1)


def profile_scores(
    times: Float[np.ndarray, "optimizers workloads"], *, tau_max: float = TAU_MAX
) -> Float[np.ndarray, " optimizers"]:
    """Area under each performance profile from 1 to tau_max, divided by tau_max - 1.

    The profile is a step function, so the area is exact:

        score_s = mean_w max(0, tau_max - t_sw / min_s' t_s'w) / (tau_max - 1).

    AlgoPerf sums trapezoids over a grid of tau, which is the same up to the width of
    its grid: https://arxiv.org/abs/2306.07179.

    Args:
        times: Seconds to the target; infinity where it was not reached.
        tau_max: Ratio from which on an optimizer gets nothing; AlgoPerf's is 4.

    Returns:
        In [0, 1]; 1 is the fastest on every workload. It depends on who else is
        compared.

    Raises:
        ValueError: If optimizers or workloads are missing, a time is NaN or not above
            0, or tau_max is not above 1 or infinite.
    """
    if not 1 < tau_max < np.inf:
        raise ValueError(f"tau_max is {tau_max}; it is finite and above 1")
    gained = np.maximum(tau_max - _ratios(times), 0.0)
    return gained.mean(axis=1) / (tau_max - 1.0)


def cost_profiles(
    optimizers: Sequence[str],
    times: Float[np.ndarray, "optimizers workloads"],
    *,
    tau_max: float = TAU_MAX,
) -> tuple[CostProfile, ...]:
    """The scores of named optimizers.

    Args:
        optimizers: Names of the rows of times.
        times: Seconds to the target; infinity where it was not reached.
        tau_max: See `profile_scores`.

    Returns:
        The best score first; among equals in the order given.

    Raises:
        ValueError: As `profile_scores`, or if names and rows differ in number.
    """
    if len(optimizers) != len(times):
        raise ValueError(f"{len(optimizers)} names for {len(times)} rows of times")
    scores = profile_scores(times, tau_max=tau_max)
    ratios = _ratios(times)
    names = list(optimizers)
    return tuple(
        CostProfile(
            names[i],
            float(scores[i]),
            int(np.isfinite(ratios[i]).sum()),
            int((ratios[i] == 1).sum()),
        )
        for i in np.argsort(-scores, kind="stable").tolist()
    )


def _ratios(times: np.ndarray) -> np.ndarray:
    """Times over the fastest of each workload; infinite where not reached."""
    values = np.asarray(times, np.float64)
    if values.ndim != 2 or not values.size:
        raise ValueError(
            f"times has shape {values.shape}; give optimizers x workloads, at least "
            "one of each"
        )
    if not (values > 0).all():
        raise ValueError(
            "a time is NaN or not above 0; a target that was not reached is infinity"
        )
    fastest = values.min(axis=0, keepdims=True)
    # Where nobody arrived the ratio would be inf / inf.
    return values / np.where(np.isfinite(fastest), fastest, 1.0)
