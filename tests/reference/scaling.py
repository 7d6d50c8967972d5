"""Vector scaling and bias-corrected temperatures by scipy, in float64."""

import numpy as np
from scipy.optimize import minimize

from tests.reference import metrics as reference

RIDGE = 0.01
LOWEST, HIGHEST = 0.01, 100.0


def nll(logits, labels, scale, bias):
    scores = np.asarray(logits, np.float64) * scale + bias
    return float(reference.nll(scores, labels).mean())


def vector_scaling(logits, labels, ridge=RIDGE):
    """The least mean NLL plus ridge: scale, bias, NLL."""
    z = np.asarray(logits, np.float64)
    num_classes = z.shape[1]
    found = _fit(z, labels, ridge, np.full(num_classes, None), num_classes)
    scale, bias = found[:num_classes], found[num_classes:]
    bias = bias - bias.mean()
    return scale, bias, nll(z, labels, scale, bias)


def bias_corrected_temperature(logits, labels, ridge=RIDGE):
    """The least mean NLL plus ridge, for T in [0.01, 100]: T, bias, NLL."""
    z = np.asarray(logits, np.float64)
    found = _fit(z - z.mean(axis=1, keepdims=True), labels, ridge, [1 / HIGHEST], 1)
    bias = found[1:] - found[1:].mean()
    return 1 / found[0], bias, nll(z, labels, found[0], bias)


def _fit(z, labels, ridge, low, num_scales):
    """Scales and biases, sought as scores at the classes' mean logits and slopes."""
    num_rows, num_classes = z.shape
    onehot = np.eye(num_classes)[np.asarray(labels)]
    base = 1 / reference.temperature(z, labels)
    means = z.mean(axis=0)
    unit = np.sqrt(((z - means) ** 2).mean()) or 1.0
    x = (z - means) / unit
    weight = ridge / num_rows

    def objective(theta):
        slopes, levels = theta[:num_scales], theta[num_scales:]
        scores = x * slopes + levels
        p = reference.softmax(scores)
        top = scores.max(axis=1)
        total = np.log(np.exp(scores - top[:, None]).sum(axis=1)) + top
        loss = (total - (scores * onehot).sum(axis=1)).mean()
        by_slope = ((p - onehot) * x).sum(axis=0) / num_rows
        by_level = (p - onehot).sum(axis=0) / num_rows
        if num_scales == 1:
            by_slope = by_slope.sum(keepdims=True)
        away = slopes - unit * base
        shift = levels - means * base
        shift = shift - shift.mean()
        loss += weight / 2 * ((away**2).sum() + (shift**2).sum())
        return loss, np.concatenate(
            [by_slope + weight * away, by_level + weight * shift]
        )

    start = np.concatenate(
        [np.full(num_scales, unit * base), (means - means.mean()) * base]
    )
    high = [None if bound is None else unit / LOWEST for bound in low]
    low = [None if bound is None else unit * bound for bound in low]
    bounds = [*zip(low, high, strict=True), *[(None, None)] * num_classes]
    options = dict(maxiter=20_000, maxfun=100_000, maxcor=40, ftol=1e-16, gtol=1e-10)
    found = minimize(objective, start, jac=True, bounds=bounds, options=options).x
    scales = found[:num_scales] / unit
    return np.concatenate([scales, found[num_scales:] - means * scales])
