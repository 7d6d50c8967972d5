"""How a model of the zoo was trained, and its family, read off its name.

timm's names end with a tag that says what the weights were trained on and how:
`resnet50.fb_swsl_ig1b_ft_in1k`. The table `regimes.csv` says which words of a tag mean
which regime; the first of its rows that fits counts. A name that no row fits is
"unknown": nothing is guessed.
"""

import csv
import functools
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from jaxbench.config import PRETRAINED
from jaxbench.errors import UserError
from model_zoo import registry

UNKNOWN = "unknown"
DISTILLED = "distilled"
PLAIN = "plain"
_CONVNETS = (
    *("alexnet", "convnext", "densenet", "efficientnet", "moganet", "regnet"),
    *("repvgg", "resnet", "unireplknet", "vgg"),
)
_TRANSFORMERS = ("swin", "vit", "xcit")
# Trained on labels alone; what a tag says more of is another group or unknown.
_SUPERVISED = ("plain", "pretrained", "SAM")
_TRAINING = {"CLIP": "CLIP"} | dict.fromkeys(_SUPERVISED, "supervised")


class RegimeRule(NamedTuple):
    """A row of `regimes.csv`.

    Attributes:
        architecture: Shell pattern of the part before the dot.
        tokens: Patterns of words of the tag, which underscores part; each must fit one
            of them.
        regime: What it means.
        meaning: Why.
    """

    architecture: str
    tokens: tuple[str, ...]
    regime: str
    meaning: str

    def fits(self, architecture: str, parts: tuple[str, ...]) -> bool:
        """Whether the rule is about such a name."""
        return fnmatchcase(architecture, self.architecture) and all(
            any(fnmatchcase(part, token) for part in parts) for token in self.tokens
        )


@functools.cache
def regime_rules() -> tuple[RegimeRule, ...]:
    """The table of rules, in the order in which they are tried."""
    text = files("jaxbench.studies").joinpath("regimes.csv").read_text("utf-8")
    return tuple(
        RegimeRule(
            row["architecture"],
            tuple(row["tokens"].split()),
            row["regime"],
            row["meaning"],
        )
        for row in csv.DictReader(text.splitlines())
    )


def training_regime(model: str, own: Mapping[str, str] | None = None) -> str:
    """How a model was trained: "distilled", "pretrained", "plain" and so on.

    Args:
        model: "architecture.tag", or an architecture: its default tag then.
        own: Models that the caller knows about: name to regime. They come first.

    Returns:
        A regime of `regimes.csv` or of `own`; "unknown" where the tag says nothing,
        or is not one of timm's.
    """
    if own and model in own:
        return own[model]
    architecture, _, tag = _current_names().get(model, model).partition(".")
    if not tag:
        entry = registry.architectures().get(architecture)
        tag = entry.default_tag if entry and entry.default_tag else ""
    words = tuple(tag.split("_")) if tag else ()
    fitting = (rule for rule in regime_rules() if rule.fits(architecture, words))
    return next((rule.regime for rule in fitting), UNKNOWN)


def checkpoint_of(row: Mapping[str, Any]) -> str | None:
    """The published checkpoint whose weights a row was measured with.

    Weights from the hub are those that the model's name means. A file is taken for the
    checkpoint that it, its folder or its repository is named as, if that is of the
    row's architecture and has as many classes: the tensors had the shapes of this
    network, or the row would not be.

    Args:
        row: Of results, with "model", "weights" and "num_classes".

    Returns:
        "architecture.tag"; None of weights that were trained or drawn here, of files
        with other names, and where a config.json made another network of them.
    """
    name, weights = row.get("model") or "", row.get("weights")
    if not weights or row.get("trial_id") or row.get("network_changes"):
        return None
    if weights == PRETRAINED:
        return name
    path = Path(weights)
    repositories = [p.split("--")[-1] for p in path.parts if p.startswith("models--")]
    for label in (path.stem, path.parent.name, *repositories):
        found = registry.checkpoints().get(label)
        if found is None or name not in (label, found.architecture):
            continue
        # The heads of probes and of texts are not the weights' own.
        other_head = row.get("protocol") or row.get("zero_shot")
        if other_head or row.get("num_classes") == found.num_classes:
            return label
    return None


def named_as_checkpoints(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """A note on weights that were taken for checkpoints by their files' names."""
    found = {
        checkpoint
        for row in rows
        if row.get("weights") != PRETRAINED and (checkpoint := checkpoint_of(row))
    }
    if not found:
        return []
    shown = ", ".join(sorted(found)[:5]) + (", ..." if len(found) > 5 else "")
    which = "1 model was" if len(found) == 1 else f"{len(found)} models were"
    return [
        f"{which} read from files named as published checkpoints and taken for these, "
        f"as names, shapes and numbers of classes agree: {shown}."
    ]


@functools.cache
def _current_names() -> dict[str, str]:
    """The zoo's names of weights that timm does not hold, by their older names."""
    known = registry.checkpoints().values()
    return {row.legacy_name: row.name for row in known if row.legacy_name}


def model_family(model: str) -> str:
    """The zoo's family of a model: the name of its file of architectures.

    Returns:
        "unknown" for a model that is not in the zoo.
    """
    name = _current_names().get(model, model)
    entry = registry.architectures().get(name.partition(".")[0])
    return entry.family if entry else UNKNOWN


def regime_of(
    name: str,
    label: str,
    row: Mapping[str, Any],
    trial: Mapping[str, Any] | None,
    own: Mapping[str, str],
) -> str:
    """How a model was trained, by its name or by the trial that trained it.

    Args:
        name: Of the model.
        label: What it is called among others.
        row: One of its evaluations.
        trial: The trial that trained it, if one did.
        own: A user's own regimes, by label or name; they come first.
    """
    for known in (label, name):
        if known in own:
            return own[known]
    # A probe's head was trained apart from its backbone.
    if row.get("protocol"):
        return UNKNOWN
    if checkpoint := checkpoint_of(row):
        return training_regime(checkpoint)
    if trial is None:
        return UNKNOWN
    if trial.get("teacher"):
        return DISTILLED
    return UNKNOWN if trial.get("started_from") else PLAIN


def group_of(
    name: str,
    label: str,
    row: Mapping[str, Any],
    trial: Mapping[str, Any] | None,
    groups: Mapping[str, str],
) -> str:
    """Architecture and training of a model, such as "ConvNet CLIP"; "unknown".

    Args:
        name: Of the model.
        label: What it is called among others.
        row: One of its evaluations.
        trial: The trial that trained it, if one did.
        groups: A user's own, by label or name; they come first.
    """
    if found := groups.get(label) or groups.get(name):
        return found
    family = model_family(name)
    kind = "ConvNet" if family in _CONVNETS else None
    kind = "transformer" if family in _TRANSFORMERS else kind
    # A name says nothing about weights that are not the checkpoint's.
    checkpoint = checkpoint_of(row) if row.get("weights") else name
    training = _TRAINING.get(training_regime(checkpoint)) if checkpoint else None
    if trial is not None:
        other = trial.get("teacher") or trial.get("started_from")
        training = None if other else "supervised"
    return f"{kind} {training}" if kind and training else UNKNOWN


def read_regimes(path: str | Path) -> dict[str, str]:
    """Regimes of your own models from a CSV file with columns `model` and `regime`.

    Raises:
        UserError: If the file cannot be read, lacks a column, or has a model without
            a regime or with two.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"regimes: cannot read {path}: {error}") from error
    names = list(reader.fieldnames or ())
    if missing := [name for name in ("model", "regime") if name not in names]:
        raise UserError(
            f"regimes: {path} has columns {', '.join(names) or 'none'}; it lacks "
            f"{', '.join(missing)}"
        )
    found: dict[str, str] = {}
    problems = []
    for number, row in enumerate(rows, start=2):
        model, regime = (row["model"] or "").strip(), (row["regime"] or "").strip()
        if not model or not regime:
            problems.append(f"line {number} has no {'regime' if model else 'model'}")
        elif found.setdefault(model, regime) != regime:
            problems.append(f"{model} is both {found[model]} and {regime}")
    if problems:
        raise UserError(f"regimes: {path}: {'; '.join(problems)}")
    return found
