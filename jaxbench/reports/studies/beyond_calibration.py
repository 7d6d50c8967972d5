"""Beyond accuracy: is confidence what it says, dataset by dataset?"""

from jaxbench.errors import counted
from jaxbench.reports.cells import Column, Table, percent_cell, text_cell
from jaxbench.reports.page import Curves, Finding, Section
from jaxbench.reports.studies.beyond_parts import (
    Part,
    Study,
    share_cell,
    signed_cell,
    signed_text,
    slug,
)
from jaxbench.studies.calibration import (
    NUM_BINS,
    Calibration,
    calibrated_datasets,
    measure_calibration,
)


def calibration_part(study: Study, wanted: tuple[str, ...]) -> Part:
    """Table and reliability curves of the datasets; see `studies.calibration`."""
    part = Part()
    found: dict[tuple[str, str], Calibration] = {}
    chosen = calibrated_datasets(study.models, study.reference, wanted)
    for address in chosen:
        present = [model for model in study.models if address in model.rows]
        for model in present:
            found[model.label, address] = measure_calibration(
                study.store, model.rows[address], study.resampling
            )
        if len(present) < len(study.models):
            part.notes.append(
                f"{address}: {len(study.models) - len(present)} of "
                f"{len(study.models)} models have no result there."
            )
    for model in study.models:
        published_errors = model.published.ece if model.published else {}
        for address, published in published_errors.items():
            if (model.label, address) in found:
                ece, row = found[model.label, address].ece, model.rows[address]
                own = ece, row.get("ece_low"), row.get("ece_high")
                part.compare(model, f"ECE, {address}", own, published)
        one = found.get((model.label, study.reference))
        if one is not None:
            part.score(model.label, "accuracy", one.accuracy)
            part.score(model.label, "gap", one.gap)
            part.score(model.label, "ece", (one.ece, None, None))
    part.sections.append(
        Section(
            "calibration",
            "Calibration",
            "Gap: mean confidence less accuracy, in points, with its 95 % bootstrap "
            "interval; above 0 a model is overconfident. ECE: mean distance of "
            f"confidence and accuracy over {NUM_BINS} bins of equal width. Where a "
            "dataset has some of the classes, only these take part in the softmax. "
            "Curves: how often answers of a given confidence are right, with Wilson "
            "intervals; below the diagonal is overconfident.",
            _table(study, chosen, found),
            charts=tuple(_charts(study, chosen, found)),
        )
    )
    part.findings += _findings(study, found)
    return part


def _table(
    study: Study, chosen: list[str], found: dict[tuple[str, str], Calibration]
) -> Table:
    columns = (
        Column("Model"),
        Column("Group"),
        Column("Dataset"),
        Column("Accuracy %", numeric=True),
        Column("Confidence %", numeric=True, help="mean of the largest probability"),
        Column("Gap", numeric=True, help="confidence less accuracy, in points"),
        Column("ECE %", numeric=True, help=f"{NUM_BINS} bins of equal width"),
    )
    rows = []
    for address in chosen:
        for model in study.models:
            one = found.get((model.label, address))
            if one is None:
                continue
            rows.append(
                (
                    text_cell(model.label),
                    text_cell(model.group),
                    text_cell(address),
                    share_cell(one.accuracy),
                    percent_cell(one.confidence),
                    signed_cell(one.gap),
                    percent_cell(one.ece),
                )
            )
    return Table(columns, tuple(rows))


def _charts(
    study: Study, chosen: list[str], found: dict[tuple[str, str], Calibration]
) -> list[Curves]:
    charts = []
    for address in chosen:
        lines = [m for m in study.charted if (m, address) in found]
        if lines:
            charts.append(
                Curves(
                    f"reliability-{slug(address)}",
                    {label: found[label, address].curve.line for label in lines},
                    "Confidence",
                    "Accuracy",
                    kind="reliability",
                    bands={label: found[label, address].curve.band for label in lines},
                    percent=frozenset({"x", "y"}),
                    heading=f"Reliability on {address}",
                )
            )
    return charts


def _findings(study: Study, found: dict[tuple[str, str], Calibration]) -> list[Finding]:
    known = {m: one for (m, a), one in found.items() if a == study.reference}
    over = max(known, key=lambda label: known[label].gap[0])
    under = min(known, key=lambda label: known[label].gap[0])
    best = min(known, key=lambda label: known[label].ece)
    findings = [
        Finding(
            "Most confident beyond its accuracy",
            f"{over}, {signed_text(known[over].gap)} points",
            f"Mean confidence less accuracy on {study.reference}, with a 95 % interval."
            + (
                f" At the other end is {under} with {signed_text(known[under].gap)}."
                if under != over
                else ""
            ),
        ),
        Finding(
            "Best calibrated",
            f"{best}, ECE {100 * known[best].ece:.1f} %",
            f"Of {counted(len(known), 'model')} on {study.reference}.",
        ),
    ]
    others = list(dict.fromkeys(a for _, a in found if a != study.reference))
    for address in others[:1]:
        gaps = {m: one.gap for (m, a), one in found.items() if a == address}
        worst = max(gaps, key=lambda label: gaps[label][0])
        count = sum(gap.low > 0 for gap in gaps.values())
        findings.append(
            Finding(
                f"Overconfident on {address}",
                f"{count} of {counted(len(gaps), 'model')}",
                "Counted are models whose gap's interval lies above 0. The largest gap "
                f"is that of {worst}, {signed_text(gaps[worst])} points.",
            )
        )
    return findings
