"""Padding to few shapes, so that another number of rows compiles nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbench import metrics as m
from jaxbench.metrics.padding import padded_length
from tests.metrics.compilations import count_compilations

ROWS = (100, 97, 128)


def drawn(rows):
    rng = np.random.default_rng(rows)
    logits = rng.normal(size=(rows, 10)).astype(np.float32)
    return logits, rng.integers(0, 10, rows).astype(np.int32)


def test_rows_are_appended_and_masked():
    logits, labels = drawn(5)
    tree = {"images": logits.astype(jnp.bfloat16), "right": labels > 3}
    wide, longer, more, mask = m.pad_examples(
        jnp.asarray(logits), labels, tree, num_rows=8
    )
    assert type(wide) is np.ndarray
    np.testing.assert_array_equal(wide, np.pad(logits, ((0, 3), (0, 0))))
    np.testing.assert_array_equal(longer, [*labels, 0, 0, 0])
    assert more["images"].dtype == jnp.bfloat16
    assert not more["right"][5:].any()
    np.testing.assert_array_equal(mask, np.arange(8) < 5)


def test_lengths_are_few_and_little_longer():
    rows = np.arange(1, 5000)
    lengths = np.array([padded_length(int(n)) for n in rows])
    assert (lengths >= rows).all()
    assert (lengths <= np.maximum(rows * 1.25, rows + 31)).all()
    # Eight up to 256, four in each doubling up to 4,096, and 5,120.
    assert len(set(lengths)) == 8 + 4 * 4 + 1
    assert (np.diff(lengths) >= 0).all()
    same = m.pad_examples(np.zeros(100))[0]
    assert len(same) == padded_length(100) == 128


def test_padded_examples_measure_the_same(key):
    logits, labels = drawn(100)
    scores = m.score_examples(logits, labels)
    for padded in (
        m.pad_examples(scores)[0],
        m.score_examples(*(p := m.pad_examples(logits, labels))[:2], mask=p[2]),
    ):
        assert len(padded.mask) == 128
        found, expected = m.summarize(padded), m.summarize(scores)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, 2e-6, 2e-6, err_msg=name)


def measure(rows, key):
    logits, labels, mask = m.pad_examples(*drawn(rows))
    scores = m.score_examples(logits, labels, mask=mask)
    m.summarize(scores, ["accuracy", "ece", "aurc"])
    m.bootstrap_intervals(scores, ["accuracy"], key=key, num_resamples=10)
    stored = jax.device_get(m.score_examples(*drawn(128)))
    m.summarize(m.pad_examples(jax.tree.map(lambda c: c[:rows], stored))[0], ["nll"])
    m.ClassificationState.empty(num_classes=10).update_from_logits(
        logits, labels, mask=mask
    )


def test_another_number_of_rows_compiles_nothing(key):
    measure(ROWS[0], key)
    with count_compilations() as compiled:
        for rows in ROWS[1:]:
            measure(rows, key)
    assert not compiled
    with count_compilations() as compiled:  # without padding, and it is seen
        m.score_examples(*drawn(ROWS[0] + 1))
    assert compiled


def test_only_what_is_asked_for_is_compiled():
    scores = m.score_examples(*drawn(64))
    size = {}
    for names in (["accuracy"], ["accuracy", "ece"], list(m.SCORE_METRICS)):
        program = jax.jit(lambda scores, names=names: m.summarize(scores, names))
        text = program.lower(scores).compile().as_text()
        size[len(names)] = len(text.splitlines())
    # 691, 1,080 and 7,067 lines when this was written.
    assert size[1] * 6 < size[26]
    assert size[2] * 4 < size[26]


def test_all_problems_are_reported(key, users_types):
    logits, labels = drawn(5)
    for given, settings, message in (
        ((), {}, "no arrays"),
        ((logits, labels.tolist()), {}, r"examples\[1\]\[0\] is of type int; wanted"),
        ((logits, np.float32(1)), {}, r"examples\[1\] is of type float32; wanted"),
        ((logits, np.zeros(())), {}, r"examples\[1\] is a scalar"),
        (
            (logits, labels[:4]),
            {},
            r"examples\[0\] 5, examples\[1\] 4; wanted the same",
        ),
        ((logits,), {"num_rows": 4}, "num_rows is 4; wanted at least the 5 rows"),
        ((logits,), {"num_rows": 5.5}, r"num_rows is 5\.5; wanted an integer"),
    ):
        with pytest.raises(ValueError, match=message):
            m.pad_examples(*given, **settings)
    with pytest.raises(ValueError, match="pad before the call of the jitted function"):
        jax.jit(m.pad_examples)(logits)
