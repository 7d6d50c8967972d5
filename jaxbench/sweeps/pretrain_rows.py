"""The rows that contrastive runs leave, finished and failed."""

import dataclasses
import traceback
from collections.abc import Sequence
from typing import Any

from jaxbench.config import ExperimentConfig
from jaxbench.engine import weights_digest
from jaxbench.results import Run, RunError
from jaxbench.sweeps.numbers import run_provenance
from jaxbench.sweeps.pretrain_jobs import OBJECTIVE, Pretraining, PretrainTrial
from jaxbench.training.contrastive import ContrastiveResult, Encoder


@dataclasses.dataclass(frozen=True)
class Probed:
    """What a linear layer made of frozen features.

    Attributes:
        metrics: Its accuracies.
        num_skipped: Images of its datasets that could not be read.
        seconds: What it took.
    """

    metrics: dict[str, float]
    num_skipped: int = 0
    seconds: float = 0.0


def finished_pretraining(
    config: ExperimentConfig,
    job: Pretraining,
    trial: PretrainTrial,
    encoder: Encoder,
    result: ContrastiveResult,
    probed: Probed,
    *,
    num_skipped: int,
    dataset: str,
) -> Run:
    """The row of a run that was trained and probed.

    Args:
        config: The experiment.
        job: What the run is of.
        trial: The run.
        encoder: Its network.
        result: What training gave.
        probed: What the probe gave.
        num_skipped: Training images that could not be read.
        dataset: Fingerprint of the training images.
    """
    counts = result.counts
    return Run(
        run_id=trial.trial_id,
        kind="trial",
        status="ok",
        settings={
            **_identity(config, job, trial),
            "num_parameters": encoder.classifier.num_parameters,
            "diverged_step": result.diverged_step,
            "num_skipped": num_skipped,
            "probe_num_skipped": probed.num_skipped,
            **counts,
        },
        metrics={
            **probed.metrics,
            "final_loss": result.final_loss(),
            "rejected_share": counts["rejected"] / max(counts["draws"], 1),
        },
        timing=result.timing | {"probe_seconds": probed.seconds},
        provenance={
            **run_provenance(config, "pretraining"),
            "dataset_fingerprint": dataset,
            "weights_digest": weights_digest(result.variables),
        },
        curves=result.curves,
    )


def failed_pretraining(
    config: ExperimentConfig, job: Pretraining, trial: PretrainTrial, error: Exception
) -> Run:
    """The row of a run that failed."""
    return Run(
        run_id=trial.trial_id,
        kind="trial",
        status="failed",
        settings=_identity(config, job, trial),
        provenance=run_provenance(config, "pretraining"),
        error=RunError(
            type(error).__name__,
            str(error),
            "".join(traceback.format_exception(error)),
        ),
    )


def _listed(values: Sequence[float]) -> str:
    return " ".join(f"{value:g}" for value in values)


def _identity(
    config: ExperimentConfig, job: Pretraining, trial: PretrainTrial
) -> dict[str, Any]:
    """What identifies a run in a row."""
    recipe, table = job.recipe, job.table
    views = dataclasses.asdict(recipe.views)
    views["crop_scale"] = " ".join(map(str, views["crop_scale"]))
    views["crop_ratio"] = " ".join(f"{end:g}" for end in views["crop_ratio"])
    return {
        "model": job.model,
        "optimizer": table.optimizer,
        **trial.member.settings(),
        "objective": OBJECTIVE,
        "experiment": config.name,
        "dataset": table.dataset,
        "epochs": recipe.epochs,
        "train_batch_size": recipe.batch_size,
        "warmup_epochs": float(recipe.warmup_epochs),
        "clip_norm": recipe.clip_norm,
        "image_size": table.image_size,
        "dtype": table.dtype,
        "contrastive_temperature": float(recipe.temperature),
        "projection_hidden": recipe.hidden,
        "projection_width": recipe.width,
        "huber_weight": float(recipe.huber_weight),
        "huber_delta": float(recipe.huber_delta),
        "normalized_projections": recipe.normalized,
        **{f"view_{name}": value for name, value in views.items()},
        **recipe.curation.settings(),
        "budget": recipe.budget,
        "probe_dataset": table.probe.dataset,
        "probe_feature_norm": table.probe.feature_norm,
        "probe_validation": str(table.probe.validation),
        "probe_epochs": table.probe.epochs,
        "probe_batch_size": table.probe.batch_size,
        "probe_learning_rates": _listed(table.probe.learning_rates),
        "probe_weight_decays": _listed(table.probe.weight_decays),
        "image_limit": config.limit,
        "tested_on": job.tested_on,
    }
