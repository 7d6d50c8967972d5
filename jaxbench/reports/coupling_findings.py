"""What a grid of optimizers and backbones says, computed from its scores."""

from collections.abc import Iterator, Sequence

from jaxbench.reports.page import Finding
from jaxbench.studies.grid_costs import ranking
from jaxbench.studies.grid_failures import (
    Rule,
    gap_words,
    largest_gap,
    marked_failures,
    not_judged,
    too_few,
)
from jaxbench.studies.grids import Sweep

_SHOWN, _SHOWN_NAMES = 3, 6
_RULE_NAMES = {"fitted": "the fitted rule", "eq1": "Eq. (1)"}


def find_coupling(sweep: Sweep, rule: Rule = "fitted") -> list[Finding]:
    """How many pairs failed, and the optimizer that ranks best.

    Args:
        sweep: The grid.
        rule: Which pairs count as failed.
    """
    return [*_failed(sweep, rule), *_ranked(sweep, rule)]


def _failed(sweep: Sweep, rule: Rule) -> Iterator[Finding]:
    failures = marked_failures(sweep, rule)
    if failures is None or len(sweep.table.optimizers) < 2:
        return
    title = "Backbone-optimizer coupling"
    pairs, few = failures.pairs(), too_few(sweep.table)
    open_questions = not_judged(sweep)
    if not pairs and len(few) == len(sweep.table.backbones):
        words = open_questions.removeprefix("not judged: ")
        text = (
            f"{_sentence(words)} The rule needs the quartiles of a backbone's scores; "
            f"score: {sweep.score[0].lower()}{sweep.score[1:]}."
        )
        yield Finding(title, "Not judged", text)
        return
    # A diverged pair failed whatever the other scores of its backbone are.
    judged = [p for p in sweep.best if p[1] not in few or p in sweep.table.diverged]
    value = f"{len(pairs)} of {len(judged)}{' judged' if few else ''} pairs failed"
    named = f"by {_RULE_NAMES[rule]}, on {sweep.dataset}"
    if pairs:
        text = f"{_failing(sweep, pairs)} Failed {named}."
    else:
        text = f"No score fails {named}; {gap_words(sweep)}."
    if open_questions:
        text += f" {_sentence(open_questions)}"
    yield Finding(title, value, text)


def _failing(sweep: Sweep, pairs: Sequence[tuple[str, str]]) -> str:
    """The backbones with the most failures, and the optimizers of the first."""
    counts = {b: [o for o, c in pairs if c == b] for b in sweep.table.backbones}
    failing = sorted((b for b in counts if counts[b]), key=lambda b: -len(counts[b]))
    shown = ", ".join(f"{b} ({len(counts[b])})" for b in failing[:_SHOWN])
    if len(failing) > _SHOWN:
        shown += f" and {len(failing) - _SHOWN} more"
    worst = ", ".join(map(sweep.title, counts[failing[0]][:_SHOWN_NAMES]))
    hidden = len(counts[failing[0]]) - _SHOWN_NAMES
    worst += f" and {hidden} more" if hidden > 0 else ""
    return f"Most on {shown}. On {failing[0]}: {worst}."


def _ranked(sweep: Sweep, rule: Rule) -> Iterator[Finding]:
    found = ranking(sweep, rule)
    failures = marked_failures(sweep, rule)
    if found is None or failures is None:
        return
    places = found[0]
    best = [row.optimizer for row in places if row.place == 1]
    after = [sweep.title(row.optimizer) for row in places if row.place > 1]
    failed = [
        f"{f'{sweep.title(name)} failed' if len(best) > 1 else 'Failed'} on {where}"
        for name in best
        if (where := ", ".join(b for o, b in failures.pairs() if o == name))
    ]
    parts = [
        f"First of {len(places)} by accuracy, robustness of the settings, failures and "
        f"cost over {len(sweep.table.backbones)} backbones, on {sweep.dataset}",
        *failed,
        _gap(sweep, best),
        f"Then: {', '.join(after[:_SHOWN])}" if after else "",
    ]
    value = ", ".join(map(sweep.title, best[:_SHOWN]))
    if len(best) > _SHOWN:
        value += f" and {len(best) - _SHOWN} more"
    text = " ".join(f"{part}." for part in parts if part)
    yield Finding("Best-ranked optimizer", value, text)


def _gap(sweep: Sweep, best: Sequence[str]) -> str:
    """How far the best-ranked optimizer is behind, where it is furthest."""
    gap = largest_gap(sweep.table, best)
    if gap is None:
        return ""
    if gap.size == 0:
        return "It has the best score of every backbone"
    whose = f"{sweep.title(gap.optimizer)}, " if len(best) > 1 else ""
    points = f"{100 * gap.size:.1f} points"
    return (
        f"Its largest gap to the best score of a backbone: {whose}{points}, on "
        f"{gap.backbone}"
    )


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
