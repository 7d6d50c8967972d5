"""The studies: what each asks, and what makes its page of a results folder."""

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from jaxbench.errors import UserError, unknown_name
from jaxbench.reports.page import Page
from jaxbench.reports.provenance import changed_options, with_origin
from jaxbench.results import ResultStore
from jaxbench.studies.partial import partial_datasets


@dataclass(frozen=True)
class Study:
    """A row of STUDIES.

    Attributes:
        title: A few words.
        question: What it asks.
        reference: Address of the paper.
        module: Where its `build(store, **options) -> Page` is, and `check(**options)`
            where there is something to check; imported when it is needed, since some
            draw on much.
    """

    title: str
    question: str
    reference: str
    module: str

    def options(self) -> dict[str, inspect.Parameter]:
        """The options of its page, by name."""
        parameters = inspect.signature(self._build()).parameters
        return {
            name: parameter
            for name, parameter in parameters.items()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        }

    def check(self, options: Mapping[str, Any]) -> None:
        """Refuses values that the page cannot be made with, whatever the results.

        Raises:
            UserError: If there are such.
        """
        check = getattr(importlib.import_module(self.module), "check", None)
        if check is not None:
            check(**options)

    def build(self, store: ResultStore, options: Mapping[str, Any]) -> Page:
        """The page of a results folder.

        Whatever the study, a note names the datasets that are not whole, and the page
        says how it was made and where its numbers come from.

        Raises:
            UserError: If the folder does not hold what the study needs.
        """
        build, store = self._build(), store.keeping()
        page = build(store, **options)
        rows = store.summary().to_pylist()
        notes = partial_datasets(r for r in rows if r["kind"] == "evaluation")
        return with_origin(
            replace(page, notes=(*page.notes, *notes)),
            rows,
            ("study", page.name, str(store.path)),
            changed_options(build, options),
        )

    def _build(self) -> Any:
        return importlib.import_module(self.module).build


STUDIES: Mapping[str, Study] = MappingProxyType(
    {
        "selective": Study(
            "Selective prediction",
            "Which classifiers know when they are wrong?",
            "https://arxiv.org/abs/2302.11874",
            "jaxbench.reports.studies.selective",
        ),
        "beyond": Study(
            "Beyond accuracy",
            "Models of the same accuracy: what sets them apart?",
            "https://arxiv.org/abs/2311.09215",
            "jaxbench.reports.studies.beyond",
        ),
        "coupling": Study(
            "Backbone-optimizer coupling",
            "Which optimizer fits which backbone?",
            "https://arxiv.org/abs/2410.06373",
            "jaxbench.reports.studies.coupling",
        ),
        "lottery": Study(
            "Benchmark lottery",
            "Does a small gain on one test set carry over to others?",
            "https://arxiv.org/abs/2501.15431",
            "jaxbench.reports.studies.lottery",
        ),
        "curation": Study(
            "Batch curation",
            "Can bad batches be recognised and left out?",
            "https://arxiv.org/abs/2403.19579",
            "jaxbench.reports.studies.curation",
        ),
    }
)


# What would not end, or not fit a key of 32 bits.
_MOST = {"num_resamples": 1_000_000, "seed": 2**32 - 1, "levels": 10_000}


def find_study(kind: str, options: Mapping[str, Any] | None = None) -> Study:
    """The study of a name, once its options are known to exist and be in range.

    Raises:
        UserError: If the study or an option is unknown, or a value does
            not fit; all are named.
    """
    options = options or {}
    if kind not in STUDIES:
        raise UserError(unknown_name("study", kind, STUDIES))
    study = STUDIES[kind]
    known = study.options()
    problems = [
        unknown_name("option", name, known) for name in options if name not in known
    ]
    problems += [
        f"{name} is {value}, wanted at most {_MOST[name]:,}"
        for name, value in options.items()
        if name in _MOST and isinstance(value, int) and value > _MOST[name]
    ]
    if problems:
        raise UserError(f"study {kind!r}: {'; '.join(problems)}")
    try:
        study.check(options)
    except UserError as error:
        raise UserError(f"study {kind!r}: {error}") from error
    return study
