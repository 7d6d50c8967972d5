"""What the zoo holds, as data: architectures with their arguments, and checkpoints.

`timm.json` and `coverage.csv` are generated from timm's registry and published lists
(`scripts/build_registry.py`), `keywords.json` from what timm builds each architecture
with (`scripts/build_keywords.py`); they hold facts alone; `presets.toml` and
`checkpoints.toml` are written by hand and hold the variants and weights that timm
lacks; `clip.toml` says where CLIP models' text towers are, and `model_zoo.clip` reads
it. All are read on first use, and no backbone is imported before it is built.
"""

import csv
import functools
import importlib
import io
import json
import tomllib
from dataclasses import dataclass, field, replace
from importlib.resources import files
from typing import Any, NamedTuple

from model_zoo.input_spec import InputSpec


@dataclass(frozen=True)
class ArchitectureEntry:
    """One named variant of a family.

    Attributes:
        name: What `create_model` calls it.
        family: Name of its files in `backbones/` and `weights/`.
        arguments: Keyword arguments of the family's architecture.
        input_spec: The input that it was made for.
        default_tag: Tag of the checkpoint that its bare name means; None without one.
        num_parameters: Trainable numbers at 1000 classes; None where not recorded.
        num_macs: Multiply-accumulates of an image of that size; None as above.
    """

    name: str
    family: str
    arguments: dict[str, Any] = field(hash=False)
    input_spec: InputSpec
    default_tag: str | None = None
    num_parameters: int | None = None
    num_macs: int | None = None

    def build(self) -> Any:
        """Imports the family and makes the architecture."""
        module = importlib.import_module(f"model_zoo.backbones.{self.family}")
        return module.ARCHITECTURE(**{k: _frozen(v) for k, v in self.arguments.items()})

    def rules(self) -> Any:
        """Imports how the family's originals are read, a `weights.rules.Rules`."""
        return importlib.import_module(f"model_zoo.weights.{self.family}").RULES


@dataclass(frozen=True)
class Checkpoint:
    """Weights of an architecture, and the input they were trained for.

    Attributes:
        name: "architecture.tag".
        repository: Of the Hugging Face hub, "" where there is none.
        file: Name in the repository; "" is the usual "model.safetensors".
        url: Where the authors published it.
        num_classes: Logits, 0 for a backbone without a head.
        input_spec: Size, crop and normalisation.
        test_size: Height and width of published results, if other than trained for.
        test_crop_fraction: The crop that goes with `test_size`.
        licence: SPDX-like name, "" where unknown.
        top_1_accuracy: Published on ImageNet's validation images, at the size and crop
            of `test_spec`; a fraction, None where unknown.
        in_selective_study: Whether arXiv 2302.11874 evaluated it.
        legacy_name: What that study called it, where timm's registry has no entry.
    """

    name: str
    repository: str
    file: str
    url: str
    num_classes: int
    input_spec: InputSpec
    test_size: tuple[int, int] | None
    test_crop_fraction: float | None
    licence: str
    top_1_accuracy: float | None
    in_selective_study: bool
    legacy_name: str = ""

    @property
    def architecture(self) -> str:
        """Name of the architecture."""
        return self.name.partition(".")[0]

    @property
    def tag(self) -> str:
        """What follows the dot."""
        return self.name.partition(".")[2]

    @property
    def test_spec(self) -> InputSpec:
        """The input of published results: that of timm's validation script."""
        spec = self.input_spec
        return replace(
            spec,
            size=self.test_size or spec.size,
            crop_fraction=self.test_crop_fraction or spec.crop_fraction,
        )


_registered: dict[str, ArchitectureEntry] = {}


def architectures() -> dict[str, ArchitectureEntry]:
    """Every architecture by name, alphabetical; what was registered comes last.

    Raises:
        ValueError: If a preset carries a name of timm's.
    """
    return {**_listed(), **_registered}


def register(entry: ArchitectureEntry) -> None:
    """Adds an architecture to those of this process; `register_model` calls it.

    Raises:
        ValueError: If the zoo has one of that name.
    """
    if entry.name in _listed():
        raise ValueError(f"the zoo has a model called {entry.name!r}; choose another")
    _registered[entry.name] = entry


@functools.cache
def _listed() -> dict[str, ArchitectureEntry]:
    theirs = _timm()["architectures"]
    presets = tomllib.loads(_text("presets.toml"))
    if both := sorted(theirs.keys() & presets.keys()):
        raise ValueError(f"presets.toml repeats names of timm: {', '.join(both)}")
    rows = {**theirs, **presets}
    return {name: _architecture(name, rows[name]) for name in sorted(rows)}


class Listed(NamedTuple):
    """A checkpoint of the list that coverage is measured against.

    Attributes:
        checkpoint: Its name today, or the one the study used where timm has none.
        family: timm's file, or "torchvision/...", that its architecture is in.
        in_selective_study: "yes", "likely" or "no": whether arXiv 2302.11874 evaluated
            it; 516 are certain, 7 are inferred.
        in_timm_results: "yes" or "no": whether timm publishes a result.
    """

    checkpoint: str
    family: str
    in_selective_study: str
    in_timm_results: str


@functools.cache
def coverage() -> tuple[Listed, ...]:
    """The published lists: the 523 of the selective-prediction study, and timm's."""
    return tuple(
        Listed(**row) for row in csv.DictReader(io.StringIO(_text("coverage.csv")))
    )


@functools.cache
def checkpoints() -> dict[str, Checkpoint]:
    """Every checkpoint by name, alphabetical."""
    rows = {**_timm()["checkpoints"], **tomllib.loads(_text("checkpoints.toml"))}
    return {name: _checkpoint(name, rows[name]) for name in sorted(rows)}


def input_spec(values: dict[str, Any]) -> InputSpec:
    """An input from a row, which holds what differs from the defaults."""
    return InputSpec(**{k: _frozen(v) for k, v in values.items()})


def _architecture(name: str, row: dict[str, Any]) -> ArchitectureEntry:
    return ArchitectureEntry(
        name,
        row["family"],
        row.get("arguments", {}),
        input_spec(row.get("input", {})),
        row.get("default_tag"),
        row.get("num_parameters"),
        row.get("num_macs"),
    )


def _checkpoint(name: str, row: dict[str, Any]) -> Checkpoint:
    return Checkpoint(
        name,
        row.get("repository", "" if "legacy_name" in row else f"timm/{name}"),
        row.get("file", ""),
        row.get("url", ""),
        row.get("num_classes", 1000),
        input_spec(row.get("input", {})),
        _frozen(row.get("test_size")),
        row.get("test_crop_fraction"),
        row.get("licence", ""),
        row.get("top_1_accuracy"),
        row.get("in_selective_study", "legacy_name" in row),
        row.get("legacy_name", ""),
    )


def timm_keywords(name: str) -> dict[str, Any] | None:
    """What timm builds an architecture with; None of those that it lacks.

    Classes and functions are given by name, without what a caller chooses (classes,
    image size, dropout rates) and without the blocks of an EfficientNet.
    """
    return _keywords()["variants"].get(name)


def timm_defaults(model_class: str) -> dict[str, Any]:
    """Defaults of the keywords of one of timm's model classes."""
    return _keywords()["classes"][model_class]


@functools.cache
def _keywords() -> dict[str, Any]:
    return json.loads(_text("keywords.json"))


@functools.cache
def _timm() -> dict[str, Any]:
    return json.loads(_text("timm.json"))


def _text(name: str) -> str:
    return (files(__name__) / name).read_text("utf-8")


def _frozen(value: Any) -> Any:
    """Lists as tuples, so that an architecture can be hashed."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
