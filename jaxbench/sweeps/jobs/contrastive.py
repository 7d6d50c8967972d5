"""Contrastive training of backbones, scored by a linear probe."""

import dataclasses
import math
import shutil
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxbench.config import CurationConfig, ExperimentConfig, PretrainConfig
from jaxbench.data import Source, expand_addresses, split_calibration
from jaxbench.data.overlap import common_images
from jaxbench.data.scoring import scoring_of
from jaxbench.engine import weights_digest
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
from jaxbench.sweeps.expansion import expand_models, model_problems
from jaxbench.sweeps.jobs.protocol import Context, Job, Kind, Plan
from jaxbench.sweeps.numbers import NUMBERS_VERSION
from jaxbench.sweeps.own import trained_parts
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
from model_zoo import Classifier, create_model

OBJECTIVE = "nt_xent"
# Images of a step when features are taken.
_PROBE_BATCH = 256
_PROBE_METRICS: tuple[str, ...] = (
    *("probe_accuracy", "probe_accuracy_low", "probe_accuracy_high"),
    "val_accuracy",
)


@dataclasses.dataclass(frozen=True)
class Pretraining(Job):
    """Contrastive runs of one backbone under one curation, which differ in seed.

    Attributes:
        table: The table.
        model: The backbone's name.
        recipe: The table's recipe with the curation.
        tested_on: Address of the images that the probe is tested on.
        members: The runs by their ids.
        limit: Images that a trial run is cut to.
    """

    table: PretrainConfig
    model: str
    recipe: ContrastiveRecipe
    tested_on: str
    members: dict[str, HyperParameters]
    limit: int | None = None

    kind = "pretraining"
    makes = "trial"
    version = NUMBERS_VERSION["pretraining"]

    @property
    def title(self) -> str:
        """Backbone and curation."""
        return f"{self.model} + {self.recipe.curation.method} curation"

    def planned(self) -> tuple[str, str, str]:
        """With the dataset that the features are probed on."""
        what = f"{self.title}, probed on {self.tested_on}"
        return self.kind, what, str(len(self.members))

    def run_ids(self) -> tuple[str, ...]:
        """The ids of the runs, by seed."""
        return tuple(self.members)

    def encoder(self) -> Encoder:
        """The backbone with its projection head."""
        classifier = create_model(
            self.model,
            num_classes=0,
            image_size=self.table.image_size,
            dtype=np.dtype(self.table.dtype),
        )
        return Encoder(classifier, self.recipe.hidden, self.recipe.width)

    def work(self, context: Context, missing: frozenset[str]) -> Iterator[Run]:
        """Trains and probes each run, or goes on where a killed process left off."""
        context.listener.stage(f"training {self.title}")
        for run_id in self.members:
            if run_id not in missing:
                continue
            folder = context.folder / "checkpoints" / run_id
            run = context.attempt(
                self, run_id, partial(self._run, context, run_id, folder)
            )
            yield run
            # Only now the row is on disk, and the checkpoints are not needed.
            if run.status == "ok":
                shutil.rmtree(folder, ignore_errors=True)

    def _run(self, context: Context, run_id: str, folder: Path) -> Run:
        encoder, datasets = self.encoder(), context.plan.datasets
        source = datasets.open(self.table.dataset, other_classes=True)
        images = datasets.images(source, encoder.input_spec)
        progress, rows = context.listener.progress, self.recipe.batch_size
        result = train_contrastive(
            encoder,
            self.table.optimizer,
            self.members[run_id],
            images,
            self.recipe,
            # Backends run other programs, so none goes on with another's state.
            checkpoint_dir=folder / jax.default_backend(),
            checkpoint_seconds=self.table.checkpoint_seconds,
            on_chunk=lambda spent, total: progress(spent * rows, total * rows),
        )
        save_weights(context.folder, run_id, self.model, result.variables)
        begun, num_skipped = time.perf_counter(), 0
        probed = dict.fromkeys(_PROBE_METRICS, math.nan)
        if result.diverged_step is None:
            probed, num_skipped = self._probe(context, result, encoder.classifier)
        counts = result.counts
        return self.finished(
            context.config,
            run_id,
            settings={
                "num_parameters": encoder.classifier.num_parameters,
                "diverged_step": result.diverged_step,
                "num_skipped": len(images.skipped),
                "probe_num_skipped": num_skipped,
                **counts,
            },
            metrics=probed
            | {
                "final_loss": result.final_loss(),
                "rejected_share": counts["rejected"] / max(counts["draws"], 1),
            },
            timing=result.timing | {"probe_seconds": time.perf_counter() - begun},
            provenance={
                "dataset_fingerprint": source.fingerprint,
                "weights_digest": weights_digest(result.variables),
            },
            curves=result.curves,
        )

    def _probe(
        self, context: Context, result: ContrastiveResult, classifier: Classifier
    ) -> tuple[dict[str, float], int]:
        """Accuracies of a linear layer on the features, and images left out."""
        datasets, spec = context.plan.datasets, classifier.input_spec
        placed = jax.device_put(result.variables)
        sources = (
            *probe_sources(context.plan, self.table),
            datasets.open(self.tested_on),
        )

        def features(source: Source) -> Features:
            images = datasets.images(source, spec)
            return extract_features(
                *(classifier, placed, images),
                batch_size=_PROBE_BATCH,
                mesh=context.mesh,
            )

        train, validation, test = map(features, sources)
        chosen = self.table.probe.model_dump(exclude={"dataset", "validation"})
        num_classes = len(sources[0].class_names)
        fit = fit_linear_probe(train, validation, num_classes, ProbeSettings(**chosen))
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
        skipped = sum(found.num_skipped for found in (train, validation, test))
        return dict(zip(_PROBE_METRICS, values, strict=True)), skipped

    def settings(self, run_id: str) -> dict[str, Any]:
        """Table, recipe and seed."""
        recipe, table, probe = self.recipe, self.table, self.table.probe
        views = dataclasses.asdict(recipe.views)
        views["crop_scale"] = " ".join(map(str, views["crop_scale"]))
        views["crop_ratio"] = _listed(views["crop_ratio"])
        return {
            "model": self.model,
            "optimizer": table.optimizer,
            **self.members[run_id].settings(),
            "objective": OBJECTIVE,
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
            "probe_dataset": probe.dataset,
            "probe_feature_norm": probe.feature_norm,
            "probe_validation": str(probe.validation),
            "probe_epochs": probe.epochs,
            "probe_batch_size": probe.batch_size,
            "probe_learning_rates": _listed(probe.learning_rates),
            "probe_weight_decays": _listed(probe.weight_decays),
            "image_limit": self.limit,
            "tested_on": self.tested_on,
        }


def _listed(values: Sequence[float]) -> str:
    return " ".join(f"{value:g}" for value in values)


def expand_pretrainings(plan: Plan, table: PretrainConfig) -> Iterator[Pretraining]:
    """Every model with every curation of a table.

    Raises:
        UserError: If values do not fit each other, or datasets that must be apart have
            images in common; all such are named.
    """
    config, datasets = plan.config, plan.datasets
    (tested_on, *_) = expand_addresses(config.evaluate.clean[:1])
    recipes = [_recipe(table, c, config.limit) for c in table.curation]
    members = [
        HyperParameters(
            table.learning_rate, table.weight_decay, seed, options=table.options
        )
        for seed in dict.fromkeys(table.seeds)
    ]
    source = datasets.open(table.dataset, other_classes=True)
    optimizer = get_optimizer(table.optimizer)
    problems = [
        *contrastive_problems(optimizer, members[0], recipes[0], len(source)),
        *_source_problems(plan, table, tested_on),
    ]
    if problems:
        raise UserError("\n".join(f"pretrain: {problem}" for problem in problems))
    probe, validation = probe_sources(plan, table)
    test = datasets.open(tested_on)
    scoring = scoring_of(test)
    shared: dict[str, Any] = {
        "version": NUMBERS_VERSION["pretraining"],
        "kind": "pretraining",
        "objective": OBJECTIVE,
        "dataset": source.fingerprint,
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
    for model in expand_models(table.models):
        for recipe in recipes:
            payload = shared | {"model": model, "recipe": dataclasses.asdict(recipe)}
            payload |= trained_parts(model, table.optimizer)
            named = {
                run_digest(payload | {"member": member.settings()}): member
                for member in members
            }
            job = Pretraining(table, model, recipe, tested_on, named, config.limit)
            # A backbone without features is refused before anything is trained.
            job.encoder()
            yield job


def _recipe(
    table: PretrainConfig, curation: CurationConfig, limit: int | None
) -> ContrastiveRecipe:
    """The recipe of a table under one of its curations; `limit` caps a batch."""
    chosen = curation.model_dump()
    budget = chosen.pop("budget")
    names = {field.name for field in dataclasses.fields(ContrastiveRecipe)}
    names -= {"views", "curation", "budget", "batch_size"}
    return ContrastiveRecipe(
        **{name: getattr(table, name) for name in names},
        batch_size=min(table.batch_size, limit or table.batch_size),
        views=Views(**table.views.model_dump()),
        curation=Curation(**chosen),
        budget=budget,
    )


def probe_sources(plan: Plan, table: PretrainConfig) -> tuple[Source, Source]:
    """The images that a probe is fitted on, and those that choose a member."""
    validation = table.probe.validation
    labelled = plan.datasets.open(table.probe.dataset)
    if isinstance(validation, str):
        return labelled, plan.datasets.open(validation)
    apart, rest = split_calibration(labelled, validation, 0)
    return rest, apart


def _source_problems(
    plan: Plan, table: PretrainConfig, tested_on: str
) -> Iterator[str]:
    """Images that would be tested, or chosen, on after they were fitted to."""
    probe, datasets = table.probe, plan.datasets
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
    sources["dataset"] = datasets.open(table.dataset, other_classes=True)
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


def _plan(plan: Plan) -> Iterator[Pretraining]:
    for table in plan.config.pretrain:
        yield from expand_pretrainings(plan, table)


def _problems(config: ExperimentConfig) -> Iterator[str]:
    for table in config.pretrain:
        yield from model_problems(table.models)
        if table.optimizer not in OPTIMIZERS:
            yield unknown_name("optimizer", table.optimizer, OPTIMIZERS)


def _sources(plan: Plan) -> dict[str, Source]:
    found = (probe_sources(plan, table) for table in plan.config.pretrain)
    return {source.name: source for pair in found for source in pair}


CONTRASTIVE = Kind(_plan, _problems, _sources)
