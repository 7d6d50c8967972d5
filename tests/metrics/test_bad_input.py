"""What no metric is defined on: a named error on the host, NaN under jit."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbench.metrics import (
    SCORE_METRICS,
    score_examples,
    summarize,
)
from tests.reference.metrics import REFERENCES


@pytest.fixture(scope="module")
def outcomes():
    """Of a process of its own, where annotations are not checked before the call is."""
    script = Path(__file__).with_name("bad_input_calls.py")
    run = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr[-2000:]
    return json.loads(run.stdout)


def test_every_bad_argument_is_a_value_error_that_names_it(outcomes):
    assert len(outcomes) > 200
    wrong = {}
    for name, (argument, kind, message) in outcomes.items():
        if argument == "NaN":
            continue
        if kind != "ValueError" or argument not in message:
            wrong[name] = (argument, kind, message[:200])
    assert not wrong


def test_bad_values_are_nan_under_jit(outcomes):
    inside = {n: o for n, o in outcomes.items() if o[0] == "NaN"}
    assert len(inside) > 30
    assert not {name for name, (_, kind, _) in inside.items() if kind != "NaN"}


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, np.float64])
def test_other_float_types_are_raised_or_rounded_to_float32(dtype, cases):
    case = cases["random"]
    logits = case.logits.astype(dtype)
    found = summarize(score_examples(logits, case.labels))
    for name, value in found.items():
        assert value.dtype == jnp.float32, name
        twin = REFERENCES[name](logits.astype(np.float32), case.labels)
        assert float(value) == pytest.approx(twin, rel=5e-6, abs=5e-5), name


def test_probabilities_are_asked_for_and_never_guessed(cases):
    case = cases["random"]
    p = np.asarray(jax.nn.softmax(case.logits))
    said = summarize(score_examples(p, case.labels, inputs="probabilities"))
    plain = summarize(score_examples(case.logits, case.labels))
    for name in SCORE_METRICS:
        assert float(said[name]) == pytest.approx(float(plain[name]), abs=2e-5), name
    # Taken as logits, the same numbers are another model's.
    other = summarize(score_examples(p, case.labels, inputs="logits"))
    assert abs(float(other["ece"]) - float(plain["ece"])) > 0.1
    certain = np.eye(3, dtype=np.float32)
    scores = score_examples(certain, np.array([0, 1, 0]), inputs="probabilities")
    np.testing.assert_array_equal(scores.confidence, 1.0)
    np.testing.assert_array_equal(scores.nll, [0.0, 0.0, np.inf])
    np.testing.assert_allclose(scores.brier, [0.0, 0.0, 2.0])


def test_broken_probabilities_are_flagged_under_jit():
    rows = np.array([[0.5, 0.5], [0.7, 0.7], [1.2, -0.2], [np.nan, 1.0]], np.float32)
    labels = np.zeros(4, np.int32)

    @jax.jit
    def inside(rows):
        return score_examples(rows, labels, inputs="probabilities")

    scores = inside(rows)
    np.testing.assert_array_equal(scores.finite, [True, False, False, False])
    assert np.isnan(scores.confidence[1:]).all()


def test_label_sets_count_any_match_and_skip_empty_ones():
    logits = np.array([[3, 1, 2], [1, 3, 2], [1, 2, 3], [3, 2, 1]], np.float32)
    sets = np.array([[2, 0], [0, -1], [-1, -1], [1, 2]], np.int32)
    scores = score_examples(logits, label_sets=sets)
    np.testing.assert_array_equal(scores.correct, [True, False, False, False])
    np.testing.assert_array_equal(scores.mask, [True, True, False, True])
    np.testing.assert_array_equal(scores.label, [0, 0, -1, 1])
    np.testing.assert_array_equal(np.asarray(scores.label_rank)[[0, 1, 3]], [0, 2, 1])
    assert np.isnan(scores.nll).all()
    found = summarize(scores, ("accuracy", "ece"))
    assert float(found["accuracy"]) == pytest.approx(1 / 3)
    assert np.isfinite(found["ece"])
    allowed = np.array([False, True, True])
    masked = score_examples(logits, label_sets=sets, class_mask=allowed)
    np.testing.assert_array_equal(masked.correct, [True, False, False, True])
