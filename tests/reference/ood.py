"""Slow, obvious float64 twin of the class-OOD severity protocol."""

import numpy as np

from tests.reference.metrics import auroc


def class_severity(confidence, classes, num_classes):
    confidence = np.asarray(confidence, np.float64)
    return np.array([confidence[classes == k].mean() for k in range(num_classes)])


def severity_groups(severity, group_size, num_levels):
    """Classes of each level's group, where no two severities are equal."""
    order = sorted(range(len(severity)), key=lambda k: severity[k])
    groups = [
        order[start : start + group_size]
        for start in range(len(order) - group_size + 1)
    ]
    chosen = []
    for level in range(num_levels):
        index = level * len(groups) // (num_levels - 1)
        chosen.append(groups[min(index, len(groups) - 1)])
    return chosen


def severity_auroc(id_confidence, ood_confidence, ood_classes, groups):
    found = []
    for group in groups:
        inside = ood_confidence[np.isin(ood_classes, group)]
        values = np.concatenate([id_confidence, inside])
        found.append(auroc(values, np.arange(len(values)) < len(id_confidence)))
    return np.array(found)
