"""Every metric of the table on hundreds of small adversarial sets of logits.

Rows are sorted before one permutation of the classes, and their least number is 0, so
that rows of the same softmax are the same rows: permuted or shifted ones would tie on
paper only, and part in the last bit of their sums. The numbers are 0 to 3 times a
scale: at 40 the gaps pass what float32 softmax and even exp hold, at 0 everything ties.
"""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxbench.metrics import SCORE_METRICS, score_examples, summarize
from tests.reference.metrics import REFERENCES

ROWS, CLASSES = 8, 6
ORDER = [3, 0, 5, 2, 4, 1]


@jax.jit
def measure(logits, labels, mask):
    return summarize(score_examples(logits, labels, mask=mask))


@st.composite
def cases(draw):
    count = draw(st.integers(1, ROWS))
    scale = draw(st.sampled_from([0.0, 0.5, 1.0, 3.0, 40.0]))
    level = st.lists(st.integers(0, 3), min_size=CLASSES, max_size=CLASSES)
    rows = draw(
        st.lists(
            level.map(lambda row: [x - min(row) for x in sorted(row)]),
            min_size=count,
            max_size=count,
        )
    )
    # Half of the labels are the likeliest class.
    label = st.one_of(st.just(ORDER.index(CLASSES - 1)), st.integers(0, CLASSES - 1))
    labels = draw(st.lists(label, min_size=count, max_size=count))
    logits = scale * np.array(rows, np.float32)[:, ORDER]
    return logits.astype(np.float32), np.array(labels, np.int32)


def tolerance(name, twin):
    if name == "smooth_ece":
        # The twin's points are 0.001 apart, and a bandwidth below them escapes it.
        return {"abs": 5e-3 if twin < 0.02 else 1e-4}
    return {"rel": 5e-6, "abs": 3e-6}


@settings(max_examples=600, deadline=None)
@given(cases())
def test_every_metric_matches_its_twin(case):
    logits, labels = case
    missing = ROWS - len(labels)
    junk = np.full((missing, CLASSES), np.nan, np.float32)
    padded = np.concatenate([logits, junk])
    filled = np.concatenate([labels, np.full(missing, 77, np.int32)])
    found = jax.device_get(measure(padded, filled, np.arange(ROWS) < len(labels)))
    for name in SCORE_METRICS:
        twin = REFERENCES[name](logits, labels)
        expected = pytest.approx(twin, **tolerance(name, twin), nan_ok=True)
        assert float(found[name]) == expected, name
