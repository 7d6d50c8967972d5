"""Tables of the benchmark lottery."""

import math
from collections.abc import Callable, Sequence
from typing import Any, SupportsFloat

import numpy as np

from jaxbench.reports.cells import (
    MISSING,
    Cell,
    Column,
    Table,
    decimal_cell,
    interval_cell,
    text_cell,
)
from jaxbench.studies.lottery import drops
from jaxbench.studies.lottery_analysis import Lottery
from jaxbench.studies.lottery_significance import Improvements, kept_signs, sign_on
from jaxbench.studies.power import mcnemar_exact_power, mcnemar_images_needed

SHOWN_PAIRS = 50
# Up to this many images the exact power is enumerated for a table.
_MOST_EXACT = 2000
_SIGNS = {1.0: "kept", 0.0: "level", -1.0: "reversed"}
RULES = {"none": "uncorrected", "bh": "Benjamini-Hochberg", "holm": "Holm"}


def datasets_table(lottery: Lottery) -> Table:
    """A row for each dataset: what is lost there, and whose order it has."""
    columns = (
        Column("Dataset"),
        Column("Images", True),
        Column("Models", True),
        Column("Best model"),
        Column("Best %", True),
        Column("Mean %", True),
        Column("Mean drop", True, "mean accuracy less that on the reference, points"),
        Column("Largest drop", True, "of any model, points"),
        Column(
            "Kendall tau", True, "tau-b with the reference's ranking, 95 % interval"
        ),
        Column("Resampled", help="what the interval of tau resamples"),
    )
    table, lost, rows = lottery.table, drops(lottery.table), []
    agreement = {row.variant: row for row in lottery.agreement}
    for place, variant in enumerate(table.variants):
        values, digits = table.column(variant), _digits(table.images_of(variant))
        known = ~np.isnan(values)
        best = int(np.argmax(np.where(known, values, -1.0)))
        change = lost[:, place]
        found = agreement.get(variant)
        if found is None:
            change = np.array([math.nan])
            tail = (text_cell("reference"), text_cell(None))
        else:
            tau = interval_cell(found.tau, found.low, found.high)
            tail = (
                tau if tau.value is not None else Cell(MISSING),
                text_cell(found.over),
            )
        rows.append(
            (
                text_cell(variant),
                Cell(f"{table.images_of(variant):,}", table.images_of(variant)),
                text_cell(int(known.sum())),
                text_cell(table.models[best] if known.any() else None),
                percent(values[best], digits),
                percent(_known(np.mean, values), 1),
                points(_known(np.mean, change), 1),
                points(_known(np.min, change), 1),
                *tail,
            )
        )
    return Table(columns, tuple(rows))


def models_table(lottery: Lottery) -> Table:
    """Every model's accuracy and drop on every dataset, the best first."""
    table, lost = lottery.table, drops(lottery.table)
    variants = table.variants[1:]
    columns = [
        Column("Model"),
        Column("Place", True, f"on {table.reference}"),
        Column(
            "95 % interval",
            help="of the place, over "
            + ("resamples" if table.paired else "draws with independent errors"),
        ),
        Column(f"{table.reference} %", True),
    ]
    for variant in variants:
        columns += [
            Column(f"{variant} %", True),
            Column(f"{variant} drop", True, "less the reference's, points"),
            Column(f"{variant} place", True),
        ]
    digits = [min(2, _digits(count)) for count in table.num_images]
    rows = []
    for model in _ordered(lottery):
        low, high = lottery.place_low[model], lottery.place_high[model]
        row = [
            text_cell(table.models[model]),
            number(lottery.places[model, 0]),
            _places_cell(float(low), float(high)),
            percent(table.accuracy[model, 0], digits[0]),
        ]
        for place in range(1, len(table.variants)):
            row += [
                percent(table.accuracy[model, place], digits[place]),
                points(lost[model, place], digits[place]),
                number(lottery.places[model, place]),
            ]
        rows.append(tuple(row))
    return Table(tuple(columns), tuple(rows))


def improvements_table(lottery: Lottery, most: int | None = SHOWN_PAIRS) -> Table:
    """Adjacent improvements on the reference, the surest first."""
    table, found = lottery.table, lottery.adjacent
    variants = table.variants[1:]
    needed_help = f"for a power of {lottery.power:g} at level {lottery.alpha:g}"
    if not table.paired:
        needed_help += ", as if errors were independent"
    columns = (
        Column("Ahead"),
        Column("Place", True, f"on {table.reference}"),
        Column("Behind"),
        Column("Difference", True, "points"),
        Column("P", True, _test_help(found)),
        Column("P, Holm", True, "adjusted for all adjacent pairs"),
        Column("P, BH", True, "adjusted by Benjamini and Hochberg"),
        Column("Images needed", True, needed_help),
        *(
            Column(v, help="its sign there; a dash where a model is missing")
            for v in variants
        ),
    )
    needed = mcnemar_images_needed(
        found.only_ahead, found.only_behind, alpha=lottery.alpha, power=lottery.power
    )
    signs = [sign_on(table, found, variant) for variant in variants]
    digits = _digits(table.images_of(found.variant))
    rows = []
    for pair in np.argsort(found.p_value, kind="stable")[:most]:
        ahead, behind = int(found.ahead[pair]), int(found.behind[pair])
        rows.append(
            (
                text_cell(table.models[ahead]),
                number(lottery.places[ahead, 0]),
                text_cell(table.models[behind]),
                points(found.difference[pair], digits),
                *(probability(p[pair]) for p in (found.p_value, found.holm, found.bh)),
                whole(needed[pair]),
                *(_sign(values[pair]) for values in signs),
            )
        )
    return Table(columns, tuple(rows))


def kept_table(lottery: Lottery) -> Table:
    """How many improvements keep their sign on each variant."""
    columns = (
        Column("Improvements"),
        Column("Called significant", help=f"at level {lottery.alpha:g}"),
        Column("Variant"),
        Column("Number", True),
        Column("Kept", True),
        Column("Level", True),
        Column("Reversed", True),
        Column("Missing", True, "a model of the pair is not on the variant"),
        Column("Kept %", True, "of those with both models"),
    )
    rows = []
    for name, found in (
        ("adjacent ranks", lottery.adjacent),
        ("all pairs", lottery.everyone),
    ):
        choices = [("all", None)]
        choices += [
            (text, found.significant(rule, lottery.alpha))
            for rule, text in RULES.items()
        ]
        for text, chosen in choices:
            for kept in kept_signs(lottery.table, found, chosen):
                there = kept.chosen - kept.missing
                share = kept.kept / there if there else math.nan
                counts = (
                    kept.chosen,
                    kept.kept,
                    kept.level,
                    kept.reversed,
                    kept.missing,
                )
                rows.append(
                    (
                        text_cell(name),
                        text_cell(text),
                        text_cell(kept.variant),
                        *(whole(count) for count in counts),
                        percent(share, 1),
                    )
                )
    return Table(columns, tuple(rows))


def survival_table(lottery: Lottery) -> Table:
    """How often each ranking and its parts come out again."""
    tops = sorted({k for row in lottery.survival for k in row.top})
    columns = (
        Column("Dataset"),
        *(
            Column(
                "Top-1 %" if k == 1 else f"Top-{k} set %",
                True,
                "the same models lead; - where the last place is shared",
            )
            for k in tops
        ),
        Column("Adjacent, mean %", True, "the one ahead is ahead again"),
        Column("Adjacent above 95 %", True, "pairs whose order is this sure"),
        Column("Pairs", True, "adjacent, with a difference"),
        Column("Whole ranking %", True),
        Column("Resampled" if lottery.table.paired else "Drawn"),
    )
    rows = []
    for row in lottery.survival:
        known = row.adjacent[~np.isnan(row.adjacent)]
        rows.append(
            (
                text_cell(row.variant),
                *(percent(row.top.get(k, math.nan), 1) for k in tops),
                percent(float(known.mean()) if len(known) else math.nan, 1),
                whole(int((known > 0.95).sum())),
                whole(len(known)),
                percent(row.whole, 1),
                text_cell(row.over),
            )
        )
    return Table(columns, tuple(rows))


def unified_table(lottery: Lottery) -> Table:
    """Our unified scores, the best mean accuracy first."""
    scores, table = lottery.unified, lottery.table
    columns = (
        Column("Model"),
        Column(f"Place on {table.reference}", True),
        Column("Mean accuracy % (ours)", True, "over all datasets"),
        Column("Mean rank (ours)", True, "over all datasets; 1 is best"),
        Column(
            "Retention % (ours)",
            True,
            "geometric mean over the variants of accuracy / accuracy on the reference",
        ),
    )
    order = np.argsort(-scores.mean_accuracy, kind="stable")
    rows = (
        (
            text_cell(table.models[model]),
            number(lottery.places[model, 0]),
            percent(scores.mean_accuracy[model], 2),
            decimal_cell(float(scores.mean_rank[model]), 2),
            percent(scores.retention[model], 2),
        )
        for model in order
        if not math.isnan(scores.mean_accuracy[model])
    )
    return Table(columns, tuple(rows))


def own_table(lottery: Lottery, most: int | None = SHOWN_PAIRS) -> Table:
    """Pairs of models on your own images, the surest differences first."""
    own = lottery.own
    columns = (
        Column("Ahead"),
        Column("Behind"),
        Column("Difference", True, "points"),
        Column("Only ahead right %", True),
        Column("Only behind right %", True),
        Column("P", True, "McNemar's exact test"),
        Column("P, Holm", True, "adjusted for all pairs"),
        Column("P, BH", True, "adjusted by Benjamini and Hochberg"),
        Column(
            "Smallest visible", True, "difference that these images can show, points"
        ),
        Column("Images needed", True, "to find the observed difference, one test"),
        Column("Exact power %", True, "of the exact test after that many images"),
        Column("Needed, all pairs", True, "at the level over the number of pairs"),
    )
    if own is None:
        return Table(columns, ())
    found, models = own.found, lottery.table.models
    digits = _digits(own.num_images)
    rows = []
    for pair in np.argsort(found.p_value, kind="stable")[:most]:
        p10, p01 = float(found.only_ahead[pair]), float(found.only_behind[pair])
        count = own.needed[pair]
        exact = math.nan
        if count <= _MOST_EXACT:
            exact = mcnemar_exact_power(int(count), p10, p01, alpha=own.alpha)
        rows.append(
            (
                text_cell(models[found.ahead[pair]]),
                text_cell(models[found.behind[pair]]),
                points(found.difference[pair], digits),
                percent(p10, digits),
                percent(p01, digits),
                *(probability(p[pair]) for p in (found.p_value, found.holm, found.bh)),
                points(own.detectable[pair], digits, sign=False),
                whole(count),
                percent(exact, 0),
                whole(own.needed_corrected[pair]),
            )
        )
    return Table(columns, tuple(rows))


def percent(value: SupportsFloat, digits: int) -> Cell:
    """A fraction in percent; a dash where it is not known."""
    value = float(value)
    text = f"{100 * value:.{digits}f}"
    return Cell(MISSING) if math.isnan(value) else Cell(text, value)


def points(value: SupportsFloat, digits: int, *, sign: bool = True) -> Cell:
    """A difference of fractions in percentage points."""
    value = float(value)
    text = f"{100 * value:+.{digits}f}" if sign else f"{100 * value:.{digits}f}"
    return Cell(MISSING) if math.isnan(value) else Cell(text, value)


def probability(value: SupportsFloat) -> Cell:
    """A p-value to two digits; adjusted ones are float32, which ends at 1e-38."""
    value = float(value)
    return Cell(f"{value:.2g}" if value > 0 else "< 1e-37", value)


def whole(value: SupportsFloat) -> Cell:
    """A count."""
    value = float(value)
    if not math.isfinite(value):
        return Cell(MISSING)
    return Cell(f"{int(value):,}", int(value))


def number(value: SupportsFloat) -> Cell:
    """A place, halves included."""
    value = float(value)
    return Cell(MISSING) if math.isnan(value) else Cell(f"{value:g}", value)


def _places_cell(low: float, high: float) -> Cell:
    return Cell(f"{round(low, 1):g} to {round(high, 1):g}", low, low=low, high=high)


def _sign(value: SupportsFloat) -> Cell:
    value = float(value)
    return Cell(_SIGNS.get(value, MISSING), _finite(value))


def _known(function: Callable[..., Any], values: np.ndarray) -> float:
    """Of the values that are known; NaN where none is."""
    known = values[~np.isnan(values)]
    return float(function(known)) if len(known) else math.nan


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _digits(num_images: int) -> int:
    """Decimals of percent that show a single image."""
    return max(1, math.ceil(math.log10(num_images)) - 2)


def _ordered(lottery: Lottery) -> Sequence[int]:
    return np.argsort(-lottery.table.accuracy[:, 0], kind="stable").tolist()


def _test_help(found: Improvements) -> str:
    if found.test == "mcnemar":
        return "McNemar's exact test on the same images"
    return "two independent proportions; conservative for models that fail alike"
