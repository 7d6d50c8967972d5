"""The rows that probes leave, finished and failed."""

import dataclasses
from typing import Any

import jax
import numpy as np

from jaxbench.config import ExperimentConfig
from jaxbench.engine.summary import summarize_columns, summarize_ood_columns
from jaxbench.metrics import SCORE_METRICS
from jaxbench.probing import ProbeFit
from jaxbench.results import Run
from jaxbench.sweeps.numbers import run_provenance
from jaxbench.sweeps.plan import Target, evaluation_id
from jaxbench.sweeps.probes import ProbeHead, ProbeJob
from jaxbench.sweeps.records import failed_run


@dataclasses.dataclass(frozen=True)
class ProbeRow:
    """What a head did on a dataset.

    Attributes:
        config: The experiment.
        job: The backbone.
        head: What classified its features.
        target: The dataset.
        columns: Per-example columns, as `jaxbench.evaluate` leaves them.
        reference: Those of the first clean dataset, for foreign images.
        settings: What was chosen, and counts.
        weights: Digest of the backbone's weights.
    """

    config: ExperimentConfig
    job: ProbeJob
    head: ProbeHead
    target: Target
    columns: dict[str, np.ndarray]
    reference: dict[str, np.ndarray] | None
    settings: dict[str, Any]
    weights: str


def finished_probe(row: ProbeRow, timing: dict[str, float]) -> Run:
    """The row of a finished evaluation: every metric, as of any other model."""
    config, columns = row.config, row.columns
    resampling = {
        "num_resamples": config.evaluate.num_resamples,
        "key": jax.random.key(config.seed),
    }
    if row.reference is not None:
        metrics = summarize_ood_columns(row.reference, columns, **resampling)
    else:
        names = config.evaluate.metrics or tuple(SCORE_METRICS)
        metrics = summarize_columns(columns, tuple(names), **resampling)
    return Run(
        run_id=evaluation_id(row.head.probe_id, row.target),
        kind="evaluation",
        status="ok",
        settings={
            **_identity(config, row.job, row.head, row.target),
            **row.settings,
            "num_examples": len(columns["id"]),
            "num_nonfinite": int((~columns["finite"]).sum()),
            "batch_size": config.evaluate.batch_size,
            **row.target.measuring(config),
        },
        metrics=metrics,
        timing=timing,
        provenance=run_provenance(config, "evaluation")
        | {
            "weights_digest": row.weights,
            "dataset_fingerprint": row.target.source.fingerprint,
        },
        examples=columns,
    )


def failed_probe(
    config: ExperimentConfig,
    job: ProbeJob,
    head: ProbeHead,
    target: Target,
    error: BaseException,
) -> Run:
    """The row of a head that failed on a dataset."""
    run_id = evaluation_id(head.probe_id, target)
    run = failed_run(config, run_id, job.subject, target, error)
    settings = run.settings | _identity(config, job, head, target)
    return dataclasses.replace(run, settings=settings)


def chosen_settings(fit: ProbeFit) -> dict[str, Any]:
    """The chosen member, and the whole grid in words."""
    grid = [
        (f"lr={m.learning_rate:g} " if m.learning_rate is not None else "")
        + f"wd={m.weight_decay:g}: {m.accuracy:.4f}"
        for m in fit.members
    ]
    return {
        "probe_learning_rate": fit.chosen.learning_rate,
        "probe_weight_decay": fit.chosen.weight_decay,
        "probe_validation_accuracy": fit.chosen.accuracy,
        "probe_grid": "; ".join(grid),
    }


def _identity(
    config: ExperimentConfig, job: ProbeJob, head: ProbeHead, target: Target
) -> dict[str, Any]:
    return {
        "model": job.subject.name,
        "weights": job.subject.weights,
        "network_changes": job.subject.found and job.subject.found.changes,
        "dtype": job.subject.dtype,
        "experiment": config.name,
        "dataset": target.address,
        "role": target.role,
        "protocol": head.protocol,
        "probe_id": head.probe_id,
        "probe_train": job.probe.train,
        "num_neighbors": head.neighbors,
    }
