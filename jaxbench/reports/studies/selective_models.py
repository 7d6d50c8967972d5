"""The models of a results folder as the selective study sees them."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from jaxbench.errors import UserError, unknown_name
from jaxbench.reports.metric_texts import METRIC_TEXTS
from jaxbench.studies import DISTILLED, PLAIN, UNKNOWN, model_family, training_regime
from jaxbench.studies.entries import (
    Results,
    Row,
    diverged,
    identity,
    is_number,
    superseded,
)
from jaxbench.studies.regimes import checkpoint_of, named_as_checkpoints
from jaxbench.studies.trainings import training_of, training_words

_DECISIONS = ("accuracy", "top_5_accuracy", "balanced_accuracy")


@dataclass
class Model:
    """One model with its evaluations.

    Attributes:
        label: What it is called on the page.
        name: In the zoo.
        regime: How it was trained.
        family: Its family in the zoo.
        trial: The trial that trained it here, if one did.
        clean: Its row on the clean dataset.
        ood: Its rows on out-of-distribution images, by address.
        checkpoint: Whose weights it has, if its own head decides; None of others.
    """

    label: str
    name: str
    regime: str
    family: str
    trial: Row | None = None
    clean: Row = field(default_factory=dict)
    ood: dict[str, Row] = field(default_factory=dict)
    checkpoint: str | None = None

    @property
    def architecture(self) -> str:
        """Its name without the tag; with the optimizer where it was trained here."""
        optimizer = self.trial["optimizer"] if self.trial else None
        return " ".join(filter(None, [self.name.partition(".")[0], optimizer]))


def find_models(
    results: Results, dataset: str, own: Mapping[str, str]
) -> tuple[list[Model], list[str]]:
    """The models that were evaluated on a clean dataset.

    Of the trials of one network, optimizer and training (its teacher, what it started
    from, its recipe), the one with the best validation accuracy is the model; one that
    diverged is none.

    Args:
        results: Everything in the folder.
        dataset: Address of the clean dataset.
        own: Name or label of a model to its regime.

    Returns:
        The models in the order of their accuracy, and what was left out, in words.
    """
    found = _gathered(results, dataset, own)
    measured = [m for m in found if is_number(m.clean.get("accuracy"))]
    notes = []
    if len(measured) < len(found):
        notes.append(
            f"{len(found) - len(measured)} of {len(found)} models have no numbers on "
            f"{dataset} and are left out."
        )
    if lost := [m for m in measured if diverged(m.trial)]:
        names = ", ".join(results.labels[identity(m.clean)] for m in lost)
        notes.append(f"Trials that diverged are no models and are left out: {names}.")
    if older := superseded(results.evaluations):
        notes.append(
            f"{older} results have a later one of the same model on the same dataset, "
            "made by other code or of other images: the latest is shown."
        )
    notes += named_as_checkpoints(m.clean for m in measured)
    models = _chosen([m for m in measured if not diverged(m.trial)])
    _tell_apart(models)
    known = {m.name for m in models} | {m.label for m in models}
    if strangers := sorted(own.keys() - known):
        notes.append(
            f"Regimes are given of {len(strangers)} models that are not here: "
            f"{', '.join(strangers[:5])}{', ...' if len(strangers) > 5 else ''}."
        )
    return sorted(models, key=lambda m: (-m.clean["accuracy"], m.label)), notes


def metric_names(models: list[Model], names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the names that a model has a number for, each followed by its `_ts`.

    One temperature changes no decision, so nothing about decisions is repeated.
    """
    both = [
        name + suffix
        for name in names
        for suffix in (("",) if name in _DECISIONS else ("", "_ts"))
    ]
    return tuple(n for n in both if any(is_number(m.clean.get(n)) for m in models))


def all_metrics(models: list[Model]) -> tuple[str, ...]:
    """Every metric of images of known classes, each followed by its `_ts`."""
    return metric_names(
        models, tuple(name for name in METRIC_TEXTS if not name.startswith("ood_"))
    )


def choose(models: list[Model], wanted: tuple[str, ...]) -> list[Model]:
    """The models that patterns of labels or names mean, in the order of the patterns.

    Raises:
        UserError: If a pattern means none.
    """
    found: dict[str, Model] = {}
    problems = []
    for pattern in wanted:
        fitting = [
            model
            for model in models
            if fnmatchcase(model.label, pattern) or fnmatchcase(model.name, pattern)
        ]
        if not fitting:
            problems.append(unknown_name("model", pattern, [m.label for m in models]))
        found.update((model.label, model) for model in fitting)
    if problems:
        raise UserError("shown: " + "; ".join(problems))
    return list(found.values())


def extremes(models: list[Model], count: int = 6) -> list[Model]:
    """Models to look at first: the best and the worst at several things."""
    best: dict[str, Model] = {}
    for metric, sign in (
        *(("auroc", 1), ("accuracy", 1), ("aurc", -1), ("auroc", -1)),
        *(("coverage_at_99_accuracy", 1), ("ece", -1), ("ece", 1), ("aurc", 1)),
    ):
        known = [m for m in models if is_number(m.clean.get(metric))]
        if known:
            model = max(known, key=lambda m: (sign * m.clean[metric], m.label))
            best.setdefault(model.label, model)
    return list(best.values())[:count]


def _gathered(results: Results, dataset: str, own: Mapping[str, str]) -> list[Model]:
    """Every model, as trained, with its rows."""
    trials = {row["run_id"]: row for row in results.trials}
    found: dict[tuple, Model] = {}
    for row in results.evaluations:
        place = identity(row)
        if place not in found:
            trial = trials.get(row["trial_id"] or "")
            label = _label(row, trial, results)
            name = row["model"] or "(unnamed)"
            regime = _regime(name, label, row, trial, own)
            model = Model(label, name, regime, model_family(name), trial)
            model.checkpoint = _checkpoint(row)
            found[place] = model
        model, address = found[place], row["dataset"] or "(unnamed)"
        if row["role"] == "ood":
            model.ood[address] = row
        elif address == dataset:
            model.clean = row
    return list(found.values())


def _chosen(models: list[Model]) -> list[Model]:
    """One of the trials of each network, optimizer and training; all others as is."""
    groups: dict[tuple, list[Model]] = {}
    for number, model in enumerate(models):
        trial = model.trial
        place = (number,)
        if trial is not None:
            place = (trial["model"], trial["optimizer"], *training_of(trial))
        groups.setdefault(place, []).append(model)
    return [max(group, key=_merit) for group in groups.values()]


def _tell_apart(models: list[Model]) -> None:
    """Adds to labels that several models have what tells their trainings apart."""
    for twice, count in Counter(model.label for model in models).items():
        if count == 1:
            continue
        alike = [model for model in models if model.label == twice]
        told = training_words({training_of(m.trial) for m in alike if m.trial})
        words = [told.get(training_of(m.trial or {}), "") for m in alike]
        for model, word in zip(alike, words, strict=True):
            unique = words.count(word) == 1
            more = word if unique else model.clean["run_id"][:6]
            model.label = f"{twice} {more}".strip()


def _merit(model: Model) -> tuple:
    accuracy = (model.trial or {}).get("val_accuracy")
    run_id = str(model.clean["run_id"])
    return (accuracy if is_number(accuracy) else -math.inf, run_id)


def _label(row: Row, trial: Row | None, results: Results) -> str:
    if trial is None:
        return results.labels[identity(row)]
    teacher = " + teacher" if trial["teacher"] else ""
    return f"{trial['model']} {trial['optimizer']}{teacher}"


def _checkpoint(row: Row) -> str | None:
    return None if row.get("protocol") else checkpoint_of(row)


def _regime(
    name: str, label: str, row: Row, trial: Row | None, own: Mapping[str, str]
) -> str:
    for known in (label, name):
        if known in own:
            return own[known]
    if checkpoint := _checkpoint(row):
        return training_regime(checkpoint)
    # A probe's head was trained apart from its backbone.
    if trial is None or row.get("protocol"):
        return UNKNOWN
    if trial["teacher"]:
        return DISTILLED
    return UNKNOWN if trial["started_from"] else PLAIN
