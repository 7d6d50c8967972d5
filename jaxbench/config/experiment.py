"""Experiment files: TOML in, one frozen and validated value out.

An unknown key, a value out of range and a missing table are errors, and all of them
are reported at once. Names of models, datasets, optimizers and metrics are looked up
where they are used: this module knows the shape of an experiment, not what exists.
"""

import codecs
import difflib
import hashlib
import json
import tomllib
from pathlib import Path
from typing import Annotated, Any

import pydantic
from pydantic import Field

from jaxbench.config.base import Count, Name, OnError, Seed, Table, Workers
from jaxbench.config.evaluate import EvaluateConfig, SubjectConfig
from jaxbench.config.pretrain import (
    CurationConfig,
    PretrainConfig,
    PretrainProbeConfig,
    ViewsConfig,
)
from jaxbench.config.probe import ProbeConfig
from jaxbench.config.study import StudyConfig
from jaxbench.config.train import (
    GridConfig,
    HalvingConfig,
    TeacherConfig,
    TrainConfig,
)
from jaxbench.errors import UserError, counted, unknown_name


class ExperimentConfig(Table):
    """A whole experiment file.

    Attributes:
        name: What the report is headed with.
        results: Folder of the results, relative to the working directory.
        seed: Of everything that is drawn outside training, such as resamples.
        limit: First images of every dataset to use, for a trial run; all when None.
        on_error: What an unreadable image does: "raise" fails the run and names it,
            "skip" leaves it out and counts it.
        classes: A text file with one class name a line: line i is label i; or
            "imagenet" for its thousand. For folders that hold a part of the classes
            that models know, or that are numbered in another order than theirs.
        imports: A user's modules to import first: they register models of their own.
        workers: Threads that decode images; one a usable core when None. No number
            depends on it.
        log: Trackers that follow the experiment, such as "tensorboard:DIR";
            not a part of a run's identity.
        train: Populations to train, if any: one table, or several (`[[train]]`).
        pretrain: Backbones to train without labels: one table, or several.
        probe: Backbones whose frozen features are classified: one table, or several.
        evaluate: What to measure, always.
        study: What to make of the results in the end, if anything.
    """

    name: Name
    results: Name
    seed: Seed = 0
    limit: Count | None = None
    on_error: OnError = "raise"
    classes: Name | None = None
    imports: Annotated[tuple[Name, ...], Field(strict=False)] = ()
    workers: Workers | None = None
    log: Annotated[tuple[Name, ...], Field(strict=False)] = ()
    train: Annotated[tuple[TrainConfig, ...], Field(strict=False)] = ()
    pretrain: Annotated[tuple[PretrainConfig, ...], Field(strict=False)] = ()
    probe: Annotated[tuple[ProbeConfig, ...], Field(strict=False)] = ()
    evaluate: EvaluateConfig
    study: StudyConfig | None = None

    @pydantic.field_validator("train", "pretrain", "probe", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        if value is None:
            return ()
        return (value,) if isinstance(value, dict) else value

    @pydantic.model_validator(mode="after")
    def _has_work(self) -> "ExperimentConfig":
        if not (self.train or self.pretrain or self.probe or self.evaluate.models):
            raise ValueError(
                "nothing to do; give a [train], [pretrain] or [probe] table, or "
                "[[evaluate.models]] entries"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _evaluates_what_is_asked(self) -> "ExperimentConfig":
        """Contrastive runs are scored on one dataset, by a probe of their table."""
        evaluate = self.evaluate
        if not self.pretrain or self.train or self.probe or evaluate.models:
            return self
        idle = sorted(evaluate.model_fields_set - {"clean", "models"})
        if len(evaluate.clean) > 1:
            idle.append(f"clean after {evaluate.clean[0]!r}")
        if idle:
            raise ValueError(
                f"evaluate: {', '.join(idle)} would do nothing: [[pretrain]] runs are "
                "scored by their linear probe, on the first clean dataset; leave it "
                "out, or evaluate their weights in a [[probe]] table"
            )
        return self


def load_config(path: str | Path) -> ExperimentConfig:
    """Reads an experiment file.

    Args:
        path: A TOML file.

    Raises:
        UserError: If the file is missing, is not TOML, or holds unknown keys or
            values out of range; every problem is named.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    try:
        table = tomllib.loads(_decode(content))
    except RecursionError as error:
        raise UserError(f"{path} is not a TOML file: nested too deeply") from error
    # A TOMLDecodeError, or a number of thousands of digits.
    except ValueError as error:
        raise UserError(f"{path} is not a TOML file: {error}") from error
    return parse_config(table, origin=str(path))


def _decode(content: bytes) -> str:
    """The text of a TOML file, which is UTF-8; a byte order mark is left out.

    Raises:
        ValueError: If it is not.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError("its encoding is UTF-16; save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ValueError(
            f"line {line} has the byte 0x{content[error.start]:02x}, which is not "
            "UTF-8; save the file as UTF-8"
        ) from None
    if "\0" in text:
        raise ValueError("it holds NUL characters, as UTF-16 does; save it as UTF-8")
    return text


def parse_config(table: dict[str, Any], *, origin: str) -> ExperimentConfig:
    """Validates an experiment given as nested dictionaries.

    Args:
        table: As `tomllib.load` returns it.
        origin: What to call it in messages.

    Raises:
        UserError: As for `load_config`.
    """
    try:
        return ExperimentConfig.model_validate(table)
    except pydantic.ValidationError as error:
        # An item that was refused leaves a list that looks too short: one mistake.
        single = {n for n in _LISTS if isinstance(table.get(n), dict)}
        problems = [
            _describe(problem | {"loc": _location(problem["loc"], single)})
            for problem in error.errors()
            if not (problem["type"] == "too_short" and problem["input"])
        ]
        listing = "\n".join(f"  - {problem}" for problem in problems)
        found = counted(len(problems), "problem")
        raise UserError(f"{origin}: {found}\n{listing}") from None


def config_digest(config: pydantic.BaseModel) -> str:
    """A digest of every value of a config that numbers may depend on."""
    values = config.model_dump(mode="json", exclude={"log", "workers"})
    text = json.dumps(values, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _location(parts: tuple, single: set[str]) -> tuple:
    """Where a problem is, as the file says it: one `[train]` table has no number."""
    return parts[:1] + parts[2:] if parts and parts[0] in single else parts


def _describe(problem) -> str:
    place = ".".join(str(part) for part in problem["loc"]) or "the file"
    if problem["type"] == "extra_forbidden":
        *parents, key = problem["loc"]
        known = _fields_at(parents)
        where = ".".join(map(str, parents)) or "the top level"
        return f"{where}: {unknown_name('key', str(key), known)}"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        return f"{place}: required, not given{_misspelt(problem)}"
    if isinstance(problem["input"], dict):
        return f"{place}: {message}"
    return f"{place}: {message}, got {problem['input']!r}"


def _misspelt(problem) -> str:
    """A key that stands where one is missing and looks like it; "" if none does."""
    given = problem["input"] if isinstance(problem["input"], dict) else {}
    wanted = problem["loc"][-1]
    near = difflib.get_close_matches(str(wanted), map(str, given), n=1, cutoff=0.8)
    return f"; there is {near[0]!r}, did you mean {wanted!r}?" if near else ""


def _fields_at(parents) -> list[str]:
    """The keys that the table at `parents` may hold."""
    table: Any = ExperimentConfig
    for part in parents:
        if isinstance(part, str) and part in _TABLES and table is ExperimentConfig:
            table = _TABLES[part]
        elif part in _INNER:
            table = _INNER[part]
    return list(table.model_fields)


# Tables of which there may be one or several.
_LISTS = ("train", "pretrain", "probe")
_TABLES = {
    "train": TrainConfig,
    "pretrain": PretrainConfig,
    "probe": ProbeConfig,
    "evaluate": EvaluateConfig,
    "study": StudyConfig,
}
_INNER = {
    "models": SubjectConfig,
    "grid": GridConfig,
    "teacher": TeacherConfig,
    "halving": HalvingConfig,
    "views": ViewsConfig,
    "curation": CurationConfig,
    "probe": PretrainProbeConfig,
}
