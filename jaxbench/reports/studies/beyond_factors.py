"""Beyond accuracy: which kinds of images make a model fail? ImageNet-X."""

from pathlib import Path

import numpy as np

from jaxbench.data.known.imagenet_validation import NUM_IMAGES
from jaxbench.data.known.imagenet_x import read_imagenet_x
from jaxbench.errors import UserError
from jaxbench.reports.cells import (
    Column,
    Table,
    format_interval,
    interval_cell,
    percent_cell,
    text_cell,
)
from jaxbench.reports.page import Finding, HeatMap, Section
from jaxbench.reports.studies.beyond_models import Part, Study
from jaxbench.studies.error_ratios import ErrorRatios, error_ratios


def factors_part(
    study: Study, annotations: str | Path | None, prototypes: str | Path | None
) -> Part:
    """Error ratios on the reference.

    Models that were evaluated on a part of ImageNet's validation images may have
    annotations of a part; a note then says of how many.

    Raises:
        UserError: If annotations are malformed, are missing where a model was evaluated
            on all images, or name images that a model was not evaluated on; all models
            are named.
    """
    if annotations is None:
        return Part(notes=["No error ratios: no annotations of ImageNet-X were given."])
    rows = [model.rows[study.reference] for model in study.models]
    evaluated = max(row.get("num_examples") or NUM_IMAGES for row in rows)
    factors = read_imagenet_x(
        annotations, prototypes=prototypes, allow_partial=evaluated < NUM_IMAGES
    )
    found: dict[str, ErrorRatios] = {}
    problems = []
    for model in study.models:
        columns = study.store.examples(
            model.rows[study.reference]["run_id"], ("id", "correct")
        )
        names = [str(one).rpartition("/")[2] for one in columns["id"]]
        correct = dict(zip(names, columns["correct"].tolist(), strict=True))
        try:
            found[model.label] = error_ratios(
                correct,
                factors,
                key=study.key_of("factors"),
                num_resamples=study.num_resamples,
            )
        except UserError as error:
            problems.append(f"{model.label} on {study.reference}: {error}")
    if problems:
        raise UserError(f"{annotations}: " + "\n".join(problems))
    part = Part()
    if factors.partial:
        expected, annotated = factors.partial
        part.notes.append(
            f"Partial: {annotated:,} of ImageNet's {expected:,} validation images are "
            f"annotated in {Path(annotations).name}, for models that were evaluated on "
            f"{evaluated:,}."
        )
    means = _means(found)
    for label, one in found.items():
        part.score(label, "error_ratio", (float(np.nanmax(one.ratio)), None, None))
    part.sections.append(_section(found, means))
    part.findings += _findings(found, means)
    return part


def _means(found: dict[str, ErrorRatios]) -> dict[str, float]:
    """Factor to its mean ratio over models, the hardest first."""
    names = next(iter(found.values())).factors
    means = {
        name: float(np.nanmean([one.ratio[i] for one in found.values()]))
        for i, name in enumerate(names)
        if any(np.isfinite(one.ratio[i]) for one in found.values())
    }
    return dict(sorted(means.items(), key=lambda item: -item[1]))


def _section(found: dict[str, ErrorRatios], means: dict[str, float]) -> Section:
    columns = (
        Column("Factor"),
        Column("Model"),
        Column("Error ratio", numeric=True, help="1 is no harder than the average"),
        Column("Accuracy %", numeric=True),
        Column("Images", numeric=True),
        Column("Average accuracy %", numeric=True, help="of all annotated images"),
    )
    rows = []
    for factor in means:
        for label, one in found.items():
            i = one.factors.index(factor)
            values = (one.ratio[i], one.low[i], one.high[i])
            rows.append(
                (
                    text_cell(factor.replace("_", " ")),
                    text_cell(label),
                    interval_cell(*map(float, values)),
                    percent_cell(float(one.accuracy[i])),
                    text_cell(int(one.num_images[i])),
                    percent_cell(one.average),
                )
            )
    first = next(iter(found.values()))
    heat = HeatMap(
        "error-ratios",
        tuple(found),
        tuple(factor.replace("_", " ") for factor in means),
        tuple(
            tuple(_finite(one.ratio[one.factors.index(f)]) for f in means)
            for one in found.values()
        ),
        "Error ratio",
    )
    return Section(
        "error-ratios",
        "Error ratios by factor",
        f"Error rate on the images with a factor over the error rate on all "
        f"{first.num_annotated:,} annotated images (ImageNet-X, arXiv 2211.01866). "
        "Brackets are bootstrap intervals over the images.",
        Table(columns, tuple(rows)),
        charts=(heat,),
    )


def _findings(found: dict[str, ErrorRatios], means: dict[str, float]) -> list[Finding]:
    if not means:
        return []
    worst, mean = next(iter(means.items()))
    texts = []
    for label, one in found.items():
        i = one.factors.index(worst)
        shown = format_interval(*(float(v[i]) for v in (one.ratio, one.low, one.high)))
        texts.append(f"{label} {shown}")
    more = ", ..." if len(texts) > 4 else ""
    return [
        Finding(
            "Hardest kind of image",
            f"{worst.replace('_', ' ')}, {mean:.2f} times the average error",
            f"Mean over models; {', '.join(texts[:4])}{more}.",
        )
    ]


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
