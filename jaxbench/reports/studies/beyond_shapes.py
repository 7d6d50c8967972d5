"""Beyond accuracy: shape or texture, and who fails on the same images."""

from collections.abc import Sequence

from jaxbench.data.known.imagenet_classes import shape_categories
from jaxbench.errors import counted
from jaxbench.reports.cells import (
    Column,
    Table,
    format_interval,
    interval_cell,
    text_cell,
)
from jaxbench.reports.page import Finding, HeatMap, Section
from jaxbench.reports.studies.beyond_parts import (
    Part,
    Study,
    share_cell,
    share_text,
)
from jaxbench.studies.error_consistency import ErrorConsistency, pairwise_consistency
from jaxbench.studies.predictions import (
    Responses,
    check_same_images,
    read_responses,
    responses_of_models,
)
from jaxbench.studies.shape_bias import (
    ShapeBias,
    shape_bias,
    shape_bias_by_category,
)


def shapes_part(study: Study, responses: Sequence[str]) -> Part:
    """Shape bias and error consistency of models and of response files.

    Raises:
        UserError: If answers are malformed, or observers saw other images.
    """
    part = Part()
    stored, absent = responses_of_models(study.store, study.models)
    if stored and absent:
        part.notes.append(
            f"{counted(len(absent), 'model')} without a result on cue-conflict: "
            f"{', '.join(absent)}."
        )
    files = list(read_responses(responses))
    observers = stored + files
    if not observers:
        part.notes.append(
            "No shape bias: no model was evaluated on cue-conflict, and no response "
            "files were given."
        )
        return part
    check_same_images(observers)
    found = {one.observer: shape_bias(one) for one in observers}
    sources = {one.observer: "model" for one in stored}
    sources |= {one.observer: "response file" for one in files}
    for one in stored:
        part.score(one.observer, "shape_bias", found[one.observer].bias)
    part.sections.append(_bias_section(observers, found, sources))
    part.findings += _bias_findings(found)
    if len(observers) < 2:
        part.notes.append("No error consistency: it compares two observers.")
        return part
    pairs = pairwise_consistency(observers, study.resampling)
    part.sections.append(_consistency_section(observers, pairs))
    part.findings += _consistency_findings(pairs)
    return part


def _bias_section(
    observers: Sequence[Responses],
    found: dict[str, ShapeBias],
    sources: dict[str, str],
) -> Section:
    columns = (
        Column("Observer"),
        Column("From"),
        Column("Shape bias %", numeric=True, help="shape / (shape + texture)"),
        Column("Shape", numeric=True, help="answers that name the shape"),
        Column("Texture", numeric=True, help="answers that name the texture"),
        Column("Conflicts", numeric=True, help="images with another texture"),
        Column("16-class accuracy %", numeric=True, help="shape answered, all images"),
        Column("Images", numeric=True),
    )
    order = sorted(observers, key=lambda one: -_sortable(found[one.observer]))
    rows = tuple(
        (
            text_cell(one.observer),
            text_cell(sources[one.observer]),
            share_cell(found[one.observer].bias),
            text_cell(found[one.observer].num_shape),
            text_cell(found[one.observer].num_texture),
            text_cell(found[one.observer].num_conflicts),
            share_cell(found[one.observer].accuracy),
            text_cell(found[one.observer].num_images),
        )
        for one in order
    )
    by_category = {one.observer: shape_bias_by_category(one) for one in order}
    categories = tuple(
        c for c in shape_categories() if any(c in v for v in by_category.values())
    )
    chart = HeatMap(
        "shape-bias-by-category",
        tuple(by_category),
        categories,
        tuple(
            tuple(_value(shares.get(category)) for category in categories)
            for shares in by_category.values()
        ),
        "Shape bias, %",
        percent=True,
        heading="Shape bias by the shape's category",
    )
    return Section(
        "shape-bias",
        "Shape bias",
        "Cue-conflict images show the shape of one of 16 categories with the texture "
        "of another (arXiv 1811.12231). Of the answers that name one of the two, how "
        "many name the shape? Images whose texture is their shape's own count for the "
        "accuracy alone. Brackets are Wilson intervals.",
        Table(columns, rows),
        charts=(chart,),
    )


def _consistency_section(
    observers: Sequence[Responses], pairs: dict[tuple[str, str], ErrorConsistency]
) -> Section:
    names = tuple(one.observer for one in observers)
    both = pairs | {(b, a): one for (a, b), one in pairs.items()}
    values = tuple(
        tuple(None if a == b else both[a, b].kappa for b in names) for a in names
    )
    columns = (
        Column("Observer"),
        Column("Other observer"),
        Column("Error consistency", numeric=True, help="Cohen's kappa of being right"),
        Column("Agree %", numeric=True, help="both right or both wrong"),
        Column("Expected %", numeric=True, help="if they erred independently"),
        Column("Images", numeric=True),
    )
    rows = tuple(
        (
            text_cell(a),
            text_cell(b),
            interval_cell(one.kappa, one.low, one.high),
            share_cell((one.observed, None, None)),
            share_cell((one.expected, None, None)),
            text_cell(one.num_images),
        )
        for (a, b), one in sorted(pairs.items(), key=lambda item: -item[1].kappa)
    )
    return Section(
        "error-consistency",
        "Error consistency",
        "Are two observers right and wrong on the same cue-conflict images? 1: always; "
        "0: no more than their accuracies would have it (Geirhos, Meding and Wichmann, "
        "arXiv 2006.16736). Brackets are bootstrap intervals over the images.",
        Table(columns, rows),
        charts=(
            HeatMap(
                "error-consistency",
                names,
                names,
                values,
                "Error consistency",
                diverging=True,
            ),
        ),
    )


def _bias_findings(found: dict[str, ShapeBias]) -> list[Finding]:
    known = {name: one for name, one in found.items() if _sortable(one) >= 0}
    if not known:
        return []
    most = max(known, key=lambda name: known[name].bias.value)
    least = min(known, key=lambda name: known[name].bias.value)
    return [
        Finding(
            "Most by shape",
            f"{most}, shape bias {share_text(known[most].bias)} %",
            f"{known[most].num_shape} answers name the shape, "
            f"{known[most].num_texture} the texture."
            + (
                f" Most by texture goes {least}: {share_text(known[least].bias)} %."
                if least != most
                else ""
            ),
        )
    ]


def _consistency_findings(
    pairs: dict[tuple[str, str], ErrorConsistency],
) -> list[Finding]:
    (a, b), one = max(pairs.items(), key=lambda item: item[1].kappa)
    return [
        Finding(
            "Most alike in their errors",
            f"{a} and {b}, {format_interval(one.kappa, one.low, one.high)}",
            f"Error consistency on {one.num_images:,} cue-conflict images: they agree "
            f"on {100 * one.observed:.1f} %, independent errors would on "
            f"{100 * one.expected:.1f} %.",
        )
    ]


def _sortable(one: ShapeBias) -> float:
    return one.bias.value if one.bias.value == one.bias.value else -1.0


def _value(one: ShapeBias | None) -> float | None:
    if one is None or one.bias.value != one.bias.value:
        return None
    return one.bias.value
