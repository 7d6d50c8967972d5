"""Time to target and performance profiles against loops."""

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from jaxbench.studies import (
    cost_profiles,
    performance_profile,
    profile_scores,
    time_to_target,
)

INF, NAN = float("inf"), float("nan")
TIMES = np.array(
    [[10.0, 40.0, INF, INF], [20.0, 10.0, 5.0, INF], [10.0, INF, 20.0, INF]]
)


def test_time_to_target_against_a_loop():
    rng = np.random.default_rng(0)
    accuracy = rng.random((4, 5, 12))
    accuracy[rng.random(accuracy.shape) < 0.1] = NAN
    seconds = np.cumsum(rng.random(accuracy.shape), axis=-1)
    for target in (0.2, 0.9, 0.999):
        found = time_to_target(seconds, accuracy, target)
        for index in np.ndindex(4, 5):
            points = zip(seconds[index], accuracy[index], strict=True)
            wanted = next((s for s, a in points if a >= target), INF)
            assert found[index] == wanted


def test_the_first_measurement_at_the_target_counts():
    seconds = np.array([1, 2, 3, 4])
    curve = np.array([0.1, 0.5, 0.4, 0.6])
    assert time_to_target(seconds, curve, 0.5) == 2
    assert time_to_target(seconds, curve, 0.55) == 4
    assert time_to_target(seconds, curve, 0.61) == INF
    assert time_to_target(seconds, np.full(4, NAN), 0.0) == INF


@pytest.mark.parametrize(
    ("seconds", "accuracy", "target", "message"),
    [
        ([], [], 0.5, "no points"),
        ([1.0, NAN], [0.1, 0.2], 0.5, "negative or not finite"),
        ([-1.0, 0.0], [0.1, 0.2], 0.5, "negative or not finite"),
        ([2.0, 1.0], [0.1, 0.2], 0.5, "sort the measurements"),
        ([1.0, 2.0], [0.1, 0.2], NAN, "target is NaN"),
    ],
)
def test_curves_that_are_refused(seconds, accuracy, target, message):
    with pytest.raises(ValueError, match=message):
        time_to_target(np.array(seconds), np.array(accuracy), target)


def test_curves_of_two_lengths_are_refused():
    # The check of annotations, which runs in tests alone, comes first.
    with pytest.raises((ValueError, TypeCheckError)):
        time_to_target(np.zeros(2), np.zeros(3), 0.5)
    with pytest.raises(ValueError, match=r"shape \(2,\) and accuracy \(3,\)"):
        time_to_target.__wrapped__(np.zeros(2), np.zeros(3), 0.5)


def share_within(times, row, tau):
    """rho by its definition, one workload at a time."""
    count = 0
    for w in range(times.shape[1]):
        best = min(times[:, w])
        count += times[row, w] < INF and times[row, w] <= tau * best
    return count / times.shape[1]


def test_profiles_against_the_definition():
    rng = np.random.default_rng(1)
    random = rng.integers(1, 9, (5, 7)).astype(float)  # many ties
    random[rng.random(random.shape) < 0.3] = INF
    for times in (TIMES, random):
        taus = np.array([1.0, 1.5, 2.0, 4.0, 100.0, INF])
        found = performance_profile(times, taus)
        for row, column in np.ndindex(found.shape):
            assert found[row, column] == share_within(times, row, taus[column])


@pytest.mark.parametrize("tau_max", [1.5, 4.0])
def test_scores_are_the_area_under_the_profiles(tau_max):
    rng = np.random.default_rng(2)
    times = rng.lognormal(size=(4, 6))
    times[0, :3] = INF
    # A step function summed at midpoints is off by a step's height times half a width,
    # for each of six steps.
    width = (tau_max - 1) / 20000
    taus = 1 + width * (np.arange(20000) + 0.5)
    area = performance_profile(times, taus).mean(axis=1)
    found = profile_scores(times, tau_max=tau_max)
    np.testing.assert_allclose(found, area, atol=width / (tau_max - 1))


def test_a_worked_example():
    # Ratios: 1, 4, never, never | 2, 1, 1, never | 1, never, 4, never.
    np.testing.assert_allclose(profile_scores(TIMES), [3 / 12, 8 / 12, 3 / 12])
    rows = cost_profiles(["a", "b", "c"], TIMES)
    assert [row.optimizer for row in rows] == ["b", "a", "c"]
    assert rows[0] == ("b", pytest.approx(2 / 3), 3, 2)
    assert rows[1][2:] == (2, 1)


def test_the_unit_of_time_does_not_matter():
    np.testing.assert_allclose(profile_scores(TIMES / 3600), profile_scores(TIMES))


def test_one_optimizer_is_the_fastest_wherever_it_arrives():
    assert profile_scores(np.array([[5.0, INF]])).tolist() == [0.5]


@pytest.mark.parametrize("bad", [0.0, -1.0, NAN])
def test_times_that_are_refused(bad):
    for measure in (profile_scores, lambda t: performance_profile(t, np.array([2.0]))):
        with pytest.raises(ValueError, match="not above 0"):
            measure(np.array([[1.0, bad]]))
        with pytest.raises(ValueError, match="at least one of each"):
            measure(np.zeros((0, 3)))


def test_settings_that_are_refused():
    for tau_max in (1.0, 0.5, INF, NAN):
        with pytest.raises(ValueError, match="tau_max is"):
            profile_scores(TIMES, tau_max=tau_max)
    for tau in (0.9, NAN):
        with pytest.raises(ValueError, match="tau is below 1"):
            performance_profile(TIMES, np.array([tau]))
    with pytest.raises(ValueError, match="2 names for 3 rows"):
        cost_profiles(["a", "b"], TIMES)
