"""From what was computed to the rows that are kept."""

import dataclasses
import math
import traceback
from typing import Any

import numpy as np

from jaxbench.config import ExperimentConfig, TrainConfig
from jaxbench.engine import Evaluation
from jaxbench.results import Run, RunError
from jaxbench.sweeps.numbers import run_provenance
from jaxbench.sweeps.plan import Target
from jaxbench.sweeps.subjects import Subject
from jaxbench.sweeps.training import CURVE_METRICS, Trial, make_recipe
from jaxbench.sweeps.trials import TrialsResult
from model_zoo import Classifier


def owner_settings(owner: Trial | Subject) -> dict[str, Any]:
    """What identifies a model in a row, whether it was trained here or not."""
    if isinstance(owner, Subject):
        return {
            "model": owner.name,
            "weights": owner.weights,
            "network_changes": owner.found and owner.found.changes,
            "dtype": owner.dtype,
            "zero_shot": owner.zero_shot,
            "class_order": owner.outputs and (owner.outputs.said_by or "dataset"),
        }
    return {
        "model": owner.model,
        "optimizer": owner.optimizer,
        "trial_id": owner.trial_id,
        **owner.hyper.settings(),
    }


def input_settings(classifier: Classifier) -> dict[str, Any]:
    """What a model sees of an image, in a row."""
    spec = classifier.input_spec
    return {
        "image_size": spec.size[0],
        "crop_fraction": spec.crop_fraction,
        "interpolation": spec.interpolation,
    }


def recipe_settings(config: ExperimentConfig, train: TrainConfig) -> dict[str, Any]:
    """How a trial was trained, beside what sets it apart from its population."""
    recipe = dataclasses.asdict(make_recipe(train, config.limit))
    recipe["train_batch_size"] = recipe.pop("batch_size")
    recipe["augmentations"] = " ".join(recipe["augmentations"])
    recipe["recipe"] = train.recipe
    teacher = train.teacher and f"{train.teacher.name} {train.teacher.weights}"
    names = ("image_size", "crop_fraction", "interpolation")
    names += ("dtype", "strategy", "layer_decay")
    return recipe | {
        **{name: getattr(train, name) for name in names},
        "image_limit": config.limit,
        "started_from": train.weights,
        "frozen": " ".join(train.frozen),
        "teacher": teacher,
    }


def trial_run(
    config: ExperimentConfig,
    trial: Trial,
    classifier: Classifier,
    result: TrialsResult,
    member: int,
    origin: dict[str, str],
) -> Run:
    """The row of a finished training run, with its learning curves.

    Its metrics are those of the last point at which it was validated: of a trial that
    was stopped early, the point before; of one that diverged, NaN.
    """
    train = trial.train
    curves = {name: curve[member] for name, curve in result.curves.items()}
    stopped = result.stopped_step[member]
    last = -1 if stopped is None else result.stops.index(stopped)
    return Run(
        run_id=trial.trial_id,
        kind="trial",
        status="ok",
        settings={
            **recipe_settings(config, train),
            **owner_settings(trial),
            # "best-trial" says which trials were asked, not which one it was.
            "teacher_trial": result.teacher_trial,
            "experiment": config.name,
            "dataset": train.dataset,
            "num_classes": classifier.num_classes,
            "num_parameters": classifier.num_parameters,
            "diverged_step": result.diverged_step[member],
            "stopped_step": stopped,
            "steps_per_epoch": result.stops[-1] // make_recipe(train).epochs,
        },
        metrics={
            # A population that diverged at once was never validated.
            **dict.fromkeys((f"val_{name}" for name in CURVE_METRICS), math.nan),
            **{n: float(c[last]) for n, c in curves.items() if n.startswith("val_")},
        },
        timing={name: float(value) for name, value in result.timing.items()},
        provenance=run_provenance(config, "trial") | origin,
        error=None,
        examples={},
        curves=curves | {"step": np.array(result.stops, np.float64)},
    )


def evaluation_run(
    config: ExperimentConfig,
    run_id: str,
    owner: Trial | Subject,
    target: Target,
    classifier: Classifier,
    evaluation: Evaluation,
    origin: dict[str, str],
    *,
    load_seconds: float,
) -> Run:
    """The row of a finished evaluation, with its per-example columns.

    `load_seconds` is what decoding the dataset into memory took just before; 0 where
    it was at hand, or was decoded during the pass.
    """
    timing = dataclasses.asdict(evaluation.timing) | {"load_seconds": load_seconds}
    source = timing.pop("peak_memory_source")
    return Run(
        run_id=run_id,
        kind="evaluation",
        status="ok",
        settings={
            **owner_settings(owner),
            "experiment": config.name,
            "dataset": target.address,
            "role": target.role,
            "num_classes": classifier.num_classes,
            "num_parameters": classifier.num_parameters,
            **input_settings(classifier),
            "num_examples": evaluation.num_examples,
            "num_published": published_count(target),
            "num_skipped": evaluation.num_skipped,
            "num_nonfinite": evaluation.num_nonfinite,
            "batch_size": evaluation.batch_size,
            "num_devices": evaluation.num_devices,
            "temperature": evaluation.temperature,
            "dtype": owner.dtype if isinstance(owner, Subject) else owner.train.dtype,
            "peak_memory_source": source,
            **target.measuring(config),
        },
        metrics=evaluation.metrics,
        timing={name: float(value) for name, value in timing.items()},
        provenance=run_provenance(config, "evaluation")
        | origin
        | {"dataset_fingerprint": target.source.fingerprint},
        error=None,
        examples=evaluation.columns,
        curves={},
    )


def published_count(target: Target) -> int | None:
    """How many images a dataset should have had, where it was prepared in part."""
    partial = getattr(target.source, "partial", None)
    return None if partial is None else partial[0]


def failed_run(
    config: ExperimentConfig,
    run_id: str,
    owner: Trial | Subject,
    target: Target | None,
    error: BaseException,
) -> Run:
    """The row of a run that failed: of a training run when there is no target."""
    settings = owner_settings(owner) | {"experiment": config.name}
    if target is not None:
        settings |= {"dataset": target.address, "role": target.role}
    elif isinstance(owner, Trial):
        settings |= {"dataset": owner.train.dataset}
    return Run(
        run_id=run_id,
        kind="evaluation" if target else "trial",
        status="failed",
        settings=settings,
        metrics={},
        timing={},
        provenance=run_provenance(config, "evaluation" if target else "trial"),
        error=RunError(
            type=type(error).__name__,
            message=str(error),
            traceback="".join(traceback.format_exception(error)),
        ),
        examples={},
        curves={},
    )


def headline(run: Run) -> float:
    """The number that a progress display shows for a run; NaN where it has none."""
    names = ("accuracy", "val_accuracy", "ood_auroc_max_softmax")
    return next((run.metrics[n] for n in names if n in run.metrics), math.nan)
