"""From what was computed to the rows that are kept."""

import dataclasses
import math
import traceback
from typing import Any

from jaxbench.config import ExperimentConfig, config_digest
from jaxbench.engine import Evaluation, provenance
from jaxbench.results import Run, RunError
from jaxbench.sweeps.plan import Target, Trial, make_recipe
from jaxbench.sweeps.subjects import Subject
from jaxbench.training import PopulationResult
from model_zoo import Classifier


def owner_settings(owner: Trial | Subject) -> dict[str, Any]:
    """What identifies a model in a row, whether it was trained here or not."""
    if isinstance(owner, Subject):
        return {"model": owner.name, "weights": owner.weights, "dtype": owner.dtype}
    return {
        "model": owner.model,
        "optimizer": owner.optimizer,
        "trial_id": owner.trial_id,
        **dataclasses.asdict(owner.hyper),
    }


def recipe_settings(config: ExperimentConfig) -> dict[str, Any]:
    """How a trial was trained, beside what sets it apart from its population."""
    assert config.train is not None
    recipe = dataclasses.asdict(make_recipe(config))
    recipe["train_batch_size"] = recipe.pop("batch_size")
    recipe["augmentations"] = " ".join(recipe["augmentations"])
    names = ("image_size", "dtype", "strategy")
    return recipe | {name: getattr(config.train, name) for name in names}


def trial_run(
    config: ExperimentConfig,
    trial: Trial,
    classifier: Classifier,
    result: PopulationResult,
    member: int,
    origin: dict[str, str],
) -> Run:
    """The row of a finished training run, with its learning curves."""
    assert config.train is not None
    curves = {name: curve[member] for name, curve in result.curves.items()}
    return Run(
        run_id=trial.trial_id,
        kind="trial",
        status="ok",
        settings={
            **owner_settings(trial),
            "experiment": config.name,
            "dataset": config.train.dataset,
            **recipe_settings(config),
            "num_classes": classifier.num_classes,
            "num_parameters": classifier.num_parameters,
            "diverged_step": result.diverged_step[member],
        },
        metrics={
            name: float(curve[-1])
            for name, curve in curves.items()
            if name.startswith("val_")
        },
        timing={name: float(value) for name, value in result.timing.items()},
        provenance=_provenance(config) | origin,
        error=None,
        examples={},
        curves=curves,
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
            "num_examples": evaluation.num_examples,
            "num_skipped": evaluation.num_skipped,
            "num_nonfinite": evaluation.num_nonfinite,
            "batch_size": evaluation.batch_size,
            "num_devices": evaluation.num_devices,
            "temperature": evaluation.temperature,
            "dtype": _dtype(config, owner),
            "peak_memory_source": source,
        },
        metrics=evaluation.metrics,
        timing={name: float(value) for name, value in timing.items()},
        provenance=_provenance(config)
        | origin
        | {"dataset_fingerprint": target.source.fingerprint},
        error=None,
        examples=evaluation.columns,
        curves={},
    )


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
    elif config.train:
        settings |= {"dataset": config.train.dataset}
    return Run(
        run_id=run_id,
        kind="evaluation" if target else "trial",
        status="failed",
        settings=settings,
        metrics={},
        timing={},
        provenance=_provenance(config),
        error=RunError(
            type=type(error).__name__,
            message=str(error),
            traceback="".join(traceback.format_exception(error)),
        ),
        examples={},
        curves={},
    )


def _dtype(config: ExperimentConfig, owner: Trial | Subject) -> str:
    if isinstance(owner, Subject):
        return owner.dtype
    return config.train.dtype if config.train else "float32"


def headline(run: Run) -> float:
    """The number that a progress display shows for a run; NaN where it has none."""
    names = ("accuracy", "val_accuracy", "ood_auroc_max_softmax")
    return next((run.metrics[n] for n in names if n in run.metrics), math.nan)


def _provenance(config: ExperimentConfig) -> dict[str, str]:
    return provenance() | {"config_digest": config_digest(config)}
