"""What the benchmark lottery answers, in sentences."""

import numpy as np

from jaxbench.metrics import wilson_interval
from jaxbench.reports.cells import format_interval
from jaxbench.reports.page import Finding
from jaxbench.studies.lottery import drops
from jaxbench.studies.lottery_analysis import Lottery
from jaxbench.studies.lottery_significance import Kept, kept_signs

# Of tables of accuracies alone.
INDEPENDENT = (
    "Draws assume that models err independently of each other: no image was resampled."
)


def lottery_findings(lottery: Lottery) -> tuple[Finding, ...]:
    """The answers, in the order of the question."""
    found = [_significant(lottery)]
    if len(lottery.table.variants) > 1:
        found += [_kept(lottery), _kept_significant(lottery), _all_pairs(lottery)]
        found += [_agreement(lottery), _drop(lottery), _unified(lottery)]
    found.append(_survival(lottery))
    if lottery.own is not None:
        found.append(_own(lottery))
    return tuple(found)


def _significant(lottery: Lottery) -> Finding:
    found, table = lottery.adjacent, lottery.table
    counts = {
        r: int(found.significant(r, lottery.alpha).sum())
        for r in ("none", "bh", "holm")
    }
    number = len(found.ahead)
    significant = found.ahead[found.significant("holm", lottery.alpha)]
    where = ""
    if len(significant):
        best = lottery.places[significant, 0].min()
        where = f" The first of them stands at place {best:g} of {len(table.models):,}."
    return Finding(
        "Leads over the next model that are more than chance",
        f"{counts['holm']:,} of {number:,}",
        f"improvements between adjacent ranks on {table.reference} "
        f"({table.num_images[0]:,} images) are significant at level {lottery.alpha:g} "
        f"after Holm's correction; {counts['bh']:,} by Benjamini and Hochberg, "
        f"{counts['none']:,} uncorrected. {found.num_level:,} more are level.{where}",
    )


def _kept(lottery: Lottery) -> Finding:
    title = "Leads that keep their sign"
    if not len(lottery.adjacent.ahead):
        text = f"All models are level on {lottery.table.reference}: no lead to follow."
        return Finding(title, "-", text)
    rows = kept_signs(lottery.table, lottery.adjacent)
    text = (
        f"of the {len(lottery.adjacent.ahead):,} adjacent improvements on "
        f"{lottery.table.reference}, by variant; a coin would keep half: "
        f"{_listed(rows)}. Brackets: 95 % Wilson intervals, as if leads were "
        "independent."
    )
    if level := lottery.adjacent.num_level:
        text += (
            f" {level:,} more neighbours are level: which of them stands next to a "
            "model that is not is the order of the table, and so are its leads."
        )
    return Finding(title, _range(rows), text)


def _kept_significant(lottery: Lottery) -> Finding:
    chosen = lottery.adjacent.significant("holm", lottery.alpha)
    rows = kept_signs(lottery.table, lottery.adjacent, chosen)
    number = int(chosen.sum())
    text = "of the significant ones (Holm), by variant: " + _listed(rows) + "."
    if not number:
        text = "No adjacent improvement is significant, so none can be followed."
    values = [row.kept for row in rows]
    ends = sorted({min(values), max(values)})
    value = f"{' to '.join(map(str, ends))} of {number}" if number else "-"
    return Finding("Significant leads that keep their sign", value, text)


def _all_pairs(lottery: Lottery) -> Finding:
    found = lottery.everyone
    chosen = found.significant("holm", lottery.alpha)
    total = len(found.ahead) + found.num_level
    text = f"of all {total:,} pairs are separated by {lottery.table.reference} (Holm "
    text += "over all pairs)."
    if chosen.any():
        rows = kept_signs(lottery.table, found, chosen)
        listed = _listed(rows, percent=True)
        text += f" Of these keep their sign, by variant: {listed}."
    value = f"{chosen.sum() / total:.0%}" if total else "-"
    return Finding("Any two models", value, text)


def _agreement(lottery: Lottery) -> Finding:
    known = [row for row in lottery.agreement if row.tau == row.tau]
    if not known:
        return Finding("Agreement of rankings", "-", "No variant orders the models.")
    known.sort(key=lambda row: row.tau)
    least, most = known[0], known[-1]
    over = "images" if least.over == "images" else "models, as no image is known"
    return Finding(
        "Least agreement with the reference's ranking",
        format_interval(least.tau, least.low, least.high),
        f"is Kendall's tau of {least.variant}; the largest is {most.tau:.3f}, of "
        f"{most.variant}. Interval: 95 %, over {over}.",
    )


def _drop(lottery: Lottery) -> Finding:
    table = lottery.table
    columns = (column[~np.isnan(column)] for column in drops(table).T[1:])
    lost = np.array([c.mean() if len(c) else np.nan for c in columns])
    if np.isnan(lost).all():
        return Finding("Largest mean drop", "-", "No model is on any variant.")
    worst = int(np.nanargmin(lost))
    values = drops(table)[:, worst + 1]
    model = int(np.nanargmin(values))
    return Finding(
        "Largest mean drop",
        f"{100 * lost[worst]:+.1f} points",
        f"on {table.variants[worst + 1]}; there {table.models[model]} changes most, by "
        f"{100 * values[model]:+.1f}.",
    )


def _unified(lottery: Lottery) -> Finding:
    scores, models = lottery.unified, lottery.table.models
    if np.isfinite(scores.mean_accuracy).sum() < 2:
        # The best of one says nothing.
        text = "Fewer than two models are on all datasets."
        return Finding("Best overall (ours)", "-", text)
    accuracy = models[int(np.nanargmax(scores.mean_accuracy))]
    rank = models[int(np.nanargmin(scores.mean_rank))]
    text = f"has the best mean accuracy over all datasets, {rank} the best mean rank"
    if not np.isnan(scores.retention).all():
        kept = models[int(np.nanargmax(scores.retention))]
        text += f", and {kept} keeps most of its accuracy"
    first = models[int(np.argmax(lottery.table.column(lottery.table.reference)))]
    return Finding(
        "Best overall (ours)",
        accuracy,
        f"{text}. The first on {lottery.table.reference} is {first}.",
    )


def _survival(lottery: Lottery) -> Finding:
    row, paired = lottery.survival[0], lottery.table.paired
    title = f"The whole ranking {'on other images' if paired else 'drawn anew'}"
    known = row.adjacent[~np.isnan(row.adjacent)]
    if not len(known):
        return Finding(title, "-", f"All models are level on {row.variant}.")
    drawn = f"resamples of the images of {row.variant}"
    if not paired:
        drawn = f"draws of the right answers on {row.variant}"
    first = row.top.get(1, float("nan"))
    lead = "The first place is shared"
    if first == first:
        lead = f"The first place is the same in {first:.0%} of them"
    text = (
        f"of the {drawn} repeat it. {lead}; {(known > 0.95).mean():.0%} of the "
        "adjacent leads hold in more than 95%."
    )
    if not paired:
        text += f" {INDEPENDENT}"
    return Finding(title, f"{row.whole:.1%}", text)


def _own(lottery: Lottery) -> Finding:
    own = lottery.own
    assert own is not None
    apart = int(own.found.significant("holm", own.alpha).sum())
    text = f"pairs of models are separated by {own.num_images:,} images of "
    text += f"{own.found.variant} (McNemar, Holm)."
    if len(own.needed):
        middle = float(np.median(own.needed))
        text += (
            f" A new test of one pair that differs as observed would need "
            f"{middle:,.0f} images in the median, and up to {own.needed.max():,.0f}."
        )
    return Finding("What these images separate", f"{apart} of {own.num_pairs}", text)


def _share(row: Kept) -> float:
    there = row.chosen - row.missing
    return row.kept / there if there else float("nan")


def _range(rows: tuple[Kept, ...]) -> str:
    """The smallest and the largest share with their intervals."""
    known = sorted(
        (row for row in rows if row.chosen > row.missing), key=lambda row: _share(row)
    )
    if not known:
        return "-"
    texts = [_interval(row) for row in (known[0], known[-1])]
    return " to ".join(dict.fromkeys(texts))


def _interval(row: Kept) -> str:
    ends = wilson_interval(row.kept, row.chosen - row.missing, level=0.95)
    low, high = (100 * float(end) for end in ends)
    return f"{_share(row):.0%} [{low:.0f}, {high:.0f}]"


def _listed(rows: tuple[Kept, ...], *, percent: bool = False) -> str:
    if percent:
        return ", ".join(
            f"{row.variant} {_share(row):.1%}"
            if row.chosen > row.missing
            else f"{row.variant} -"
            for row in rows
        )
    return ", ".join(
        f"{row.variant} {row.kept:,} of {row.chosen - row.missing:,}" for row in rows
    )
