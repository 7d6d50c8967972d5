"""From `[[pretrain]]` tables to contrastive runs, and their work."""

import dataclasses
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxbench.config import CurationConfig, ExperimentConfig, PretrainConfig
from jaxbench.data import Source, expand_addresses, split_calibration
from jaxbench.data.overlap import common_images
from jaxbench.data.scoring import scoring_of
from jaxbench.engine.trial_weights import save_weights
from jaxbench.errors import UserError, unknown_name
from jaxbench.metrics import wilson_interval
from jaxbench.probing import (
    Features,
    ProbeSettings,
    extract_features,
    fit_linear_probe,
    score_columns,
)
from jaxbench.results import Run, run_digest
from jaxbench.sweeps.datasets import Datasets
from jaxbench.sweeps.numbers import NUMBERS_VERSION
from jaxbench.sweeps.pretrain_jobs import OBJECTIVE, Pretraining, PretrainTrial
from jaxbench.sweeps.pretrain_rows import (
    Probed,
    failed_pretraining,
    finished_pretraining,
)
from jaxbench.sweeps.training import expand_models
from jaxbench.training import OPTIMIZERS, HyperParameters, get_optimizer
from jaxbench.training.contrastive import (
    ContrastiveRecipe,
    ContrastiveResult,
    Curation,
    Views,
    contrastive_problems,
    train_contrastive,
)
from model_zoo import Classifier, list_models

# Images of a step when features are taken.
_PROBE_BATCH = 256
_PROBE_METRICS: tuple[str, ...] = (
    *("probe_accuracy", "probe_accuracy_low", "probe_accuracy_high"),
    "val_accuracy",
)


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
        UserError: If a value does not fit the others, datasets that must be apart have
            images in common, or a table before this one asks for a part of the same
            runs; all such are named.
    """
    jobs = _jobs(config, table, datasets)
    problems = [
        *contrastive_problems(
            get_optimizer(table.optimizer),
            jobs[0].trials[0].member,
            jobs[0].recipe,
            len(datasets.open(table.dataset, foreign=True)),
        ),
        *_source_problems(table, datasets, jobs[0].tested_on),
        *_asked_before(config, table, datasets, jobs),
    ]
    if problems:
        raise UserError("\n".join(f"pretrain: {problem}" for problem in problems))
    for job in jobs:
        # A backbone that gives no features is told of before anything is trained.
        job.encoder()
        yield job


def _jobs(
    config: ExperimentConfig, table: PretrainConfig, datasets: Datasets
) -> list[Pretraining]:
    """What a table asks for, whether it can be done or not."""
    (tested_on, *_) = expand_addresses(config.evaluate.clean[:1])
    probe, validation = probe_sources(table, datasets)
    test = datasets.open(tested_on)
    scoring = scoring_of(test)
    shared: dict[str, Any] = {
        "version": NUMBERS_VERSION["pretraining"],
        "kind": "pretraining",
        "objective": OBJECTIVE,
        "dataset": datasets.open(table.dataset, foreign=True).fingerprint,
        "probe": probe.fingerprint,
        "validation": validation.fingerprint,
        "test": test.fingerprint,
        "scoring": scoring.digest if scoring else None,
        "probe_settings": table.probe.model_dump(mode="json"),
        "optimizer": table.optimizer,
        "image_size": table.image_size,
        "dtype": table.dtype,
        "on_error": config.on_error,
    }
    members, jobs = _members(table), []
    recipes = [make_contrastive(table, c, config.limit) for c in table.curation]
    for model in expand_models(table.models):
        for recipe in recipes:
            payload = shared | {"model": model, "recipe": dataclasses.asdict(recipe)}
            trials = (
                PretrainTrial(m, run_digest({**payload, "member": m.settings()}))
                for m in members
            )
            jobs.append(Pretraining(table, model, recipe, tested_on, tuple(trials)))
    return jobs


def _source_problems(
    table: PretrainConfig, datasets: Datasets, tested_on: str
) -> Iterator[str]:
    """What would be tested, or chosen, on images that were fitted to."""
    probe = table.probe
    labelled = {"probe.dataset": probe.dataset}
    if isinstance(probe.validation, str):
        labelled["probe.validation"] = probe.validation
    sources = {name: datasets.open(address) for name, address in labelled.items()}
    test, train = datasets.open(tested_on), sources["probe.dataset"]
    validation = sources.get("probe.validation")
    if validation is not None and (count := common_images(validation, train)):
        yield (
            f"probe.validation {probe.validation} has {count} images of "
            f"{probe.dataset}, which the probe is fitted on; choose others, or give "
            "the number of images to set apart"
        )
    # A backbone sees no labels, but a test is of images that nothing has seen.
    sources["dataset"] = datasets.open(table.dataset, foreign=True)
    for name, source in sources.items():
        if count := common_images(source, test):
            yield (
                f"{name} {labelled.get(name, table.dataset)} has {count} images of "
                f"{tested_on}, which backbones are tested on; choose others, here or "
                "in evaluate.clean"
            )
    for name, address in labelled.items():
        if scoring_of(sources[name]) is not None:
            yield (
                f"{name} {address} is scored in its own way; a probe is fitted on "
                "images with one label each"
            )


def _asked_before(
    config: ExperimentConfig,
    table: PretrainConfig,
    datasets: Datasets,
    jobs: Collection[Pretraining],
) -> Iterator[str]:
    """Runs of a table that an earlier one asks for among others.

    Two pieces of work would train into one folder. The same piece of work twice is done
    once.
    """
    earlier = config.pretrain[: config.pretrain.index(table)]
    seen = {
        trial.trial_id: job.digest
        for other in earlier
        for job in _jobs(config, other, datasets)
        for trial in job.trials
    }
    for job in jobs:
        for trial in job.trials:
            if seen.get(trial.trial_id, job.digest) != job.digest:
                yield (
                    f"{job.title} with {trial.member.settings()} stands in two "
                    "[[pretrain]] tables; take it out of one"
                )


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
        The row of each run, failed ones with their error. Checkpoints of a finished run
        stay until the next row is asked for: its own is to be on disk by then.
    """
    for trial in job.trials:
        if trial.trial_id in done:
            continue
        try:
            run = _finish(config, datasets, job, trial, folder, mesh, progress)
        except Exception as error:
            run = failed_pretraining(config, job, trial, error)
        yield run
        if run.status == "ok":
            shutil.rmtree(_checkpoints(folder, trial), ignore_errors=True)


def _checkpoints(folder: Path, trial: PretrainTrial) -> Path:
    """Where a run's checkpoints are, in a folder for each backend."""
    return folder / "checkpoints" / trial.trial_id


def _finish(
    config: ExperimentConfig,
    datasets: Datasets,
    job: Pretraining,
    trial: PretrainTrial,
    folder: Path,
    mesh: Mesh,
    progress: Callable[[int, int], None],
) -> Run:
    """Trains and probes one run, or goes on where a killed one left off."""
    encoder = job.encoder()
    source = datasets.open(job.table.dataset, foreign=True)
    images = datasets.images(source, encoder.input_spec)
    result = train_contrastive(
        encoder,
        job.table.optimizer,
        trial.member,
        images,
        job.recipe,
        # Backends run other programs, so none goes on with another's state.
        checkpoint_dir=_checkpoints(folder, trial) / jax.default_backend(),
        checkpoint_seconds=job.table.checkpoint_seconds,
        on_chunk=progress,
    )
    save_weights(folder, trial.trial_id, job.model, result.variables)
    return finished_pretraining(
        config,
        job,
        trial,
        encoder,
        result,
        _probe(job, result, encoder.classifier, datasets, mesh),
        num_skipped=len(images.skipped),
        dataset=source.fingerprint,
    )


def _probe(
    job: Pretraining,
    result: ContrastiveResult,
    classifier: Classifier,
    datasets: Datasets,
    mesh: Mesh,
) -> Probed:
    """What a linear layer makes of the frozen features."""
    begun = time.perf_counter()
    if result.diverged_step is not None:
        return Probed(dict.fromkeys(_PROBE_METRICS, float("nan")))
    table = job.table.probe
    placed = jax.device_put(result.variables)
    spec = classifier.input_spec

    def features(source: Source) -> Features:
        images = datasets.images(source, spec)
        return extract_features(
            classifier, placed, images, batch_size=_PROBE_BATCH, mesh=mesh
        )

    settings = ProbeSettings(
        **table.model_dump(exclude={"dataset", "validation"}),
    )
    sources = (*probe_sources(job.table, datasets), datasets.open(job.tested_on))
    train, validation, test = map(features, sources)
    fit = fit_linear_probe(train, validation, len(sources[0].class_names), settings)
    columns = score_columns(
        fit.head.logits(test),
        test,
        # Of the images that could be read, in their order.
        scoring=datasets.images(sources[2], spec).scoring,
        positions=np.arange(len(test)),
    )
    right = int(columns["correct"].sum())
    low, high = wilson_interval(right, len(test))
    values = (right / len(test), float(low), float(high), fit.chosen.accuracy)
    return Probed(
        dict(zip(_PROBE_METRICS, values, strict=True)),
        sum(found.num_skipped for found in (train, validation, test)),
        time.perf_counter() - begun,
    )
