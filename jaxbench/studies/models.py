"""Which runs of a results folder are which model's: one answer for all studies.

A model is one entry of the results (`jaxbench.studies.entries`): of the trials of one
network, optimizer and training the best by validation accuracy, and none where that
diverged.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from jaxbench.errors import UserError, counted, unknown_name
from jaxbench.studies.entries import (
    Entry,
    Results,
    Row,
    diverged,
    identity,
    is_number,
    labels_of,
    superseded,
)
from jaxbench.studies.published.beyond import PublishedModel, load_published_models
from jaxbench.studies.regimes import (
    UNKNOWN,
    checkpoint_of,
    group_of,
    model_family,
    named_as_checkpoints,
    regime_of,
)
from model_zoo import registry


@dataclass
class Model:
    """One model with its evaluations.

    Attributes:
        label: What it is called.
        name: In the zoo.
        group: Architecture and training, such as "ConvNet CLIP", or a user's own.
        regime: How it was trained, or a user's own.
        trial: The trial that trained it or its backbone, if one did.
        checkpoint: Whose weights it has, if its own head decides; None of others.
        size: Side of its input in pixels; None where rows do not have it.
        clean: Its row on the reference.
        rows: Address to row of known classes, at that size.
        sizes: Address to size to row, of all sizes.
        ood: Address to row of out-of-distribution images.
        published: What a study published of it.
    """

    label: str
    name: str
    group: str = UNKNOWN
    regime: str = UNKNOWN
    trial: Row | None = None
    checkpoint: str | None = None
    size: int | None = None
    clean: Row = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    sizes: dict[str, dict[int | None, Row]] = field(default_factory=dict)
    ood: dict[str, Row] = field(default_factory=dict)
    published: PublishedModel | None = None

    @property
    def family(self) -> str:
        """Its family in the zoo."""
        return model_family(self.name)

    @property
    def architecture(self) -> str:
        """Its name without the tag; with the optimizer where it was trained here."""
        optimizer = self.trial["optimizer"] if self.trial else None
        return " ".join(filter(None, [self.name.partition(".")[0], optimizer]))


def find_models(
    results: Results,
    reference: str,
    *,
    regimes: Mapping[str, str] | None = None,
    groups: Mapping[str, str] | None = None,
    heads_only: bool = False,
) -> tuple[list[Model], list[str]]:
    """The models that were evaluated on the reference, the most accurate first.

    Args:
        results: Everything in the folder.
        reference: Address of a clean dataset.
        regimes: Label or name of a model to its regime; before what names say.
        groups: The same of groups.
        heads_only: Whether probes are left out and a model that was evaluated at
            several input sizes is one, at the size with the most datasets; each size
            is a model of its own otherwise.

    Returns:
        The models, and notes on what was left out.

    Raises:
        UserError: With `heads_only`, if a model has two results on one dataset that
            equal settings. Without it the later one is shown.
    """
    models = _gathered(results, regimes or {}, groups or {}, heads_only)
    notes = []
    for model in models:
        if heads_only and model.sizes:
            _choose_size(model)
        model.clean = model.rows.get(reference, {})
    known = [model for model in models if is_number(model.clean.get("accuracy"))]
    if lost := [model.label for model in models if model not in known]:
        notes.append(
            f"Left out for want of a result on {reference}: "
            f"{counted(len(lost), 'model')}, {some(lost)}."
        )
    notes += diverged_note(results)
    if older := 0 if heads_only else superseded(results.evaluations):
        notes.append(
            f"{older} results have a later one of the same model on the same dataset, "
            "made by other code or of other images: the latest is shown."
        )
    notes += named_as_checkpoints(model.clean for model in known)
    return sorted(known, key=lambda m: (-m.clean["accuracy"], m.label)), notes


def find_reference(
    results: Results, wanted: str | None, *, heads_only: bool = False
) -> str:
    """The clean dataset as wanted, else the one that most models were evaluated on.

    Args:
        results: Everything in the folder.
        wanted: Its address; None for the usual one.
        heads_only: Whether evaluations of probes do not count.

    Raises:
        UserError: If a clean dataset is missing, or not the wanted one.
    """
    counts = Counter(
        row["dataset"] or "(unnamed)"
        for row in results.evaluations
        if row["role"] == "clean" and (has_own_head(row) or not heads_only)
    )
    if not counts:
        raise UserError(
            "the folder has no evaluation on a clean dataset; run some first"
        )
    if wanted is None:
        return min(counts, key=lambda name: (-counts[name], name))
    if wanted not in counts:
        raise UserError(unknown_name("clean dataset", wanted, counts))
    return wanted


def runs_of_models(results: Results) -> dict[str, dict[str, str]]:
    """Label of a model to dataset address to run id, of everything that has labels.

    Where the features of a frozen backbone were classified by something else than its
    own head (the setting `protocol`), that is a model of its own, such as
    "resnet50 (linear probe)".

    Raises:
        UserError: If a model has two results on one dataset with equal settings.
    """
    found: dict[str, dict[str, str]] = defaultdict(dict)
    twice = []
    for entry, row in _owned(results):
        address = row["dataset"] or "(unnamed)"
        if row["role"] == "ood":
            continue
        if address in found[entry.label]:
            twice.append(f"{entry.label} on {address}")
        found[entry.label][address] = row["run_id"]
    _refuse(twice)
    return dict(found)


def diverged_note(results: Results) -> list[str]:
    """A note on models that are left out because their training diverged."""
    lost = [entry.label for entry in results.entries if diverged(entry.origin)]
    if not lost:
        return []
    counts = counted(len(lost), "model")
    return [f"{counts} diverged in training and left out: {', '.join(lost)}"]


def strangers(
    models: Collection[Model], own: Mapping[str, str], word: str
) -> list[str]:
    """A note on groups or regimes of models that are not there, if there are such."""
    names = {model.label for model in models} | {model.name for model in models}
    unknown = sorted(own.keys() - names)
    if not unknown:
        return []
    return [f"{word} are given of models that are not here: {some(unknown)}."]


def choose(models: Sequence[Model], patterns: Sequence[str]) -> list[Model]:
    """The models that patterns of labels or names mean, in the order of the patterns.

    Raises:
        UserError: If a pattern means none; all of them are named.
    """
    found: dict[str, Model] = {}
    problems = []
    for pattern in patterns:
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


def extremes(models: Sequence[Model], count: int = 6) -> list[Model]:
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


def addresses(models: Sequence[Model]) -> list[str]:
    """Every dataset of the models, in the order of its first appearance."""
    return list(dict.fromkeys(address for m in models for address in m.rows))


def has_own_head(row: Row) -> bool:
    """Whether a model's own head decided, and no probe of its features."""
    return row.get("protocol") is None


def published_of(row: Row) -> PublishedModel | None:
    """What was published of a row's model, if it has the weights of its name."""
    return load_published_models().get(checkpoint_of(row) or "")


def some(names: Sequence[str], most: int = 5) -> str:
    """The first names of many."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def _owned(results: Results) -> Iterator[tuple[Entry, Row]]:
    """The evaluations of the entries that did not diverge."""
    owners = {
        identity(row): entry
        for entry in results.entries
        if not diverged(entry.origin)
        for row in entry.rows()
    }
    for row in results.evaluations:
        if (entry := owners.get(identity(row))) is not None:
            yield entry, row


def _gathered(
    results: Results,
    regimes: Mapping[str, str],
    groups: Mapping[str, str],
    heads_only: bool,
) -> list[Model]:
    # Sizes of images are a view of one model then, not models of their own.
    unsized = labels_of(results.evaluations, sized=False)
    models: dict[str, Model] = {}
    twice = []
    for entry, row in _owned(results):
        if heads_only and not has_own_head(row):
            continue
        label = entry.label
        if heads_only and not entry.optimizer:
            label = unsized[identity(row, sized=False)]
        if label not in models:
            models[label] = Model(
                label,
                entry.model,
                group_of(entry.model, label, row, entry.origin, groups),
                regime_of(entry.model, label, row, entry.origin, regimes),
                entry.origin,
                checkpoint_of(row) if has_own_head(row) else None,
                published=published_of(row),
            )
        model, address = models[label], row["dataset"] or "(unnamed)"
        if row["role"] == "ood":
            model.ood[address] = row
            continue
        sizes = model.sizes.setdefault(address, {})
        if row.get("image_size") in sizes:
            twice.append(f"{label} on {address}")
        model.rows[address] = sizes[row.get("image_size")] = row
    if heads_only:
        _refuse(twice)
    return list(models.values())


def _choose_size(model: Model) -> None:
    """Of several sizes the one with the most datasets."""
    counts = Counter(size for found in model.sizes.values() for size in found)
    entry = registry.architectures().get(model.name.partition(".")[0])
    usual = entry.input_spec.size[0] if entry else None
    model.size = min(counts, key=lambda s: (-counts[s], s != usual, s or 0))
    model.rows = {
        address: found[model.size]
        for address, found in model.sizes.items()
        if model.size in found
    }


def _refuse(twice: Sequence[str]) -> None:
    if twice:
        raise UserError(
            f"{len(twice)} results are there twice, such as {twice[0]}: runs of other "
            "settings or data share the folder; give each experiment its own"
        )
