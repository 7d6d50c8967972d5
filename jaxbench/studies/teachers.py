"""What a teacher changed: twins of the zoo by name, students of one folder."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxbench.errors import UserError
from jaxbench.results import ResultStore
from jaxbench.studies.entries import Results, is_number
from jaxbench.studies.models import Model
from jaxbench.studies.naming import setting_words
from jaxbench.studies.resampling import Resampling
from jaxbench.studies.selective import Change, median_change
from jaxbench.studies.selective_images import (
    METRICS,
    Effect,
    distillation_effect,
    paired_effect,
)
from jaxbench.studies.selective_students import Students, find_students
from jaxbench.studies.twins import distillation_twins

_SCORES = ("id", "label", "correct", "confidence", "log_one_minus_confidence")
_SCALED = ("confidence_ts", "log_one_minus_confidence_ts")
_WORDS = {
    "learning_rate": "lr",
    "weight_decay": "wd",
    "distillation": "weight",
    "distillation_kind": "",
    "distillation_temperature": "T",
    "teacher_trial": "trial",
}


class TwinChanges(NamedTuple):
    """Distilled models of the zoo beside the same architectures without a teacher.

    Attributes:
        num_pairs: Pairs of twins.
        changes: Metric to change from the plain to the distilled one, over the pairs.
        effects: Labels of a pair, the distilled one first, with each of its effects.
        notes: What was left out, and why.
    """

    num_pairs: int
    changes: dict[str, Change]
    effects: list[tuple[tuple[str, ...], Effect]]
    notes: list[str]


class StudentEffects(NamedTuple):
    """Students with and without a teacher.

    Attributes:
        effects: Students and dataset to effects.
        notes: What was left out, and why.
    """

    effects: dict[tuple[str, str], tuple[Effect, ...]]
    notes: list[str]


def compare_twins(
    store: ResultStore, models: Sequence[Model], resampling: Resampling
) -> TwinChanges:
    """Distilled models of the zoo against the same architecture without a teacher.

    Args:
        store: Has the scores of single images.
        models: The most accurate first: of several of one checkpoint it is the twin.
        resampling: Of the images; without resamples no pair has effects.
    """
    named: dict[str, Model] = {}
    others: list[Model] = []
    for model in models:
        name = model.checkpoint
        if name and named.setdefault(name, model) is not model:
            others.append(model)
    pairs = [(named[a], named[b]) for a, b in distillation_twins(named)]
    paired = {model.checkpoint for pair in pairs for model in pair}
    changes = {
        metric + suffix: median_change(
            [_value(plain, metric + suffix) for _, plain in pairs],
            [_value(distilled, metric + suffix) for distilled, _ in pairs],
            higher_is_better=higher,
        )
        for suffix in ("", "_ts")
        for metric, higher in METRICS.items()
        if not (suffix and metric == "accuracy")
    }
    effects, notes = _twin_effects(store, pairs, resampling)
    unpaired = [model.label for model in others if model.checkpoint in paired]
    if unpaired:
        notes.append(
            "Of several results of one name the most accurate is a twin; these are "
            f"not: {', '.join(unpaired)}."
        )
    return TwinChanges(
        len(pairs),
        {name: found for name, found in changes.items() if found.num_pairs},
        effects,
        notes,
    )


def compare_students(
    store: ResultStore, results: Results, dataset: str, resampling: Resampling
) -> StudentEffects:
    """Trials with and without a teacher that are the same in all else, over seeds.

    Args:
        store: Has the settings of trials and the scores of single images.
        results: Its rows.
        dataset: The dataset that comes first.
        resampling: Of seeds and images; without resamples effects have no interval.
    """
    alive = [row["run_id"] for row in results.trials if row["diverged_step"] is None]
    settings = {run_id: store.settings(run_id) for run_id in alive}
    groups = find_students(settings)
    effects: dict[tuple[str, str], tuple[Effect, ...]] = {}
    notes = []
    if diverged := len(results.trials) - len(alive):
        notes.append(f"{diverged} trials diverged and are left out of all pairs.")
    titles = _titles(groups, settings)
    for students, title in zip(groups, titles, strict=True):
        for address in _addresses(results, students, dataset):
            try:
                effects[title, address] = _student_effects(
                    store, results, students, address, resampling
                )
            except UserError as error:
                notes.append(f"{title} on {address}: {error}.")
    return StudentEffects(effects, notes)


def _twin_effects(
    store: ResultStore, pairs: Sequence[tuple[Model, Model]], resampling: Resampling
) -> tuple[list[tuple[tuple[str, ...], Effect]], list[str]]:
    effects, notes = [], []
    if not resampling.num_resamples:
        return effects, notes
    for pair in pairs:
        try:
            columns = [_columns(store, model.clean["run_id"]) for model in pair]
            found = paired_effect(
                [(columns[0], columns[1])],
                key=resampling.key(),
                num_resamples=resampling.num_resamples,
            )
        except UserError as error:
            notes.append(f"{pair[0].label} and {pair[1].label}: {error}.")
            continue
        labels = (pair[0].label, pair[1].label)
        effects += [(labels, effect) for effect in found]
    return effects, notes


def _student_effects(
    store: ResultStore,
    results: Results,
    students: Students,
    address: str,
    resampling: Resampling,
) -> tuple[Effect, ...]:
    runs = {
        row["trial_id"]: row["run_id"]
        for row in results.evaluations
        if row["dataset"] == address
    }
    sides = []
    for trials in (students.taught, students.alone):
        found = {seed: runs[trial] for seed, trial in trials.items() if trial in runs}
        sides.append({seed: _columns(store, run) for seed, run in found.items()})
    return distillation_effect(
        *sides, key=resampling.key(), num_resamples=max(1, resampling.num_resamples)
    )


def _addresses(results: Results, students: Students, first: str) -> list[str]:
    """Datasets of known classes that a student with a teacher was evaluated on."""
    taught = set(students.taught.values())
    rows = [row for row in results.evaluations if row["trial_id"] in taught]
    found = dict.fromkeys(row["dataset"] for row in rows if row["role"] != "ood")
    return sorted(found, key=lambda address: (address != first, address))


def _titles(
    groups: Sequence[Students], settings: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """Their titles; to equal ones every setting in which they differ is added."""
    titles = [group.title for group in groups]
    for twice in [title for title, count in Counter(titles).items() if count > 1]:
        places = [i for i, title in enumerate(titles) if title == twice]
        rows = [settings[next(iter(groups[i].taught.values()))] for i in places]
        names = sorted({name for row in rows for name in row} - {"seed", "trial_id"})
        words = setting_words(rows, names, words=_WORDS)
        for number, (place, own) in enumerate(zip(places, words, strict=True), 1):
            finer = f"{twice} ({', '.join(own)})"
            # Of settings that groups are not made by, all may be the same.
            titles[place] = finer if words.count(own) == 1 else f"{finer} {number}"
    return titles


def _columns(store: ResultStore, run_id: str) -> dict[str, np.ndarray]:
    held = store.example_names(run_id)
    missing = [name for name in _SCORES if name not in held]
    if missing:
        raise UserError(f"no per-image columns {', '.join(missing)}")
    scaled = (name for name in _SCALED if name in held)
    return store.examples(run_id, (*_SCORES, *scaled))


def _value(model: Model, metric: str) -> float:
    value = model.clean.get(metric)
    return value if is_number(value) else float("nan")
