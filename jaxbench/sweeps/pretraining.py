"""From `[[pretrain]]` tables to contrastive runs, and their work."""

import dataclasses
import shutil
import time
import traceback
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxbench.config import (
    CurationConfig,
    ExperimentConfig,
    PretrainConfig,
    config_digest,
)
from jaxbench.data import ImageArrays, Source, split_calibration
from jaxbench.engine import provenance, weights_digest
from jaxbench.errors import UserError, unknown_name
from jaxbench.metrics import wilson_interval
from jaxbench.probing import (
    ProbeSettings,
    extract_features,
    fit_linear_probe,
)
from jaxbench.results import Run, RunError, run_digest
from jaxbench.sweeps.datasets import Datasets
from jaxbench.sweeps.training import expand_models
from jaxbench.training import OPTIMIZERS, HyperParameters, get_optimizer
from jaxbench.training.contrastive import (
    ContrastiveRecipe,
    ContrastiveResult,
    Curation,
    Encoder,
    Views,
    contrastive_problems,
    train_contrastive,
)
from model_zoo import Classifier, create_model, list_models, save_variables

# Part of every digest: a change that moves numbers raises it, and old runs are redone.
NUMBERS_VERSION = 1
OBJECTIVE = "nt_xent"
# Images of a step when features are taken.
_PROBE_BATCH = 256
_PROBE_METRICS: tuple[str, ...] = (
    *("probe_accuracy", "probe_accuracy_low", "probe_accuracy_high"),
    "val_accuracy",
)


@dataclasses.dataclass(frozen=True)
class PretrainTrial:
    """One contrastive run."""

    member: HyperParameters
    trial_id: str


@dataclasses.dataclass(frozen=True)
class Pretraining:
    """Contrastive runs of one backbone under one curation, which differ in seed."""

    table: PretrainConfig
    model: str
    recipe: ContrastiveRecipe
    tested_on: str
    trials: tuple[PretrainTrial, ...]

    @property
    def title(self) -> str:
        """How it is called on the screen."""
        return f"{self.model} + {self.recipe.curation.method} curation"

    @property
    def digest(self) -> str:
        """Of all of its runs."""
        return run_digest({"pretraining": [trial.trial_id for trial in self.trials]})

    def classifier(self) -> Classifier:
        """The backbone."""
        return create_model(
            self.model,
            num_classes=0,
            image_size=self.table.image_size,
            dtype=np.dtype(self.table.dtype),
        )

    def encoder(self) -> Encoder:
        """The backbone with its projection head."""
        return Encoder(self.classifier(), self.recipe.hidden, self.recipe.width)


def make_contrastive(
    table: PretrainConfig, curation: CurationConfig, limit: int | None = None
) -> ContrastiveRecipe:
    """The recipe of a table under one of its curations.

    Args:
        table: The table.
        curation: One of its `curation`.
        limit: Images that a trial run is cut to: a batch is never larger.

    Raises:
        UserError: If a value does not fit the others.
    """
    chosen = curation.model_dump()
    budget = chosen.pop("budget")
    names = {field.name for field in dataclasses.fields(ContrastiveRecipe)}
    given = {
        name: getattr(table, name)
        for name in names - {"views", "curation", "budget", "batch_size"}
    }
    return ContrastiveRecipe(
        **given,
        batch_size=min(table.batch_size, limit or table.batch_size),
        views=Views(**table.views.model_dump()),
        curation=Curation(**chosen),
        budget=budget,
    )


def pretrain_problems(table: PretrainConfig) -> list[str]:
    """Names in a table that do not exist, in words."""
    known = list_models()
    problems = [
        unknown_name("model", pattern, known)
        for pattern in table.models
        if not list_models(pattern, pretrained=False)
    ]
    if table.optimizer not in OPTIMIZERS:
        problems.append(unknown_name("optimizer", table.optimizer, OPTIMIZERS))
    return problems


def expand_pretrainings(
    config: ExperimentConfig, table: PretrainConfig, datasets: Datasets
) -> Iterator[Pretraining]:
    """Every model with every curation of a table.

    Raises:
        UserError: If a value does not fit the others; all such are named.
    """
    source = datasets.open(table.dataset, foreign=True)
    tested_on = config.evaluate.clean[0]
    probe, validation = probe_sources(table, datasets)
    labelled = {
        "probe": probe,
        "validation": validation,
        "test": datasets.open(tested_on),
    }
    members = _members(table)
    recipes = [make_contrastive(table, c, config.limit) for c in table.curation]
    problems = contrastive_problems(
        get_optimizer(table.optimizer), members[0], recipes[0], len(source)
    )
    if problems:
        raise UserError("\n".join(f"pretrain: {problem}" for problem in problems))
    shared = {
        "version": NUMBERS_VERSION,
        "kind": "pretraining",
        "objective": OBJECTIVE,
        "dataset": source.fingerprint,
        **{name: found.fingerprint for name, found in labelled.items()},
        "probe_settings": table.probe.model_dump(mode="json"),
        "optimizer": table.optimizer,
        "image_size": table.image_size,
        "dtype": table.dtype,
        "on_error": config.on_error,
    }
    for model in expand_models(table.models):
        for recipe in recipes:
            payload = shared | {"model": model, "recipe": dataclasses.asdict(recipe)}
            trials = (
                PretrainTrial(m, run_digest({**payload, "member": m.settings()}))
                for m in members
            )
            found = Pretraining(table, model, recipe, tested_on, tuple(trials))
            # A backbone that gives no features is told of before anything is trained.
            found.encoder()
            yield found


def probe_sources(table: PretrainConfig, datasets: Datasets) -> tuple[Source, Source]:
    """What a probe is fitted on, and what chooses among its members."""
    labelled, validation = datasets.open(table.probe.dataset), table.probe.validation
    if isinstance(validation, str):
        return labelled, datasets.open(validation)
    apart, rest = split_calibration(labelled, validation, 0)
    return rest, apart


def _members(table: PretrainConfig) -> list[HyperParameters]:
    seeds = dict.fromkeys(table.seeds)
    return [
        HyperParameters(
            table.learning_rate, table.weight_decay, seed, options=table.options
        )
        for seed in seeds
    ]


def work_pretraining(
    config: ExperimentConfig,
    datasets: Datasets,
    job: Pretraining,
    folder: Path,
    done: Collection[str],
    mesh: Mesh,
    progress: Callable[[int, int], None],
) -> Iterator[Run]:
    """Trains and probes what is missing of a job.

    Args:
        config: The experiment.
        datasets: Its datasets.
        job: What to do.
        folder: Of the results; weights and checkpoints are kept in it.
        done: Ids of finished runs.
        mesh: Devices, for the passes that take features.
        progress: Called with steps, done and in all.

    Yields:
        The row of each run, failed ones with their error.
    """
    for trial in job.trials:
        if trial.trial_id in done:
            continue
        checkpoints = folder / "checkpoints" / trial.trial_id
        try:
            encoder = job.encoder()
            source = datasets.open(job.table.dataset, foreign=True)
            result = train_contrastive(
                encoder,
                job.table.optimizer,
                trial.member,
                datasets.images(source, encoder.input_spec),
                job.recipe,
                checkpoint_dir=checkpoints,
                checkpoint_seconds=job.table.checkpoint_seconds,
                on_chunk=progress,
            )
            weights = folder / "weights"
            weights.mkdir(parents=True, exist_ok=True)
            save_variables(
                weights / f"{trial.trial_id}.safetensors",
                result.variables,
                {"model": job.model, "trial_id": trial.trial_id},
            )
            metrics, seconds = _probe(job, result, encoder.classifier, datasets, mesh)
            run = _finished(config, job, trial, encoder, result, metrics)
            origin = {
                "dataset_fingerprint": source.fingerprint,
                "weights_digest": weights_digest(result.variables),
            }
            run = dataclasses.replace(
                run,
                timing=run.timing | {"probe_seconds": seconds},
                provenance=run.provenance | origin,
            )
            shutil.rmtree(checkpoints, ignore_errors=True)
        except Exception as error:
            run = _failed(config, job, trial, error)
        yield run


def _probe(
    job: Pretraining,
    result: ContrastiveResult,
    classifier: Classifier,
    datasets: Datasets,
    mesh: Mesh,
) -> tuple[dict[str, float], float]:
    """What a linear layer makes of the frozen features, and the seconds it took."""
    begun = time.perf_counter()
    if result.diverged_step is not None:
        return dict.fromkeys(_PROBE_METRICS, float("nan")), 0.0
    table = job.table.probe
    placed = jax.device_put(result.variables)

    def features(source: Source):
        images: ImageArrays = datasets.images(source, classifier.input_spec)
        return extract_features(
            classifier, placed, images, batch_size=_PROBE_BATCH, mesh=mesh
        )

    settings = ProbeSettings(
        **table.model_dump(exclude={"dataset", "validation"}),
    )
    train, validation = probe_sources(job.table, datasets)
    num_classes = len(train.class_names)
    fit = fit_linear_probe(features(train), features(validation), num_classes, settings)
    test = features(datasets.open(job.tested_on))
    right = int((fit.head.logits(test).argmax(axis=1) == test.labels).sum())
    low, high = wilson_interval(right, len(test))
    values = (right / len(test), float(low), float(high), fit.chosen.accuracy)
    found = dict(zip(_PROBE_METRICS, values, strict=True))
    return found, time.perf_counter() - begun


def owner_settings(
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
        "tested_on": job.tested_on,
    }


def _finished(
    config: ExperimentConfig,
    job: Pretraining,
    trial: PretrainTrial,
    encoder: Encoder,
    result: ContrastiveResult,
    metrics: dict[str, float],
) -> Run:
    counts = result.counts
    return Run(
        run_id=trial.trial_id,
        kind="trial",
        status="ok",
        settings=owner_settings(config, job, trial)
        | {
            "num_parameters": encoder.classifier.num_parameters,
            "diverged_step": result.diverged_step,
            **counts,
        },
        metrics=metrics
        | {
            "final_loss": result.final_loss(),
            "rejected_share": counts["rejected"] / max(counts["draws"], 1),
        },
        timing=result.timing,
        provenance=provenance() | {"config_digest": config_digest(config)},
        curves=result.curves,
    )


def _failed(
    config: ExperimentConfig, job: Pretraining, trial: PretrainTrial, error: Exception
) -> Run:
    return Run(
        run_id=trial.trial_id,
        kind="trial",
        status="failed",
        settings=owner_settings(config, job, trial),
        provenance=provenance() | {"config_digest": config_digest(config)},
        error=RunError(
            type(error).__name__,
            str(error),
            "".join(traceback.format_exception(error)),
        ),
    )
