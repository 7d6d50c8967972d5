"""Runs that look like real ones: scores of synthetic logits, keyed by settings."""

import zlib
from itertools import product

import numpy as np

from jaxbench.results import Run, RunError, run_digest

PROVENANCE = {
    "git_commit": "0123abcd",
    "jaxbench_version": "0.1.0",
    "jax_version": "0.10.2",
    "flax_version": "0.12.8",
    "python_version": "3.11.9",
    "device": "TFRT_CPU",
    "platform": "cpu",
    "num_devices": "8",
    "config_digest": "feedbeef",
    "dataset_fingerprint": "cafe",
    "created_at": "2026-01-02T03:04:05+00:00",
}
OOD = ("max_softmax", "max_logit", "energy")


def rng_of(*values):
    return np.random.default_rng(zlib.crc32(repr(values).encode()))


def score_columns(logits, labels, temperature=1.0):
    """The per-example columns, in float64 with the textbook formulae."""
    z = logits.astype(np.float64) / temperature
    energy = np.log(np.exp(z - z.max(1, keepdims=True)).sum(1)) + z.max(1)
    p = np.exp(z - energy[:, None])
    ranked = np.sort(p, axis=1)[:, ::-1]
    prediction = z.argmax(1)
    known = labels >= 0
    truth = np.where(known, labels, 0)
    rows = np.arange(len(z))
    beaten_by = (z > z[rows, truth][:, None]).sum(1)
    columns = {
        "confidence": ranked[:, 0],
        "log_one_minus_confidence": np.log(ranked[:, 1:].sum(1)),
        "nll": np.where(known, energy - z[rows, truth], np.nan),
        "brier": np.where(known, (p**2).sum(1) - 2 * p[rows, truth] + 1, np.nan),
        "entropy": -(p * np.log(p)).sum(1),
        "margin": ranked[:, 0] - ranked[:, 1],
        "max_logit": z.max(1),
        "energy": energy,
    }
    columns = {name: values.astype(np.float32) for name, values in columns.items()}
    return {
        "label": labels.astype(np.int32),
        "prediction": prediction.astype(np.int32),
        "correct": known & (prediction == labels),
        "label_rank": np.where(known, beaten_by, 2**31 - 1).astype(np.int32),
        **columns,
        "finite": np.ones(len(z), bool),
    }


def metric_values(columns, suffix=""):
    correct, confidence = columns["correct"], columns["confidence" + suffix]
    order = np.argsort(columns["log_one_minus_confidence" + suffix])
    risk = np.cumsum(~correct[order]) / np.arange(1, len(correct) + 1)
    bins = np.clip(np.ceil(confidence * 15).astype(int) - 1, 0, 14)
    gaps = [abs((correct[bins == b] - confidence[bins == b]).sum()) for b in range(15)]
    accuracy = correct.mean()
    error = 1.96 * np.sqrt(accuracy * (1 - accuracy) / len(correct))
    ece = sum(gaps) / len(correct)
    return {
        "accuracy": accuracy,
        "accuracy_low": accuracy - error,
        "accuracy_high": accuracy + error,
        "top_5_accuracy": (columns["label_rank"] < 5).mean(),
        "nll": columns["nll" + suffix].mean(),
        "brier": columns["brier" + suffix].mean(),
        "ece": ece,
        "ece_low": ece * 0.8,
        "ece_high": ece * 1.25,
        "mean_confidence": confidence.mean(),
        "aurc": risk.mean(),
        "auroc": 0.7 + 0.2 * accuracy,
        "coverage_at_95_accuracy": (risk <= 0.05).mean(),
        "coverage_at_99_accuracy": (risk <= 0.01).mean(),
    }


def evaluation(settings, dataset, role, *, skill, n=300, scaling=True):
    """An evaluation whose accuracy grows with `skill`, about 0 to 5."""
    data = rng_of(dataset.split("/")[0])
    labels = data.integers(0, 10, n)
    difficulty = data.normal(0, 1.5, n)
    noise = rng_of(dataset, sorted(settings.items())).normal(0, 1, (n, 10))
    noise[np.arange(n), labels] += 0.0 if role == "ood" else skill - difficulty
    labels = np.full(n, -1) if role == "ood" else labels
    logits = 2.5 * noise
    columns = score_columns(logits, labels)
    metrics = {} if role == "ood" else metric_values(columns)
    if scaling and role != "ood":
        scaled = score_columns(logits, labels, 2.0)
        names = ("confidence", "log_one_minus_confidence", "nll", "brier", "entropy")
        columns |= {f"{name}_ts": scaled[name] for name in (*names, "margin")}
        after = metric_values(columns, "_ts")
        metrics |= {f"{n}_ts": after[n] for n in ("nll", "brier", "ece", "aurc")}
    if role == "ood":
        for offset, score in enumerate(OOD):
            auroc = 0.6 + 0.05 * skill + 0.02 * offset
            metrics |= {f"ood_auroc_{score}": auroc, f"ood_fpr95_{score}": 1 - auroc}
    ids = np.array([f"{dataset.split('@')[0]}-{i:05d}" for i in range(n)])
    settings = settings | {
        "dataset": dataset,
        "role": role,
        "num_classes": 10,
        "num_examples": n,
        "num_skipped": 0,
        "num_nonfinite": 0,
        "batch_size": 256,
        "num_devices": 1,
        "temperature": 2.0 if scaling else None,
        "dtype": "float32",
    }
    return Run(
        run_id=run_digest(settings),
        kind="evaluation",
        status="ok",
        settings=settings,
        metrics={name: float(value) for name, value in metrics.items()},
        timing={"seconds": 1.5, "images_per_second": n / 1.5},
        provenance=PROVENANCE,
        examples={"id": ids, **columns},
    )


def trial(settings, *, skill, epochs=8, diverged_step=None):
    epoch = np.arange(1, epochs + 1)
    val_accuracy = (1 - np.exp(-epoch / 2)) * min(0.99, 0.4 + 0.15 * skill)
    train_loss = 2.3 * np.exp(-epoch * skill / 8)
    if diverged_step is not None:
        val_accuracy[2:], train_loss[2:] = 0.1, np.nan
    settings = settings | {
        "dataset": "digits@train",
        "epochs": epochs,
        "train_batch_size": 64,
        "diverged_step": diverged_step,
    }
    return Run(
        run_id=run_digest(settings),
        kind="trial",
        status="ok",
        settings=settings,
        metrics={"val_accuracy": float(val_accuracy[-1]), "val_nll": 0.4},
        timing={"train_seconds": 12.0},
        provenance=PROVENANCE,
        curves={"train_loss": train_loss, "val_accuracy": val_accuracy},
    )


def failed(settings, dataset=None, message="RESOURCE_EXHAUSTED: out of memory"):
    settings = settings | ({"dataset": dataset, "role": "clean"} if dataset else {})
    return Run(
        run_id=run_digest(settings | {"failed": True}),
        kind="evaluation" if dataset else "trial",
        status="failed",
        settings=settings,
        provenance=PROVENANCE,
        error=RunError("XlaRuntimeError", message, "Traceback ...\n  line <1>"),
    )


def datasets(corruptions=("gaussian_noise", "brightness", "pixelate")):
    """Address and role of 17 datasets: one clean, 15 corrupted, one ood."""
    corrupted = product(corruptions, range(1, 6))
    return [
        ("digits@test", "clean", 0),
        *(
            (f"digits-c/{name}_{severity}", "shifted", severity)
            for name, severity in corrupted
        ),
        ("digits-ood", "ood", 0),
    ]


def sweep(
    models=("resnet8", "vit_tiny"),
    optimizers=("sgd", "adamw", "lion"),
    decays=(0.0, 1e-4),
    n=300,
):
    """Trials of every pair over a grid, each evaluated on 17 datasets."""
    runs = []
    for model, optimizer, rate, decay in product(
        models, optimizers, (1e-3, 1e-2), decays
    ):
        settings = {
            "experiment": "quickstart",
            "model": model,
            "optimizer": optimizer,
            "learning_rate": rate,
            "weight_decay": decay,
            "seed": 0,
            "num_parameters": 20_000 + len(model),
        }
        skill = 3 + 1.5 * rng_of(model, optimizer, rate, decay).random()
        diverged = 40 if (optimizer, rate) == ("lion", 1e-2) else None
        one = trial(settings, skill=skill, diverged_step=diverged)
        runs.append(one)
        skill = 0.2 if diverged else skill
        for dataset, role, severity in datasets():
            tied = settings | {"trial_id": one.run_id}
            runs.append(
                evaluation(tied, dataset, role, skill=skill - 0.5 * severity, n=n)
            )
    return runs


def assert_same(a, b):
    for name in ("run_id", "kind", "status", "settings", "provenance", "error"):
        assert getattr(a, name) == getattr(b, name)
    assert {k: type(v) for k, v in a.settings.items()} == {
        k: type(v) for k, v in b.settings.items()
    }
    for group in ("metrics", "timing"):
        one, two = getattr(a, group), getattr(b, group)
        assert list(one) == list(two)
        np.testing.assert_array_equal(list(one.values()), list(two.values()))
    for group in ("examples", "curves"):
        one, two = getattr(a, group), getattr(b, group)
        assert list(one) == list(two)
        for name in one:
            assert one[name].dtype == two[name].dtype
            np.testing.assert_array_equal(one[name], two[name])
