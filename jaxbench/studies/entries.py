"""The rows of a store, sorted into what a report shows.

An entry is one model with all its evaluations. Where trials trained a model, each
network, optimizer and training (with or without a teacher, from other weights, by
another recipe) has one entry: the trial with the best validation accuracy. Choosing by
the test set instead would report the luckiest of many test scores.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeGuard

from jaxbench.results import Problem, ResultStore
from jaxbench.studies.naming import setting_texts
from jaxbench.studies.trainings import training_of, training_words

Row = dict[str, Any]
# What distinguishes two models of one name: grid points of trials, other weights, or
# what a probe was fitted on.
_SHORT = {
    "learning_rate": "lr",
    "weight_decay": "wd",
    "seed": "seed",
    "weights": "weights",
    "dtype": "dtype",
    "zero_shot": "prompts",
    "image_size": "size",
    "crop_fraction": "crop",
    "interpolation": "resize",
    "class_order": "classes",
    "probe_train": "train",
}
_GRID_POINT = ("learning_rate", "weight_decay", "seed")
# A published dataset of corrupted images, or any dataset under a corruption.
_CORRUPTED = re.compile(
    r"(?P<base>.+?)-c/(?P<name>.+)_(?P<severity>[1-5])(@.*)?"
    r"|(?P<own>[^+]+)\+(?P<own_name>[a-z_]+)_(?P<own_severity>[1-5])"
)


class Corruption(NamedTuple):
    """A corrupted dataset's address, taken apart."""

    base: str
    name: str
    severity: int


@dataclass
class Entry:
    """One model: its label, its evaluations by dataset, the trial that trained it.

    `trained` has the words that distinguish it from other trainings of its network and
    optimizer, such as "teacher=resnet_micro". `origin` is the trial that its weights
    are of: of a probe on a trial's features, that trial.
    """

    label: str
    model: str
    optimizer: str | None
    trial: Row | None = None
    origin: Row | None = None
    trained: str = ""
    clean: dict[str, Row] = field(default_factory=dict)
    shifted: dict[str, Row] = field(default_factory=dict)
    ood: dict[str, Row] = field(default_factory=dict)

    def rows(self) -> list[Row]:
        """Its trial and evaluations."""
        trial = [] if self.trial is None else [self.trial]
        found = (self.clean, self.shifted, self.ood)
        return [*trial, *(row for rows in found for row in rows.values())]


@dataclass(frozen=True)
class Results:
    """Everything a report draws from.

    Attributes:
        evaluations: Rows of finished evaluations.
        trials: Rows of finished trials.
        failures: Rows of failed runs of both kinds.
        entries: One per model, or per network, optimizer and training.
        labels: Short name of every model by `identity`.
        dataset: The clean dataset that most entries were evaluated on; None without.
        metric_names: Columns that are metrics.
        problems: Parts that cannot be read.
        num_outdated: Evaluations that are left out, as the same model was measured
            later by numbers that are computed in another way.
    """

    evaluations: list[Row]
    trials: list[Row]
    failures: list[Row]
    entries: list[Entry]
    labels: dict[tuple, str]
    dataset: str | None
    metric_names: tuple[str, ...]
    problems: tuple[Problem, ...]
    num_outdated: int = 0

    def ranked(self) -> list[tuple[Entry, Row]]:
        """Entries with a clean accuracy, the best first, and their clean rows."""
        found = [(entry, self.clean_row(entry)) for entry in self.entries]
        found = [(e, row) for e, row in found if is_number(row.get("accuracy"))]
        return sorted(found, key=lambda pair: -pair[1]["accuracy"])

    def clean_row(self, entry: Entry) -> Row:
        """An entry's row on the report's clean dataset; empty without one."""
        return entry.clean.get(self.dataset or "", {})


def load_results(store: ResultStore, run_ids: Collection[str] | None = None) -> Results:
    """Reads the scalars of a store once and sorts them.

    Args:
        store: The results.
        run_ids: Runs to look at, as if the store held no others; all when None.
    """
    rows = store.summary().to_pylist()
    if run_ids is not None:
        rows = [row for row in rows if row["run_id"] in run_ids]
    rows.sort(key=_order)
    failures = [row for row in rows if row["status"] == "failed"]
    finished = [row for row in rows if row["status"] == "ok"]
    measured = [row for row in finished if row["kind"] == "evaluation"]
    evaluations = _newest(measured)
    trials = [row for row in finished if row["kind"] == "trial"]
    labels = labels_of(finished)
    counts = Counter(r["dataset"] for r in evaluations if r["role"] == "clean")
    dataset = min(counts, key=lambda name: (-counts[name], name)) if counts else None
    return Results(
        evaluations=evaluations,
        trials=trials,
        failures=failures,
        entries=_entries(evaluations, trials, labels, dataset),
        labels=labels,
        dataset=dataset,
        metric_names=store.metric_names(),
        problems=store.problems,
        num_outdated=len(measured) - len(evaluations),
    )


def _newest(evaluations: Sequence[Row]) -> list[Row]:
    """Of each model the evaluations by the latest numbers, which alone compare."""
    latest: dict[tuple, int] = defaultdict(int)
    for row in evaluations:
        key = identity(row)
        latest[key] = max(latest[key], _numbers_version(row))
    return [
        row for row in evaluations if _numbers_version(row) == latest[identity(row)]
    ]


def _numbers_version(row: Row) -> int:
    # Rows had none before version 4 of the evaluations.
    return int(row.get("numbers_version") or 0)


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a cell holds a number: neither missing nor NaN."""
    return value is not None and not math.isnan(value)


def model_title(row: Row) -> str | None:
    """A model's name, with what classified its features if its own head did not."""
    protocol = row.get("protocol")
    if protocol is None:
        return row["model"]
    words = protocol.replace("_", " ")
    if protocol == "knn":
        words = f"k-NN {row['num_neighbors']}"
    return f"{row['model'] or '(unnamed)'} ({words})"


def identity(row: Row, *, sized: bool = True) -> tuple:
    """What distinguishes a model, as trained or as probed, from all others.

    Args:
        row: A trial or an evaluation.
        sized: Whether one model at two sizes of images is two.
    """
    trial = row["run_id"] if row["kind"] == "trial" else row["trial_id"]
    # A trial says all about its weights; the type they are evaluated in does not.
    names = _GRID_POINT if trial else _SHORT
    if not sized:
        names = [name for name in names if name != "image_size"]
    details = (row.get(name) if name in names else None for name in _SHORT)
    return (model_title(row), row["optimizer"], *details, trial or row.get("probe_id"))


def labels_of(rows: Iterable[Row], *, sized: bool = True) -> dict[tuple, str]:
    """Model and optimizer, and whatever else distinguishes two identities.

    Args:
        rows: Trials and evaluations. What only a trial says, such as its teacher, is
            in a label where the trial is among them.
        sized: See `identity`.
    """
    rows = list(rows)
    trained = {r["run_id"]: training_of(r) for r in rows if r["kind"] == "trial"}
    pairs: dict[tuple, set[tuple]] = defaultdict(set)
    for row in rows:
        pairs[(model_title(row), row["optimizer"])].add(identity(row, sized=sized))
    labels = {}
    for (model, optimizer), members in pairs.items():
        values = {
            i: {member[i] for member in members} for i in range(2, 2 + len(_SHORT))
        }
        varying = [
            (i, short, setting_texts(values[i]))
            for i, short in enumerate(_SHORT.values(), start=2)
            if len(values[i]) > 1
        ]
        words_of = training_words({trained[m[-1]] for m in members if m[-1] in trained})
        for member in members:
            words = [model or "(unnamed)", optimizer or ""]
            words += [words_of.get(trained.get(member[-1], ()), "")]
            words += [
                f"{short}={texts[member[i]]}"
                for i, short, texts in varying
                if member[i] is not None
            ]
            labels[member] = " ".join(filter(None, words))
    twice = Counter(labels.values())
    return {
        member: label if twice[label] == 1 else f"{label} {(member[-1] or '')[:6]}"
        for member, label in labels.items()
    }


def superseded(rows: Iterable[Row]) -> int:
    """How many results have a later one of the same model on the same dataset.

    They differ in nothing that a label could name: other code or data made them.
    """
    counts = Counter((identity(r), r["role"], r["dataset"]) for r in rows)
    return counts.total() - len(counts)


def diverged(trial: Row | None) -> bool:
    """Whether a trial's loss stopped being finite."""
    return trial is not None and trial["diverged_step"] is not None


def corruption_of(dataset: str) -> Corruption | None:
    """The parts of an address such as `digits-c/fog_3` or `pets@test+fog_3`.

    None for others; scales and shifts are not corruptions.
    """
    match = _CORRUPTED.fullmatch(dataset)
    if match is None or match["own_name"] in ("scale", "shift"):
        return None
    if match["own"]:
        base = match["own"].split("@")[0]
        return Corruption(base, match["own_name"], int(match["own_severity"]))
    return Corruption(match["base"], match["name"], int(match["severity"]))


def clean_counterpart(entry: Entry, dataset: str, default: str | None) -> Row | None:
    """The clean row that a shifted dataset is compared with.

    The clean dataset of the same name where there is one (`digits@test` for
    `digits-c/...`), the report's main dataset otherwise.
    """
    corruption = corruption_of(dataset)
    base = corruption.base if corruption else dataset.split("@")[0]
    same = [row for name, row in entry.clean.items() if name.split("@")[0] == base]
    return same[0] if same else entry.clean.get(default or "")


def mean(values: Iterable[float | None]) -> float | None:
    """Mean of the numbers among the values; None where there are none."""
    numbers = [value for value in values if value is not None and is_number(value)]
    return sum(numbers) / len(numbers) if numbers else None


def _order(row: Row) -> tuple:
    # Of two results of one model on one dataset the later one is shown: it comes last.
    names = ("model", "optimizer", *_SHORT, "dataset", "created_at", "run_id")
    # None sorts first and never meets a number or a string.
    return tuple((row.get(name) is not None, row.get(name) or 0) for name in names)


def _entries(
    evaluations: Sequence[Row],
    trials: Sequence[Row],
    labels: dict[tuple, str],
    dataset: str | None,
) -> list[Entry]:
    trained = {trial["run_id"]: trial for trial in trials}
    everyone: dict[tuple, Entry] = {}
    for row in [*trials, *evaluations]:
        key = identity(row)
        entry = everyone.setdefault(
            key, Entry(labels[key], row["model"] or "(unnamed)", row["optimizer"])
        )
        entry.origin = trained.get(key[-1])
        if row["kind"] == "trial":
            entry.trial = row
        else:
            group = {"shifted": entry.shifted, "ood": entry.ood}
            group.get(row["role"], entry.clean)[row["dataset"] or "(unnamed)"] = row
    pairs: dict[tuple, list[Entry]] = defaultdict(list)
    titles: dict[str, tuple] = {}
    for key, entry in everyone.items():
        titles[entry.label] = key[:2]
        # Without an optimizer nothing was tuned here, so nothing is chosen among.
        place = (*key[:2], _training(entry)) if entry.optimizer else key
        pairs[place].append(entry)
    chosen = [max(pair, key=lambda e: _merit(e, dataset)) for pair in pairs.values()]
    _rename(chosen, titles)
    return chosen


def _training(entry: Entry) -> tuple:
    return training_of(entry.origin) if entry.origin else ()


def _merit(entry: Entry, dataset: str | None) -> tuple:
    """Sorts the trials of a pair: validation accuracy, then clean accuracy."""
    scores = [
        (entry.origin or {}).get("val_accuracy"),
        entry.clean.get(dataset or "", {}).get("accuracy"),
    ]
    numbers = [score if is_number(score) else -1.0 for score in scores]
    return (not diverged(entry.origin), *numbers, entry.label)


def _rename(chosen: Sequence[Entry], titles: dict[str, tuple]) -> None:
    """The grid point is left out of a label that is unique without it."""
    pairs: dict[tuple, list[Entry]] = defaultdict(list)
    for entry in chosen:
        if entry.optimizer:
            pairs[titles[entry.label]].append(entry)
    for title, pair in pairs.items():
        words = training_words({_training(entry) for entry in pair if entry.origin})
        for entry in pair:
            entry.trained = words.get(_training(entry), "")
        counts = Counter(entry.trained for entry in pair)
        for entry in pair:
            if counts[entry.trained] == 1:
                words = (title[0] or entry.model, title[1], entry.trained)
                entry.label = " ".join(filter(None, words))
