"""Severity curves against the protocol in plain NumPy."""

import jax
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from jaxbench.errors import UserError
from jaxbench.studies import severity_curve
from jaxbench.studies.selective_severity import _split


def scores(confidence):
    confidence = np.asarray(confidence, np.float32)
    return {
        "confidence": confidence,
        "log_one_minus_confidence": np.log1p(-confidence),
        "label": np.arange(len(confidence), dtype=np.int32) % 3,
    }


@pytest.fixture
def sample():
    rng = np.random.default_rng(0)
    known = scores(rng.beta(6, 2, 200))
    # Ten unknown classes of 12 images, the later ones the more confident.
    classes = np.repeat(np.arange(10) * 7, 12)
    unknown = scores(rng.beta(2 + classes / 20, 3))
    return known, unknown, classes


def test_levels_against_the_protocol(sample):
    known, unknown, classes = sample
    found = severity_curve(
        known, unknown, classes, key=jax.random.key(0), group_size=3, num_levels=3
    )
    kept, estimates, numbers, left_out = _split(classes, jax.random.key(0))
    assert left_out == 0
    assert len(kept) == 120
    # Nine of each class's twelve images estimate.
    assert all(estimates[numbers == c].sum() == 9 for c in range(10))
    confidence = unknown["confidence"].astype(np.float64)
    severity = [confidence[(numbers == c) & estimates].mean() for c in range(10)]
    order = np.argsort(severity)
    for level, start in enumerate((0, 4, 7)):
        group = order[start : start + 3]
        tested = ~estimates & np.isin(numbers, group)
        values = np.concatenate([known["confidence"], unknown["confidence"][tested]])
        truth = np.arange(len(values)) < 200
        assert found.auroc[level] == pytest.approx(
            roc_auc_score(truth, values), abs=1e-6
        )
        mean = np.mean([severity[c] for c in group])
        assert found.severity[level] == pytest.approx(mean, rel=1e-6)
    assert found.auroc[0] > found.auroc[2]
    assert (found.num_classes, found.group_size) == (10, 3)


def test_same_key_same_curve_and_single_images(sample):
    known, unknown, classes = sample
    settings = {"key": jax.random.key(3), "num_levels": 3}
    one = severity_curve(known, unknown, classes, **settings)
    # As many classes a level as there are known ones: three.
    assert one.group_size == 3
    alone = {name: np.append(v, v[:1]) for name, v in unknown.items()}
    two = severity_curve(known, alone, np.append(classes, 999), **settings)
    assert two.num_left_out == 1
    assert two.num_classes == 10


def test_too_few_classes(sample):
    known, unknown, classes = sample
    with pytest.raises(UserError, match="severity_group_size"):
        severity_curve(known, unknown, classes, key=jax.random.key(0), group_size=11)
    with pytest.raises(UserError, match="2 or more"):
        severity_curve(known, unknown, classes, key=jax.random.key(0), num_levels=1)
