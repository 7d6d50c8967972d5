"""Times the peers' side of scripts/benchmark_metric_kernels.py.

The peers get every advantage that their documentation offers: no argument checks,
metrics that share a state updated once (MetricCollection), one softmax for all, and
the faster of batches of 1,000 and one update with all rows.

    groups-batches     torchmetrics and torch-uncertainty, batches of 1,000
    groups-whole       the same, one update
    bootstrap-columns  fd-shifts' metrics on --resamples resamples of columns
    bootstrap-matrix   the same as fd-shifts does it: the probabilities and logits are
                       resampled, and the proper scores computed from them anew

Run by itself it prints one line of JSON a round. With --serve it does one round for
every line it reads, so that another process can take turns with it.

    peers/bin/python scripts/peers/measure_kernels.py --task groups-whole \
        --logits logits.npy --labels labels.npy
"""

# pyright: reportMissingImports=false
# The peers are installed in an environment of their own.

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import environment
import numpy as np

BATCH_SIZE = 1000
TASKS = ("groups-batches", "groups-whole", "bootstrap-columns", "bootstrap-matrix")


def group_metrics(num_classes: int, leave_out: list[str]):
    """What the two libraries have of accuracy, proper scores, calibration, selection.

    Returns:
        A collection of metrics of (probabilities, labels), and one of metrics of
        (confidence, correct).
    """
    import torchmetrics.classification as tm
    from torchmetrics import MetricCollection

    tu = environment.import_torch_uncertainty()
    classes = {"num_classes": num_classes, "validate_args": False}
    bins = {"task": "multiclass", "num_bins": 15, **classes}
    of_probabilities = {
        "accuracy": tm.MulticlassAccuracy(average="micro", **classes),
        "top_5_accuracy": tm.MulticlassAccuracy(average="micro", top_k=5, **classes),
        "balanced_accuracy": tm.MulticlassAccuracy(average="macro", **classes),
        "per_class_accuracy": tm.MulticlassAccuracy(average="none", **classes),
        "confusion_matrix": tm.MulticlassConfusionMatrix(**classes),
        "brier": tu.BrierScore(num_classes=num_classes),
        "nll": tu.CategoricalNLL(),
        "ece": tu.CalibrationError(**bins),
        "rms_calibration_error": tu.CalibrationError(norm="l2", **bins),
        "mce": tu.CalibrationError(norm="max", **bins),
        "ece_equal_mass": tu.AdaptiveCalibrationError(**bins),
        "smooth_ece": tu.SmoothCalibrationError(kernel_type="reflected"),
        "classwise_ece": tu.ClasswiseCalibrationError(num_classes=num_classes),
        "aurc": tu.AURC(),
        "augrc": tu.AUGRC(),
        "coverage_at_95_accuracy": tu.CovAt5Risk(),
        "risk_at_80_coverage": tu.RiskAt80Cov(),
    }
    of_confidence = {
        "auroc": tm.BinaryAUROC(validate_args=False),
        "average_precision": tm.BinaryAveragePrecision(validate_args=False),
        "fpr_at_95_tpr": tu.FPR95(pos_label=1),
    }
    return tuple(
        MetricCollection({k: v for k, v in metrics.items() if k not in leave_out})
        for metrics in (of_probabilities, of_confidence)
    )


def group_task(
    logits: np.ndarray, labels: np.ndarray, batch_size: int, leave_out: list[str]
) -> Callable:
    """One pass over all rows: softmax, update, compute."""
    import torch

    logits, labels = torch.from_numpy(logits), torch.from_numpy(labels).long()
    group_metrics(2, leave_out)  # imports, which are not timed

    def run() -> dict:
        of_probabilities, of_confidence = group_metrics(logits.shape[1], leave_out)
        with torch.inference_mode():
            for start in range(0, len(labels), batch_size):
                rows = slice(start, start + batch_size)
                probabilities = torch.softmax(logits[rows], dim=1)
                confidence, prediction = probabilities.max(dim=1)
                of_probabilities.update(probabilities, labels[rows])
                of_confidence.update(confidence, (prediction == labels[rows]).int())
            values = {**of_probabilities.compute(), **of_confidence.compute()}
        return {k: float(v) for k, v in values.items() if v.numel() == 1}

    return run


def bootstrap_task(
    logits: np.ndarray, labels: np.ndarray, clone: Path, resamples: int, matrix: bool
) -> Callable:
    """fd-shifts' bootstrap: scikit-learn draws the rows, the metrics run on them.

    With `matrix` the resample is taken of what fd-shifts holds, float64 logits and
    probabilities. Otherwise of columns computed once: a favour to fd-shifts.
    """
    from scipy.special import softmax
    from sklearn.utils import resample

    rc_stats, metrics = environment.import_fd_shifts(clone)
    logits = logits.astype(np.float64)
    probabilities = softmax(logits, axis=1)
    rows = np.arange(len(labels))
    columns = example_columns(probabilities, labels)

    def one(seed: int) -> dict:
        drawn = resample(rows, n_samples=len(rows), random_state=seed)
        if matrix:
            _, taken = logits[drawn], probabilities[drawn]
            sample = example_columns(taken, labels[drawn])
        else:
            sample = {name: column[drawn] for name, column in columns.items()}
        return fd_shifts_metrics(rc_stats, metrics, sample)

    if not matrix:
        del logits, probabilities
    return lambda: [one(seed) for seed in range(resamples)][-1]


def example_columns(probabilities: np.ndarray, labels: np.ndarray) -> dict:
    """Confidence, correctness and proper scores of each row, in float64."""
    p_label = np.take_along_axis(probabilities, labels[:, None], axis=1)[:, 0]
    square_sum = np.einsum("nk,nk->n", probabilities, probabilities)
    return {
        "confidence": probabilities.max(axis=1),
        "correct": (probabilities.argmax(axis=1) == labels).astype(int),
        "nll": -np.log(p_label + 1e-7),  # fd-shifts' guard
        "brier": square_sum - 2 * p_label + 1,
    }


def fd_shifts_metrics(rc_stats, metrics, sample: dict) -> dict:
    """The ten metrics that both sides have, under our names."""
    confidence, correct = sample["confidence"], sample["correct"]
    cache = metrics.StatsCache(confidence, correct, 15)
    stats = rc_stats.RiskCoverageStats(confidence, 1 - correct)
    named = {
        "accuracy": np.mean(correct),
        "nll": np.mean(sample["nll"]),
        "brier": np.mean(sample["brier"]),
        "ece": metrics.get_metric_function("ece")(cache),
        "mce": metrics.get_metric_function("mce")(cache),
        "auroc": metrics.get_metric_function("failauc")(cache),
        "aurc": stats.aurc / 1000,
        "excess_aurc": stats.eaurc / 1000,
        "augrc": stats.augrc / 1000,
        "excess_augrc": stats.eaugrc / 1000,
    }
    return {name: float(value) for name, value in named.items()}


def build_task(arguments: argparse.Namespace) -> Callable:
    """Reads the inputs, untimed."""
    logits, labels = np.load(arguments.logits), np.load(arguments.labels)
    if arguments.task.startswith("bootstrap"):
        if arguments.fd_shifts is None:
            raise SystemExit(f"--task {arguments.task} needs --fd-shifts")
        matrix = arguments.task == "bootstrap-matrix"
        clone, resamples = arguments.fd_shifts, arguments.resamples
        return bootstrap_task(logits, labels, clone, resamples, matrix)
    batch_size = BATCH_SIZE if arguments.task == "groups-batches" else len(labels)
    return group_task(logits, labels, batch_size, arguments.leave_out)


def peak_memory() -> int:
    """Largest resident size of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Runs the task once a round."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--task", required=True, choices=TASKS)
    parser.add_argument("--logits", type=Path, required=True, help="float32 [n, k]")
    parser.add_argument("--labels", type=Path, required=True, help="integers [n]")
    parser.add_argument("--leave-out", nargs="*", default=[], help="group metrics")
    parser.add_argument("--resamples", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2, help="of torch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", action="store_true", help="a round a line of input")
    environment.add_arguments(parser)
    arguments = parser.parse_args()
    if arguments.task.startswith("groups"):
        import torch

        torch.set_num_threads(arguments.threads)
    run = build_task(arguments)
    before = peak_memory()
    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin if arguments.serve else range(arguments.rounds):
        started = time.perf_counter()
        values = run()
        seconds = time.perf_counter() - started
        memory = {"before": before, "peak": peak_memory()}
        print(json.dumps({"seconds": seconds, **memory, "values": values}), flush=True)


if __name__ == "__main__":
    main()
