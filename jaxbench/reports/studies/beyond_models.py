"""The models of a results folder as the study beyond accuracy sees them."""

import re
import zlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import jax
import numpy as np
from jaxtyping import Array, Key

from jaxbench.data.modifiers import split_modifiers
from jaxbench.errors import UserError, counted, unknown_name
from jaxbench.reports.cells import Cell, format_interval, interval_cell
from jaxbench.reports.page import Finding, Interval, Section
from jaxbench.reports.studies.beside import Beside
from jaxbench.results import ResultStore
from jaxbench.studies import UNKNOWN, model_family, training_regime
from jaxbench.studies.entries import Results, Row, identity, labels_of
from jaxbench.studies.published.beyond import PublishedModel, load_published_models
from jaxbench.studies.regimes import checkpoint_of, named_as_checkpoints
from jaxbench.studies.shape_bias import Share
from model_zoo import registry

CUE_CONFLICT = "cue-conflict"
_CONVNETS = (
    *("alexnet", "convnext", "densenet", "efficientnet", "moganet", "regnet"),
    *("repvgg", "resnet", "unireplknet", "vgg"),
)
_TRANSFORMERS = ("swin", "vit", "xcit")
# Trained on labels alone; what a tag says more of is another group or unknown.
_SUPERVISED = ("plain", "pretrained", "SAM")
_TRAINING = {"CLIP": "CLIP"} | dict.fromkeys(_SUPERVISED, "supervised")


@dataclass
class Model:
    """One model with its evaluations.

    Attributes:
        label: What it is called on the page.
        name: In the zoo.
        group: Architecture and training, such as "ConvNet CLIP", or a user's own.
        size: Side of its input in pixels; None where rows do not tell.
        rows: Address to row, at that size.
        sizes: Address to size to row, of all sizes.
        published: What the study published of it.
    """

    label: str
    name: str
    group: str
    size: int | None = None
    rows: dict[str, Row] = field(default_factory=dict)
    sizes: dict[str, dict[int | None, Row]] = field(default_factory=dict)
    published: PublishedModel | None = None


@dataclass(frozen=True)
class Study:
    """What every part of the page is made from.

    Attributes:
        store: The folder.
        models: The best on the reference first.
        reference: Address of the clean dataset.
        charted: Labels of the models with curves.
        key: Chooses resamples.
        num_resamples: Their number.
    """

    store: ResultStore
    models: Sequence[Model]
    reference: str
    charted: tuple[str, ...]
    key: Key[Array, ""]
    num_resamples: int

    def key_of(self, *place: str) -> Key[Array, ""]:
        """A key that depends on names alone, not on what else is in the folder."""
        number = zlib.crc32("\n".join(place).encode())
        return jax.random.fold_in(self.key, number)


@dataclass
class Part:
    """What one analysis adds to the page.

    Attributes:
        sections: Tables and charts.
        findings: Answers.
        notes: What was left out, in words.
        scores: Label of a model to measure to value with its interval.
        beside: Own numbers with the published ones.
        differs: In what these are of something else, in sentences.
    """

    sections: list[Section] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    scores: dict[str, dict[str, Interval]] = field(default_factory=dict)
    beside: list[Beside] = field(default_factory=list)
    differs: list[str] = field(default_factory=list)

    def score(self, label: str, measure: str, value: Interval | Share) -> None:
        """Keeps a number for the comparison of models and groups."""
        if np.isfinite(value[0]):
            low, high = value[1], value[2]
            self.scores.setdefault(label, {})[measure] = (value[0], low, high)

    def compare(
        self,
        model: Model,
        measure: str,
        own: Interval | Share | None,
        published: float | None,
        *,
        percent: bool = True,
    ) -> None:
        """Keeps a number of a model beside the published one, if there are both."""
        if not model.published or own is None or published is None:
            return
        if np.isfinite(own[0]):
            ends = (own[0], own[1], own[2])
            title = model.published.title
            row = Beside(model.label, title, measure, ends, published, percent)
            self.beside.append(row)


def find_models(
    results: Results,
    reference: str,
    groups: Mapping[str, str],
    backbones: Collection[Model] = (),
) -> tuple[list[Model], list[str]]:
    """The models that were evaluated on the reference, and what was left out.

    Of trained ones, the best trial by validation accuracy of each network, optimizer
    and training is the model. A model that was evaluated at several input sizes is
    shown at the one with the most datasets.

    Args:
        results: Everything in the folder.
        reference: Address of the clean dataset.
        groups: Label or name of a model to its group.
        backbones: Those that were probed, which groups may be about too.

    Raises:
        UserError: If a model has two results on one dataset that nothing tells apart.
    """
    models = _gathered(results, groups)
    for model in models.values():
        counts = Counter(s for found in model.sizes.values() for s in found)
        usual = _usual_size(model.name)
        model.size = min(
            counts, key=lambda size: (-counts[size], size != usual, size or 0)
        )
        for address, found in model.sizes.items():
            if model.size in found:
                model.rows[address] = found[model.size]
    known = [model for model in models.values() if reference in model.rows]
    notes = []
    if lost := [m.label for m in models.values() if reference not in m.rows]:
        notes.append(
            f"Left out for want of a result on {reference}: "
            f"{counted(len(lost), 'model')}, {some(lost)}."
        )
    notes += named_as_checkpoints(m.rows[reference] for m in known)
    notes += strangers((*known, *backbones), groups)
    known.sort(key=lambda m: (-_accuracy(m.rows[reference]), m.label))
    return known, notes


def strangers(models: Collection[Model], groups: Mapping[str, str]) -> list[str]:
    """A note on groups of models that are not there, if there are such."""
    names = {model.label for model in models} | {model.name for model in models}
    unknown = sorted(groups.keys() - names)
    if not unknown:
        return []
    return [f"Groups are given of models that are not here: {some(unknown)}."]


def published_of(row: Row) -> PublishedModel | None:
    """What was published of a row's model, if it has the weights of its name."""
    return load_published_models().get(checkpoint_of(row) or "")


def has_own_head(row: Row) -> bool:
    """Whether a model's own head decided, and no probe of its features."""
    return row.get("protocol") is None


def group_of(
    name: str, label: str, row: Row, trial: Row | None, groups: Mapping[str, str]
) -> str:
    """Architecture and training of a model, such as "ConvNet CLIP"; "unknown".

    Args:
        name: Of the model.
        label: What it is called on the page.
        row: One of its evaluations.
        trial: The trial that trained it, if one did.
        groups: A user's own, by label or name; they come first.
    """
    if found := groups.get(label) or groups.get(name):
        return found
    family = model_family(name)
    kind = "ConvNet" if family in _CONVNETS else None
    kind = "transformer" if family in _TRANSFORMERS else kind
    # A name tells nothing of weights that are not the checkpoint's.
    checkpoint = checkpoint_of(row) if row.get("weights") else name
    training = _TRAINING.get(training_regime(checkpoint)) if checkpoint else None
    if trial is not None:
        other = trial.get("teacher") or trial.get("started_from")
        training = None if other else "supervised"
    return f"{kind} {training}" if kind and training else UNKNOWN


def choose(models: Sequence[Model], patterns: Sequence[str]) -> tuple[str, ...]:
    """Labels of the models that patterns of labels or names mean.

    Raises:
        UserError: If a pattern means none; all of them are named.
    """
    found: dict[str, None] = {}
    problems = []
    for pattern in patterns:
        fitting = [
            model.label
            for model in models
            if fnmatchcase(model.label, pattern) or fnmatchcase(model.name, pattern)
        ]
        if not fitting:
            problems.append(unknown_name("model", pattern, [m.label for m in models]))
        found.update(dict.fromkeys(fitting))
    if problems:
        raise UserError("shown: " + "; ".join(problems))
    return tuple(found)


def is_cue_conflict(address: str) -> bool:
    """Whether a dataset has the 16 categories of cue-conflict images."""
    return split_modifiers(address)[0].partition("@")[0] == CUE_CONFLICT


def addresses(models: Sequence[Model]) -> list[str]:
    """Every dataset of the models, in the order of its first appearance."""
    return list(dict.fromkeys(address for m in models for address in m.rows))


def slug(text: str) -> str:
    """A name as part of a file name."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-")


def some(names: Sequence[str], most: int = 5) -> str:
    """The first names of many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def share_text(value: Share | Interval) -> str:
    """A fraction in percent with its interval."""
    return format_interval(*value, percent=True)


def share_cell(value: Share | Interval | None) -> Cell:
    """The same as a cell; a dash where there is none."""
    if value is None or not np.isfinite(value[0]):
        return Cell("-", None)
    return interval_cell(*_floats(value), percent=True)


def signed_cell(value: Share | Interval | None) -> Cell:
    """A difference of fractions in points, with its sign."""
    if value is None or not np.isfinite(value[0]):
        return Cell("-", None)
    mean, low, high = _floats(value)
    return Cell(signed_text(value), mean, low, high)


def _floats(
    value: Share | Interval,
) -> tuple[float, float | None, float | None]:
    """Mean and ends; no ends where they are not finite."""
    mean, low, high = value
    if low is None or high is None or not np.isfinite([low, high]).all():
        return float(mean), None, None
    return float(mean), float(low), float(high)


def signed_text(value: Share | Interval) -> str:
    """A difference of fractions in points, with its sign and interval."""
    mean, low, high = _floats(value)
    if low is None or high is None:
        return f"{100 * mean:+.1f}"
    return f"{100 * mean:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


def _gathered(results: Results, groups: Mapping[str, str]) -> dict[str, Model]:
    entries = {
        identity(row): entry
        for entry in results.entries
        for row in (
            *([entry.trial] if entry.trial else []),
            *entry.clean.values(),
            *entry.shifted.values(),
        )
    }
    # Sizes of images are a view of one model here, not models of their own.
    labels = labels_of(results.evaluations, sized=False)
    models: dict[str, Model] = {}
    twice = []
    for row in results.evaluations:
        entry = entries.get(identity(row))
        if entry is None or row["role"] == "ood" or not has_own_head(row):
            continue
        label = entry.label if entry.optimizer else labels[identity(row, sized=False)]
        group = group_of(entry.model, label, row, entry.trial, groups)
        model = models.setdefault(label, Model(label, entry.model, group))
        model.published = published_of(row)
        address = row["dataset"] or "(unnamed)"
        sizes = model.sizes.setdefault(address, {})
        if row.get("image_size") in sizes:
            twice.append(f"{label} on {address}")
        sizes[row.get("image_size")] = row
    if twice:
        raise UserError(
            f"{len(twice)} results are there twice, such as {twice[0]}: runs of other "
            "settings or data share the folder; give each experiment its own"
        )
    return models


def _usual_size(name: str) -> int | None:
    """Side of the input that the zoo gives an architecture, in pixels."""
    entry = registry.architectures().get(name.partition(".")[0])
    return entry.input_spec.size[0] if entry else None


def _accuracy(row: Row) -> float:
    value = row.get("accuracy")
    return value if value is not None and np.isfinite(value) else -1.0
