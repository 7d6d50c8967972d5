"""The class-OOD severity protocol against its twin, and at its edges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbench.metrics import class_severity, severity_auroc, severity_groups
from tests.reference import ood as reference

NUM_CLASSES, ROWS, ID_ROWS = 13, 260, 90


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    classes = rng.permutation(np.arange(ROWS) % NUM_CLASSES).astype(np.int32)
    hardness = rng.uniform(0.2, 0.8, NUM_CLASSES)
    noise = rng.normal(0, 0.1, ROWS)
    confidence = np.clip(hardness[classes] + noise, 0, 1).astype(np.float32)
    # Ties across the two sets, which count one half.
    confidence = np.round(confidence, 2)
    known = np.round(rng.uniform(0.4, 1.0, ID_ROWS), 2).astype(np.float32)
    estimates = rng.random(ROWS) < 0.75
    return known, confidence, classes, estimates


def test_protocol_matches_its_twin(images):
    known, confidence, classes, estimates = images
    severity = class_severity(
        confidence, classes, num_classes=NUM_CLASSES, mask=estimates
    )
    twin = reference.class_severity(
        confidence[estimates], classes[estimates], NUM_CLASSES
    )
    np.testing.assert_allclose(severity, twin, rtol=1e-6)
    groups = severity_groups(severity, group_size=4, key=jax.random.key(0))
    members = reference.severity_groups(twin, 4, 11)
    found = [np.flatnonzero(row).tolist() for row in np.asarray(groups.contains)]
    assert found == [sorted(group) for group in members]
    means = [twin[group].mean() for group in members]
    np.testing.assert_allclose(groups.severity, means, rtol=1e-6)
    assert (np.diff(groups.severity) >= 0).all()
    values = severity_auroc(known, confidence, classes, groups, ood_mask=~estimates)
    expected = reference.severity_auroc(
        known, confidence[~estimates], classes[~estimates], members
    )
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    assert values[0] > values[-1] + 0.2


def test_protocol_under_jit_shuffling_and_padding(images):
    known, confidence, classes, estimates = images

    def protocol(known, confidence, classes, estimates, mask):
        severity = class_severity(
            confidence, classes, num_classes=NUM_CLASSES, mask=estimates & mask
        )
        groups = severity_groups(severity, group_size=4, key=jax.random.key(0))
        return severity_auroc(
            known, confidence, classes, groups, ood_mask=~estimates & mask
        )

    every = np.ones(ROWS, bool)
    plain = protocol(known, confidence, classes, estimates, every)
    order = np.random.default_rng(1).permutation(ROWS)
    columns = (confidence, classes, estimates, every)
    shuffled = protocol(known, *(column[order] for column in columns))
    np.testing.assert_allclose(shuffled, plain, rtol=1e-6)
    padded = [np.concatenate([c, np.zeros(7, c.dtype)]) for c in columns]
    padded[0][-7:], padded[1][-7:] = np.nan, -5
    jitted = jax.jit(protocol)(known, *padded)
    np.testing.assert_allclose(jitted, plain, rtol=1e-6)


def test_tied_classes_are_ordered_by_the_key():
    tied = jnp.zeros(8)
    groups = [
        severity_groups(tied, group_size=2, key=jax.random.key(k)) for k in (0, 1)
    ]
    members = [np.asarray(g.contains) for g in groups]
    assert (members[0].sum(1) == 2).all()
    assert (members[0] != members[1]).any()


def test_bad_input_is_named(images):
    _, confidence, classes, _ = images
    with pytest.raises(
        ValueError, match=r"classes lie in \[0, 12\]; wanted .*\[0, 5\)"
    ):
        class_severity(confidence, classes, num_classes=5)
    with pytest.raises(ValueError, match="severity is NaN for 2 classes"):
        severity_groups(
            class_severity(confidence, classes, num_classes=NUM_CLASSES + 2),
            group_size=3,
            key=jax.random.key(0),
        )
    with pytest.raises(ValueError, match="group_size is 9 and num_classes 8"):
        severity_groups(jnp.zeros(8), group_size=9, key=jax.random.key(0))
    with pytest.raises(ValueError, match="num_levels is 1"):
        severity_groups(jnp.zeros(8), group_size=2, num_levels=1, key=jax.random.key(0))

    def inside(confidence, classes):
        return class_severity(confidence, classes, num_classes=5)

    assert np.isnan(jax.jit(inside)(confidence, classes)).all()
