"""Calls that no metric is defined on, run without the tests' checks of annotations.

Prints what each of them raises, as JSON: {call: [argument, type, message]}.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np

from jaxbench import metrics as m

C = np.array([0.9, 0.8, 0.4, 0.6], np.float32)
Y = np.array([True, True, False, True])
K = np.array([0, 1, 2, 1], np.int32)
Z = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
F = np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32)
NAN = np.array([0.9, np.nan, 0.4, 0.6], np.float32)
NONE = np.zeros(4, bool)

# Functions of confidence and correctness, with what else they need.
PAIRS = {
    "expected_calibration_error": {},
    "maximum_calibration_error": {},
    "debiased_calibration_error": {},
    "root_mean_square_calibration_error": {},
    "kolmogorov_smirnov_calibration_error": {},
    "smooth_calibration_error": {},
    "signed_calibration_gap": {},
    "reliability_bins": {},
    "brier_decomposition": {},
    "risk_coverage_curve": {},
    "area_under_risk_coverage": {},
    "excess_area_under_risk_coverage": {},
    "area_under_generalized_risk_coverage": {},
    "excess_area_under_generalized_risk_coverage": {},
    "coverage_at_accuracy": {"accuracy": 0.9},
    "risk_at_coverage": {"coverage": 0.5},
    "area_under_roc": {},
    "average_precision": {},
    "fpr_at_tpr": {},
}
PROBABILITIES = tuple(PAIRS)[:9]


def of_pairs():
    """Bad columns of every function of a confidence and a correctness."""
    for name, options in PAIRS.items():
        call = getattr(m, name)
        yield f"{name}: matrix", "confidence", call, (C.reshape(2, 2), Y), options
        yield f"{name}: lengths", "correct", call, (C, Y[:3]), options
        yield f"{name}: integers", "confidence", call, (K, Y), options
        yield f"{name}: numbers", "correct", call, (C, C), options
        yield f"{name}: NaN", "confidence", call, (NAN, Y), options
        yield f"{name}: float mask", "mask", call, (C, Y), {**options, "mask": C}
        yield f"{name}: masked", "mask", call, (C, Y), {**options, "mask": NONE}
        yield f"{name}: empty", "0 rows", call, (C[:0], Y[:0]), options
        if name in PROBABILITIES:
            yield f"{name}: above 1", "confidence", call, (2 * C, Y), options


def of_settings():
    """Settings out of range."""
    ece, aurc = m.expected_calibration_error, m.area_under_risk_coverage
    yield "no bins", "num_bins", ece, (C, Y), {"num_bins": 0}
    yield "half a bin", "num_bins", ece, (C, Y), {"num_bins": 1.5}
    yield "binning", "binning", ece, (C, Y), {"binning": "mass"}
    yield "compat", "compat", ece, (C, Y), {"compat": "guo"}
    galil = {"compat": "galil", "binning": "equal_mass"}
    yield "galil by mass", "binning", ece, (C, Y), galil
    yield "scale", "scale", aurc, (C, Y), {"scale": "percent"}
    scaled = {"compat": "galil", "scale": "per_mille"}
    yield "galil per mille", "scale", aurc, (C, Y), scaled
    zero = {"bandwidth": 0.0}
    yield "bandwidth", "bandwidth", m.smooth_calibration_error, (C, Y), zero
    yield "coverage", "coverage", m.risk_at_coverage, (C, Y), {"coverage": 0.0}
    yield "level", "level", m.reliability_bins, (C, Y), {"level": 1.0}
    yield "k", "k", m.top_k_accuracy, (K,), {"k": 0}


def of_logits():
    """Bad logits and labels."""
    score, nan = m.score_examples, np.where(Z[0, 0] == Z, np.nan, Z)
    yield "flat logits", "logits", score, (Z[0], K), {}
    yield "no classes", "logits", score, (Z[:, :0], K), {}
    yield "integer logits", "logits", score, (Z.astype(int), K), {}
    yield "float labels", "labels", score, (Z, C), {}
    yield "few labels", "labels", score, (Z, K[:2]), {}
    yield "label 3 of 3", "labels", score, (Z, K + 1), {}
    yield "label -2", "labels", score, (Z, K - 2), {}
    yield "NaN logits", "logits", score, (nan, K), {}
    yield "infinite logits", "logits", score, (nan * np.inf, K), {}
    yield "NaN, nll", "logits", m.negative_log_likelihood, (nan, K), {}
    yield "NaN, brier", "logits", m.brier_score, (nan, K), {}
    yield "short mask", "mask", score, (Z, K), {"mask": Y[:2]}
    yield "class mask", "class_mask", score, (Z, K), {"class_mask": Y}
    yield "temperature", "temperature", score, (Z, K), {"temperature": 0.0}
    yield "inputs", "inputs", score, (Z, K), {"inputs": "guess"}
    yield "no p", "probabilities", score, (Z, K), {"inputs": "probabilities"}
    yield "classwise", "labels", m.classwise_calibration_error, (Z, K + 5), {}
    bins = {"num_bins": 0}
    yield "classwise bins", "num_bins", m.classwise_calibration_error, (Z, K), bins


def of_the_rest():
    """Everything else that takes arrays."""
    three = {"num_classes": 3}
    yield "accuracy", "correct", m.accuracy, (C,), {}
    yield "accuracy, empty", "0 rows", m.accuracy, (Y[:0],), {}
    yield "rank", "label_rank", m.top_k_accuracy, (C,), {"k": 5}
    yield "recalls", "labels", m.per_class_accuracy, (K + 2, Y), three
    yield "balanced", "labels", m.balanced_accuracy, (C, Y), three
    yield "confusion", "predictions", m.confusion_matrix, (K, K + 2), three
    yield (
        "confusion, none",
        "num_classes",
        m.confusion_matrix,
        (K, K),
        {"num_classes": 0},
    )
    yield "mean", "confidence", m.mean_confidence, (2 * C,), {}
    yield "frechet", "features", m.frechet_distance, (F, F[:, :2]), {}
    yield "frechet, one row", "features", m.frechet_distance, (F[:1], F), {}
    two, group = {"num_groups": 2}, m.group_logits
    yield "groups, flat logits", "logits", group, (Z[0], K[:3] % 2), two
    yield "groups, integer logits", "logits", group, (Z.astype(int), K[:3] % 2), two
    yield "groups, one more", "groups", group, (Z, K % 2), two
    yield "groups, floats", "groups", group, (Z, C[:3]), two
    yield "groups, 2 of 2", "groups", group, (Z, K[:3]), two
    yield "groups, -2", "groups", group, (Z, K[:3] - 2), two
    yield "groups, one empty", "groups", group, (Z, K[:3] * 0), two
    yield "groups, none", "num_groups", group, (Z, K[:3] * 0), {"num_groups": 0}
    yield "temperature fit", "labels", m.fit_temperature, (Z, C), {}
    scores = m.score_examples(Z, K)
    yield "summary", "metric", m.summarize, (scores, ("acuracy",)), {}
    options = {"confidence": "margin"}
    yield "summary by margin", "ece", m.summarize, (scores, ("ece",)), options
    options = {"key": jax.random.key(0), "num_resamples": 0}
    yield "resamples", "num_resamples", m.bootstrap_intervals, (scores,), options


def main() -> None:
    """Runs every call."""
    found = {}
    for table in (of_pairs, of_settings, of_logits, of_the_rest):
        for name, argument, call, arguments, options in table():
            try:
                call(*arguments, **options)
                found[name] = [argument, "nothing", ""]
            except Exception as error:
                found[name] = [argument, type(error).__name__, str(error)]
    # Under jit the same values give NaN.
    for name, options in PAIRS.items():
        call = getattr(m, name)

        def inside(c, mask, call=call, options=options):
            return call(c, jnp.asarray(Y), mask=mask, **options)

        for what, column, mask in (("NaN", NAN, ~NONE), ("masked", C, NONE)):
            values = jax.tree.leaves(jax.jit(inside)(column, mask))
            floats = [np.asarray(v) for v in values if v.dtype == jnp.float32]
            spoilt = all(np.isnan(v).all() for v in floats)
            found[f"{name}: {what} under jit"] = ["NaN", "NaN" if spoilt else "no", ""]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
