"""Frechet distance by its textbook formula: covariances, eigenvalues, float64."""

import numpy as np


def variance(features):
    """The trace of the covariance: the scale of every rounding error here."""
    return float(np.asarray(features, np.float64).var(axis=0, ddof=1).sum())


def frechet_distance(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    cov_a = np.atleast_2d(np.cov(a, rowvar=False))
    cov_b = np.atleast_2d(np.cov(b, rowvar=False))
    gap = a.mean(axis=0) - b.mean(axis=0)
    # The eigenvalues of a product of two positive semidefinite matrices are >= 0.
    squares = np.linalg.eigvals(cov_a @ cov_b).real
    root_trace = np.sqrt(np.maximum(squares, 0.0)).sum()
    return float(gap @ gap + np.trace(cov_a) + np.trace(cov_b) - 2.0 * root_trace)


def slope(a, b, direction_a, direction_b, step=1e-4):
    """Derivative of the distance along a direction, by central differences.

    From singular values: the eigenvalues of a singular product are good to 1e-8 only.
    """

    def distance(t):
        x, y = a + t * direction_a, b + t * direction_b
        gap = x.mean(axis=0) - y.mean(axis=0)
        x = (x - x.mean(axis=0)) / np.sqrt(len(x) - 1)
        y = (y - y.mean(axis=0)) / np.sqrt(len(y) - 1)
        shared = np.linalg.svd(x @ y.T, compute_uv=False).sum()
        return gap @ gap + (x**2).sum() + (y**2).sum() - 2.0 * shared

    return (distance(step) - distance(-step)) / (2.0 * step)
