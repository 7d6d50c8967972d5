"""A small problem to train on, and what a measured epoch of it must agree with."""

from typing import NamedTuple

import numpy as np
import pytest

from jaxbench.metrics import classwise_calibration_error, score_examples, summarize

ROWS, BATCH, FEATURES, CLASSES = 203, 64, 16, 10
SIZES = {"num_bins": 15, "num_classes": CLASSES, "classwise": True}


class Batch(NamedTuple):
    images: np.ndarray
    labels: np.ndarray
    mask: np.ndarray


@pytest.fixture(scope="session")
def batches():
    """Noisy prototypes of ten classes, in batches; the last holds 11 rows of 64."""
    rng = np.random.default_rng(0)
    prototypes = rng.normal(size=(CLASSES, FEATURES))
    labels = rng.integers(0, CLASSES, ROWS)
    images = prototypes[labels] + rng.normal(size=(ROWS, FEATURES)) * 0.9
    mask = np.arange(4 * BATCH) < ROWS
    images = np.pad(images, ((0, len(mask) - ROWS), (0, 0)), constant_values=3.0)
    labels = np.pad(labels, (0, len(mask) - ROWS), constant_values=7)
    columns = images.astype(np.float32), labels.astype(np.int32), mask
    return [Batch(*(c[i : i + BATCH] for c in columns)) for i in range(0, 256, BATCH)]


@pytest.fixture(scope="session")
def assert_agrees():
    """Compares streamed values with those of the kept logits, masked rows left out.

    Metrics of order may be off by their bounds, the rest only by float32 rounding.
    """

    def compare(values, bounds, batches, logits):
        counted = np.concatenate([batch.mask for batch in batches])
        rows = np.concatenate([np.asarray(z) for z in logits])[counted]
        labels = np.concatenate([batch.labels for batch in batches])[counted]
        exact = summarize(score_examples(rows, labels))
        exact["classwise_ece"] = classwise_calibration_error(rows, labels)
        assert values.keys() == exact.keys()
        assert 0.0 < float(exact["accuracy"]) < 1.0
        for name, value in exact.items():
            off = abs(float(values[name]) - float(value))
            # Debiasing subtracts a quadrature's 1e-6.
            slack = 3e-6 if name == "ece_debiased" else 2e-6
            assert off <= float(bounds.get(name, 0.0)) + slack, name

    return compare
