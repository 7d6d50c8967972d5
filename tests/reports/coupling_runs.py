"""Stores of sweeps whose every number is known."""

import numpy as np

from jaxbench.results import ResultStore, Run, run_digest
from tests.results.sample_runs import PROVENANCE, evaluation

RATES = (1e-3, 1e-2, 1e-1)
POINTS = 4


def coupling_trial(
    model="resnet8",
    optimizer="sgd",
    rate=0.1,
    final=0.8,
    *,
    decay=0.0,
    seed=0,
    diverged_step=None,
    **settings,
):
    """A trial whose validation accuracy grows evenly to `final` in four points."""
    accuracy = np.linspace(final / POINTS, final, POINTS)
    seconds = np.arange(1.0, POINTS + 1) * (2.0 if optimizer == "lamb" else 1.0)
    if diverged_step is not None:
        accuracy[1:], seconds[1:] = np.nan, np.nan
    settings = {
        "model": model,
        "optimizer": optimizer,
        "learning_rate": rate,
        "weight_decay": decay,
        "seed": seed,
        "dataset": "digits@train",
        "epochs": 2,
        "recipe": "plain",
        "num_classes": 10,
        "steps_per_epoch": 10,
        "diverged_step": diverged_step,
    } | settings
    run_id = run_digest(settings)
    return Run(
        run_id=run_id,
        kind="trial",
        status="ok",
        settings=settings | {"trial_id": run_id},
        metrics={"val_accuracy": float(accuracy[-1]), "val_nll": 0.4},
        timing={
            "compile_seconds": 0.0,
            "program_seconds": 3.0,
            "train_seconds": 12.0,
            "steps_per_second": 50.0 if optimizer == "lamb" else 100.0,
            "images_per_second": 6400.0,
            "optimizer_bytes": 2_000_000.0,
            "peak_memory_bytes": 5_000_000.0,
        },
        provenance=PROVENANCE,
        curves={
            "train_loss": 1.0 - accuracy,
            "seconds": seconds,
            "val_accuracy": accuracy,
            "step": np.arange(1.0, POINTS + 1) * 5,
        },
    )


OPTIMIZERS = ("rmsprop", "sgd", "adamw", "lamb", "lion")
# Best validation accuracy of each optimizer, in the order above.
BEST = {
    "resnet8": (0.80, 0.82, 0.81, 0.83, 0.40),
    "vit_tiny": (0.70, None, 0.78, 0.80, 0.79),
}


def coupling_runs(dataset="digits@train", names=None, **settings):
    """Five optimizers on two backbones at three rates; LION fails, SGD diverges."""
    names = names or {}
    for model, scores in BEST.items():
        for place, (optimizer, best) in enumerate(zip(OPTIMIZERS, scores, strict=True)):
            # The best rate moves with the backbone for every other optimizer.
            at = 1 if model == "resnet8" or place % 2 else 2
            for index, rate in enumerate(RATES):
                final = 0.5 if best is None else best - 0.1 * abs(index - at)
                yield coupling_trial(
                    names.get(model, model),
                    optimizer,
                    rate,
                    final,
                    diverged_step=7 if best is None else None,
                    dataset=dataset,
                    **settings,
                )


def evaluations_of(runs, dataset="digits@test"):
    """An evaluation of each trial."""
    for run in runs:
        names = ("model", "optimizer", "learning_rate", "weight_decay", "seed")
        settings = {name: run.settings[name] for name in (*names, "trial_id")}
        yield evaluation(settings, dataset, "clean", skill=3.0, n=40)


def write_store(path, *runs):
    store = ResultStore(path, create=True)
    for run in runs:
        store.write(run)
    return store
