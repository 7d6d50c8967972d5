"""Stores what the peers make of the synthetic sets, for tests/metrics/test_peers.py.

Writes two files into --out: sets.npz with the inputs, references.json with the peers'
values and versions. Needs the peers' environment (see environment.py --help), about ten
seconds, and both clones:

    peers/bin/python scripts/peers/make_references.py --out tests/metrics/peers
        --fd-shifts fd-shifts --galil benchmarking-uncertainty-estimation-performance
"""

# pyright: reportMissingImports=false
# The peers are installed in an environment of their own.

import argparse
import json
import warnings
from pathlib import Path
from typing import Any

import environment
import numpy as np
import torch
from synthetic import BINS, CLASSES, Classified, Ranked, classified_sets, ranked_sets
from synthetic import softmax as probabilities_of

TOP_K = (1, 2, 5)
SMOOTH_BANDWIDTHS = (0.05, 0.1)


def matrix_of(rows: Classified) -> torch.Tensor:
    """Probabilities whose largest is the stored confidence, at the prediction.

    For libraries that take a matrix only: they see the confidence that we are given.
    """
    confidence = rows.confidence.astype(np.float64)
    matrix = np.repeat((1 - confidence) / (CLASSES - 1), CLASSES).reshape(-1, CLASSES)
    matrix = matrix.astype(np.float32)
    matrix[np.arange(len(matrix)), rows.predictions] = rows.confidence
    return torch.from_numpy(matrix)


def scikit_learn(rows: Classified) -> dict:
    """Accuracies, proper scores and ranking by scikit-learn."""
    from sklearn import metrics as sk

    p, classes = probabilities_of(rows.logits), range(CLASSES)
    # Of a type that scikit-learn documents, and that its defaults do not show.
    each: dict[str, Any] = {"average": None}
    summed: dict[str, Any] = {"labels": classes, "scale_by_half": False}
    values = {
        f"top_{k}_accuracy": sk.top_k_accuracy_score(
            rows.labels, p, k=k, labels=classes
        )
        for k in TOP_K
    }
    fpr, tpr, _ = sk.roc_curve(rows.correct, rows.confidence, drop_intermediate=False)
    return values | {
        "balanced_accuracy": sk.balanced_accuracy_score(rows.labels, rows.predictions),
        "per_class_accuracy": sk.recall_score(rows.labels, rows.predictions, **each),
        "confusion_matrix": sk.confusion_matrix(rows.labels, rows.predictions),
        "nll": sk.log_loss(rows.labels, p, labels=classes),
        "brier": sk.brier_score_loss(rows.labels, p, **summed),
        "auroc": sk.roc_auc_score(rows.correct, rows.confidence),
        "average_precision_correct": sk.average_precision_score(
            rows.correct, rows.confidence
        ),
        "average_precision_error": sk.average_precision_score(
            ~rows.correct, -rows.confidence
        ),
        "fpr_at_95_tpr": fpr[tpr >= 0.95].min(),
    }


def torchmetrics(rows: Classified) -> dict:
    """Accuracies, binned calibration errors and ranking by torchmetrics."""
    import torchmetrics.functional.classification as tm

    labels = torch.from_numpy(rows.labels).long()
    p = torch.from_numpy(probabilities_of(rows.logits)).float()
    predictions = torch.from_numpy(rows.predictions).long()
    given, correct = torch.from_numpy(rows.confidence), torch.from_numpy(rows.correct)
    values = {
        f"top_{k}_accuracy": tm.multiclass_accuracy(
            p, labels, num_classes=CLASSES, top_k=k, average="micro"
        )
        for k in TOP_K
    }
    for ours, norm in (("ece", "l1"), ("rms_ce", "l2"), ("mce", "max")):
        values[ours] = tm.multiclass_calibration_error(
            matrix_of(rows), labels, num_classes=CLASSES, n_bins=BINS, norm=norm
        )
    return values | {
        "balanced_accuracy": tm.multiclass_accuracy(
            predictions, labels, num_classes=CLASSES, average="macro"
        ),
        "per_class_accuracy": tm.multiclass_accuracy(
            predictions, labels, num_classes=CLASSES, average="none"
        ),
        "confusion_matrix": tm.multiclass_confusion_matrix(
            predictions, labels, num_classes=CLASSES
        ),
        "auroc": tm.binary_auroc(given, correct.int()),
        "average_precision_correct": tm.binary_average_precision(given, correct.int()),
        "average_precision_error": tm.binary_average_precision(
            1 - given.double(), (~correct).int()
        ),
    }


def torch_uncertainty(rows: Classified) -> dict:
    """Proper scores, calibration and selective prediction by torch-uncertainty."""
    tu = environment.import_torch_uncertainty()
    labels = torch.from_numpy(rows.labels).long()
    p = torch.from_numpy(probabilities_of(rows.logits)).float()
    bins = {"task": "multiclass", "num_bins": BINS, "num_classes": CLASSES}
    of_logits = {
        "brier": tu.BrierScore(num_classes=CLASSES),
        "nll": tu.CategoricalNLL(),
        "classwise_ece": tu.ClasswiseCalibrationError(
            num_classes=CLASSES, num_bins=BINS
        ),
    }
    of_confidence = {
        "ece": tu.CalibrationError(**bins),
        "rms_ce": tu.CalibrationError(norm="l2", **bins),
        "mce": tu.CalibrationError(norm="max", **bins),
        "ece_equal_mass": tu.AdaptiveCalibrationError(**bins),
        "smooth_ece": tu.SmoothCalibrationError(kernel_type="reflected"),
        "aurc": tu.AURC(),
        "augrc": tu.AUGRC(),
        "coverage_at_95_accuracy": tu.CovAt5Risk(),
        "risk_at_80_coverage": tu.RiskAt80Cov(),
    }
    values = {name: metric(p, labels) for name, metric in of_logits.items()}
    matrix = matrix_of(rows)
    values |= {name: metric(matrix, labels) for name, metric in of_confidence.items()}
    confidence, correct = (torch.from_numpy(c) for c in (rows.confidence, rows.correct))
    values["fpr_at_95_tpr"] = tu.FPR95(pos_label=1)(confidence, correct.int())
    return values


def fd_shifts(rows: Classified, clone: Path) -> dict:
    """Selective prediction, ranking and calibration by fd-shifts; risks x1000."""
    rc_stats, metrics = environment.import_fd_shifts(clone)
    confidence = rows.confidence.astype(np.float64)
    stats = rc_stats.RiskCoverageStats(confidence, (~rows.correct).astype(int))
    cache = metrics.StatsCache(confidence, rows.correct.astype(int), BINS)
    named = {
        "auroc": "failauc",
        "fpr_at_95_tpr": "fpr@95tpr",
        "average_precision_correct": "failap_suc",
        "average_precision_error": "failap_err",
        "ece": "ece",
        "mce": "mce",
        "aurc_of_cache": "aurc",
    }
    values = {k: metrics.get_metric_function(v)(cache) for k, v in named.items()}
    return values | {
        "aurc": stats.aurc,
        "excess_aurc": stats.eaurc,
        "augrc": stats.augrc,
        "excess_augrc": stats.eaugrc,
    }


def relplot(rows: Classified) -> dict:
    """The smooth calibration error by its authors, in probability space."""
    from relplot import config, metrics

    config.use_logit_scaling = False
    columns = rows.confidence.astype(np.float64), rows.correct.astype(np.float64)
    fixed = {
        f"smooth_ece_at_{width}": metrics.smECE_sigma(*columns, sigma=width)
        for width in SMOOTH_BANDWIDTHS
    }
    return fixed | {"smooth_ece": metrics.smECE(*columns)}


def netcal(rows: Classified) -> dict:
    """Binned calibration errors by netcal."""
    from netcal.metrics import ECE, MCE

    matrix, labels = matrix_of(rows).numpy(), rows.labels
    return {
        "ece": ECE(BINS).measure(matrix, labels),
        "mce": MCE(BINS).measure(matrix, labels),
    }


def galil(rows: Ranked, clone: Path) -> dict:
    """The published code of arXiv 2302.11874, on float64 and on its own float32.

    Its sort leaves equal confidences in any order. So the rows come sorted, ties in
    the order of the rows, and its own sort is off where it can be; "as_published" is
    what it makes of the unsorted rows.
    """
    module = environment.import_galil(clone)
    columns = np.stack([rows.confidence, rows.correct], axis=1).astype(np.float64)
    ordered = columns[np.argsort(-columns[:, 0], kind="stable")]
    samples, unsorted = torch.from_numpy(ordered), torch.from_numpy(columns)
    area = module.AURC_calc(samples, sort=False)
    ece, mce = module.ECE_calc(samples, num_bins=BINS)
    ece_32, mce_32 = module.ECE_calc(samples.float(), num_bins=BINS)
    values = {
        "auroc": module.AUROC(samples, sort=False),
        "aurc": area,
        "excess_aurc": module.EAURC_calc(area, 100 * rows.correct.mean()),
        "ece": ece,
        "mce": mce,
        "ece_float32": ece_32,
        "mce_float32": mce_32,
        "auroc_as_published": module.AUROC(unsorted),
        "aurc_as_published": module.AURC_calc(unsorted),
    }
    for percent in (95, 99):
        values[f"coverage_at_{percent}_accuracy"] = (
            module.coverage_for_desired_accuracy(
                samples.float(), accuracy=percent / 100
            )
        )
    return values


def plain(value):
    """Tensors and arrays as lists and floats; the float64 digits are kept."""
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    return np.asarray(value).tolist()


def main() -> None:
    """Writes both files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    environment.add_arguments(parser, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # of classes without errors, which is intended
    libraries = {
        "scikit-learn": scikit_learn,
        "torchmetrics": torchmetrics,
        "torch-uncertainty": torch_uncertainty,
        "fd-shifts": lambda rows: fd_shifts(rows, arguments.fd_shifts),
        "relplot": relplot,
        "netcal": netcal,
    }
    classified, ranked = classified_sets(), ranked_sets()
    references = {
        "versions": environment.versions()
        | {
            "fd-shifts": environment.FD_SHIFTS_SOURCE,
            "galil": environment.GALIL_SOURCE,
        },
        "classified": {
            name: {peer: plain(measure(rows)) for peer, measure in libraries.items()}
            for name, rows in classified.items()
        },
        "ranked": {
            name: plain(galil(rows, arguments.galil)) for name, rows in ranked.items()
        },
    }
    arrays = {}
    for name, rows in (classified | ranked).items():
        for field, column in rows._asdict().items():
            small = np.int8 if column.dtype == np.int32 else column.dtype
            arrays[f"{name}/{field}"] = column.astype(small)
    arguments.out.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(arguments.out / "sets.npz", **arrays)
    text = json.dumps(references, indent=1, sort_keys=True)
    (arguments.out / "references.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
