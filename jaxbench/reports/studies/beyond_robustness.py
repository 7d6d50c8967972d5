"""Beyond accuracy: variants of the reference."""

from collections.abc import Mapping, Sequence

from jaxbench.errors import counted
from jaxbench.reports.cells import Cell, Column, Table, percent_cell, text_cell
from jaxbench.reports.page import Finding, Section
from jaxbench.reports.studies.beyond_parts import (
    Part,
    Study,
    share_cell,
    share_text,
    signed_cell,
)
from jaxbench.reports.studies.beyond_published import differences
from jaxbench.studies.models import Model, addresses
from jaxbench.studies.shape_bias import Share, share
from jaxbench.studies.variants import (
    Robustness,
    measure_robustness,
    variant_members,
)


def robustness_part(study: Study) -> Part:
    """Accuracy of every model on every variant, and the average of the variants."""
    part = Part()
    members = variant_members(study.models)
    variants = [name for name in members if name != study.reference]
    if not variants:
        part.notes.append(
            f"No robustness table: {study.reference} has no variant here."
        )
        part.differs.append(differences(study.models, addresses(study.models)))
        return part
    found = {}
    for model in study.models:
        one = measure_robustness(study.store, model, study.reference, members)
        found[model.label] = one
        partial = [f"{n} ({k} of {m})" for n, (k, m) in one.partial.items()]
        if partial:
            part.notes.append(
                f"{model.label} has no average over variants: it lacks results on "
                f"{', '.join(partial)}."
            )
        if one.average is not None:
            part.score(model.label, "variants", one.average)
        if model.published is not None:
            numbers = model.published.accuracy
            for name, value in one.accuracy.items():
                own = _with_ends(model, members[name], value)
                part.compare(model, f"accuracy, {name}", own, numbers.get(name))
            average = model.published.average
            part.compare(model, "mean accuracy of the variants", one.average, average)
    known = addresses(study.models)
    part.differs.append(differences(study.models, known, averaged=variants))
    part.sections.append(_section(study, found, variants, members))
    part.findings += _findings(study, found, len(variants))
    return part


def _section(
    study: Study,
    found: Mapping[str, Robustness],
    variants: Sequence[str],
    members: Mapping[str, Sequence[str]],
) -> Section:
    names = [study.reference, *variants]
    columns = (
        Column("Model"),
        Column("Group"),
        *(
            Column(f"{name} %", numeric=True, help=_help(members[name]))
            for name in names
        ),
        Column("Average %", numeric=True, help="of the variants, each with one weight"),
        Column("Drop", numeric=True, help="average less reference, in points"),
    )
    rows = []
    for model in study.models:
        one = found[model.label]
        rows.append(
            (
                text_cell(model.label),
                text_cell(model.group),
                *(_percent(one.accuracy.get(name)) for name in names),
                share_cell(one.average),
                signed_cell((one.drop, None, None)),
            )
        )
    return Section(
        "robustness",
        "Robustness",
        f"Accuracy on {study.reference} and on its variants; a column of corruptions "
        "is the mean over kinds and severities. The average is over the variants "
        f"without {study.reference}; its interval is over images, of which one that "
        "several variants have counts once.",
        Table(columns, tuple(rows)),
    )


def _with_ends(model: Model, members: Sequence[str], value: float) -> Share:
    """An accuracy with Wilson's interval where it is of one dataset."""
    images = model.rows[members[0]].get("num_examples")
    if len(members) > 1 or not images:
        return Share(value, float("nan"), float("nan"))
    return share(round(value * images), images)


def _findings(
    study: Study, found: Mapping[str, Robustness], num_variants: int
) -> list[Finding]:
    known = {n: one for n, one in found.items() if one.average is not None}
    if not known:
        return []
    best = max(known, key=lambda name: known[name].drop + _clean(study, known[name]))
    average = known[best].average
    assert average is not None
    order = sorted(found, key=lambda name: -_clean(study, found[name]))
    place = order.index(best) + 1
    return [
        Finding(
            "Most accurate on the variants",
            f"{best}, {share_text(average)} %",
            f"Mean over {counted(num_variants, 'variant')}; on {study.reference} it "
            f"has {100 * _clean(study, known[best]):.1f} % and place {place} of "
            f"{len(order)}.",
        )
    ]


def _clean(study: Study, one: Robustness) -> float:
    return one.accuracy[study.reference]


def _percent(value: float | None) -> Cell:
    return Cell("-") if value is None else percent_cell(value)


def _help(members: Sequence[str]) -> str:
    return f"mean of {len(members)} datasets" if len(members) > 1 else ""
