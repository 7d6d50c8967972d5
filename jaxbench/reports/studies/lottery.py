"""The page of the benchmark lottery: does a lead on one test set carry over?"""

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from jaxbench.errors import UserError
from jaxbench.reports.page import Page, Section
from jaxbench.reports.studies.lottery_charts import (
    MOST_LINES,
    ranks_chart,
    scatter_chart,
    tau_chart,
)
from jaxbench.reports.studies.lottery_findings import INDEPENDENT, lottery_findings
from jaxbench.reports.studies.lottery_tables import (
    SHOWN_PAIRS,
    datasets_table,
    improvements_table,
    kept_table,
    models_table,
    own_table,
    survival_table,
    unified_table,
)
from jaxbench.results import ResultStore
from jaxbench.studies.lottery_analysis import Lottery, analyse
from jaxbench.studies.lottery_files import SCORE_COLUMN, read_result_tables
from jaxbench.studies.variant_table import VariantTable, table_of_store

TITLE = "The benchmark lottery"
REFERENCE = "https://arxiv.org/abs/2501.15431"
_QUESTION = (
    "Models are ranked by their accuracy on one test set. Which leads are more than "
    "chance, and which are still there on variants of that set?"
)
_CONSERVATIVE = (
    "Only accuracies are known, not which images each model is right on: pairs are "
    "tested as two independent proportions. Classifiers fail on the same hard images, "
    "so their errors are positively correlated, and the test is conservative: a paired "
    "test on per-image results may find more differences, at the same gap."
)
_PAIRED = (
    "Pairs are tested on the same images by McNemar's exact test. It is about other "
    "images of this kind, not about other seeds of the same training."
)
_OURS = (
    "Mean accuracy, mean rank and retention are ours: the paper proposes a unified "
    "metric over variants, whose formula is not public."
)
_OF_200_CLASSES = ("imagenet-a", "imagenet-r")
_FLATTERS = (
    "A bootstrap flatters the observed ranking: of two models that are truly equal, "
    "the leader stays ahead in 3/4 of the resamples on average."
)


def build(
    store: ResultStore | None = None,
    *,
    tables: Sequence[str | os.PathLike[str]] = (),
    images: Mapping[str, int] | None = None,
    reference: str | None = None,
    model_column: str | None = None,
    score_column: str = SCORE_COLUMN,
    percent: bool | None = None,
    own: str | None = None,
    alpha: float = 0.05,
    power: float = 0.8,
    num_resamples: int = 1000,
    seed: int = 0,
) -> Page:
    """The page of a results folder or of published result tables.

    Args:
        store: Evaluations of models on a reference and its variants.
        tables: CSV files instead, one for each dataset; see `read_result_tables`, also
            for `images`, `model_column`, `score_column` and `percent`.
        images: Dataset to its number of images.
        reference: The dataset that the ranking is made on; in a folder the clean one
            that most models have, when None.
        model_column: Identifies the models of tables.
        score_column: Where tables have the accuracies.
        percent: Whether these are percent.
        own: The dataset that stands for your own images; the reference when None.
        alpha: Level of all tests.
        power: That numbers of images aim at.
        num_resamples: Resamples behind intervals and shares.
        seed: Chooses the resamples.

    Raises:
        UserError: If both or none of store and tables are given, an option does not go
            with them or is out of range, or there are fewer than two models.
    """
    if (store is None) == (not tables):
        raise UserError("give either a folder of results or result tables")
    if store is None:
        table = read_result_tables(
            tables,
            images=images,
            reference=reference,
            model_column=model_column,
            score_column=score_column,
            percent=percent,
        )
    else:
        _refuse_table_options(images, model_column, score_column, percent)
        table = table_of_store(store, reference)
    lottery = analyse(
        table,
        own=own,
        alpha=alpha,
        power=power,
        num_resamples=num_resamples,
        seed=seed,
    )
    return lottery_page(lottery)


def check(
    *,
    alpha: Any = 0.05,
    power: Any = 0.8,
    num_resamples: Any = 1000,
    seed: Any = 0,
    **others: Any,
) -> None:
    """Checks the options of a results folder's page before there are any results.

    They may come from a file: types are checked too.

    Raises:
        UserError: Naming all that are out of range, or about published tables.
    """
    problems = []
    about_tables = ("tables", "images", "percent", "model_column", "score_column")
    if names := [name for name in about_tables if name in others]:
        problems.append(
            f"{', '.join(names)} {_say(names)} how to read published tables; leave "
            "out here, and give to `jaxbench study lottery --table`"
        )
    for name, value, least in (("alpha", alpha, 0), ("power", power, 0.5)):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        # A test of level 0 has no power; numbers of images are known from 1/2 on.
        if not (number and least <= value < 1 and value > 0):
            problems.append(
                f"{name} is {value!r}, wanted a fraction in "
                f"{'(0, 1)' if least == 0 else '[1/2, 1)'}"
            )
    for name, value, least in (("num_resamples", num_resamples, 1), ("seed", seed, 0)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            problems.append(f"{name} is {value!r}, wanted a whole number from {least}")
    for name in ("reference", "own"):
        value = others.get(name)
        if value is not None and not isinstance(value, str):
            problems.append(f"{name} is {value!r}, wanted a dataset's address")
    if problems:
        raise UserError("; ".join(problems))


def lottery_page(lottery: Lottery) -> Page:
    """The page of what was measured."""
    table = lottery.table
    facts = (
        ("Models", f"{len(table.models):,}"),
        ("Reference", f"{table.reference}, {table.num_images[0]:,} images"),
        ("Variants", ", ".join(table.variants[1:]) or "none"),
        ("Known of each model", _known(table)),
        ("Tests", f"level {lottery.alpha:g}; Holm, and Benjamini and Hochberg"),
        ("Resamples", f"{lottery.num_resamples:,}"),
        ("Made", datetime.now(UTC).strftime("%Y-%m-%d")),
    )
    tested = _PAIRED if table.paired else _CONSERVATIVE
    return Page(
        name="lottery",
        title=TITLE,
        question=_QUESTION,
        reference=REFERENCE,
        facts=facts,
        findings=lottery_findings(lottery),
        sections=tuple(lottery_sections(lottery)),
        notes=(tested, _FLATTERS, _OURS, *_fewer_classes(table), *table.notes),
    )


def lottery_sections(lottery: Lottery, most: int | None = SHOWN_PAIRS) -> list[Section]:
    """Tables and charts; `most` pairs in a table of pairs, all when None."""
    table = lottery.table
    cut = most is not None and most < len(lottery.adjacent.ahead)
    shown = f"the {most} surest" if cut else "all"
    many = len(table.models) > MOST_LINES
    charts = f" of the {MOST_LINES} best models on the reference" if many else ""
    sections = [
        Section(
            "datasets",
            "Datasets",
            "Drops are differences to the accuracy on the reference, in points. Tau "
            "compares two rankings of the models that both datasets have: 1 is the "
            "same order, 0 none.",
            datasets_table(lottery),
            charts=(tau_chart(lottery),),
        ),
        Section(
            "models",
            "Models, their places and drops",
            f"The place's interval holds 95 % of the places in {_drawn(table)} "
            f"{table.reference}. The chart follows the places{charts} from dataset to "
            "dataset.",
            models_table(lottery),
            charts=(ranks_chart(lottery), scatter_chart(lottery)),
        ),
        Section(
            "improvements",
            f"Improvements between adjacent ranks on {table.reference}",
            f"{len(lottery.adjacent.ahead):,} adjacent pairs differ, "
            f"{lottery.adjacent.num_level:,} are level; of those that differ, {shown} "
            "are listed.",
            improvements_table(lottery, most),
        ),
        Section(
            "kept",
            "Improvements that keep their sign",
            "Of the improvements on the reference, how many are there on each variant.",
            kept_table(lottery),
        ),
        Section(
            "survival",
            "Rankings on other images" if table.paired else "Rankings drawn anew",
            _survival(lottery),
            survival_table(lottery),
        ),
        Section(
            "unified",
            "Unified scores, all ours",
            "One number for all datasets. Models that are missing on one are left out.",
            unified_table(lottery),
        ),
    ]
    if lottery.own is not None:
        sections.append(_own_section(lottery, most))
    return sections


def _own_section(lottery: Lottery, most: int | None) -> Section:
    own = lottery.own
    assert own is not None
    shown = "the surest" if most is not None and own.num_pairs > most else "all"
    return Section(
        "own-images",
        f"Which models {own.num_images:,} images of {own.found.variant} separate",
        f"Of {own.num_pairs:,} pairs of models, {shown} that differ. Images needed: "
        f"McNemar's test finds a difference like this one with probability "
        f"{own.power:g} at level {own.alpha:g} (Connor 1987), given the shares at "
        "hand, which are estimates themselves.",
        own_table(lottery, most),
    )


def _survival(lottery: Lottery) -> str:
    if lottery.table.paired:
        return (
            "Share of resamples of the images, the same draw for all models, in which "
            "the ranking or its part comes out again. A draw counts one half."
        )
    return (
        "Share of draws of the right answers in which the ranking or its part comes "
        f"out again; a draw counts one half. {INDEPENDENT} Correlated errors would "
        "leave more of a ranking standing."
    )


def _drawn(table: VariantTable) -> str:
    if table.paired:
        return "resamples of the images of"
    return "draws of right answers, of each model independently, on"


def _fewer_classes(table: VariantTable) -> list[str]:
    """What a comparison with a variant of 200 classes is."""
    few = [name for name in table.variants if _base(name) in _OF_200_CLASSES]
    if not few or _base(table.reference) in _OF_200_CLASSES:
        return []
    found = f"{' and '.join(few)} have images of only 200 of the 1,000 ImageNet classes"
    if table.paired:
        return [
            f"{found}, and models choose among these 200 there. Drops and retention "
            "compare this with the classes of the reference."
        ]
    return [
        f"{found}. Drops and retention compare these with the classes of the "
        "reference; among how many classes the models chose, a table does not say."
    ]


def _base(address: str) -> str:
    return address.partition("@")[0].partition("+")[0]


def _known(table: VariantTable) -> str:
    if table.paired:
        return "which images it is right on"
    return "its accuracies only"


def _refuse_table_options(
    images: Mapping[str, int] | None,
    model_column: str | None,
    score_column: str,
    percent: bool | None,
) -> None:
    given = {
        "images": images,
        "model_column": model_column,
        "score_column": None if score_column == SCORE_COLUMN else score_column,
        "percent": percent,
    }
    if names := [name for name, value in given.items() if value not in (None, {})]:
        raise UserError(
            f"{', '.join(names)} {_say(names)} how to read result tables and go "
            "only with these; a folder of results knows its images"
        )


def _say(names: Sequence[str]) -> str:
    return "says" if len(names) == 1 else "say"
