"""Beyond accuracy: which kinds of images make a model fail?"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxbench.data.known.imagenet_validation import NUM_IMAGES
from jaxbench.data.known.imagenet_x import FACTORS, is_imagenet_x, read_imagenet_x
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
from jaxbench.reports.studies.beyond_parts import Part, Study
from jaxbench.studies.error_ratios import ErrorRatios, model_error_ratios
from jaxbench.studies.factor_files import read_factors


def factors_part(
    study: Study, annotations: str | Path | None, prototypes: str | Path | None
) -> Part:
    """Error ratios on the reference, by ImageNet-X or by factors of your own images.

    Models that were evaluated on a part of ImageNet's validation images may have
    annotations of a part; a note then says of how many.

    Raises:
        UserError: If annotations are malformed, are missing where a model was evaluated
            on all images, or name images that a model was not evaluated on; all models
            are named.
    """
    if annotations is None:
        return Part(
            notes=[
                "No error ratios: no factors of the images were given (ImageNet-X, or "
                "a file of your own; option `annotations`)."
            ]
        )
    published = is_imagenet_x(annotations)
    correct = _outcomes(study, by_file=published)
    if published:
        factors, notes = _imagenet_x(study, annotations, prototypes, correct)
        source = "ImageNet-X, arXiv 2211.01866"
    else:
        if prototypes is not None:
            raise UserError(
                f"prototypes are of ImageNet-X, and {annotations} has factors of other "
                "images; leave the option out"
            )
        factors, notes = read_factors(annotations), []
        source = Path(annotations).name
    try:
        found = model_error_ratios(correct, factors, study.resampling)
    except UserError as error:
        known = next(iter(next(iter(correct.values()))))
        raise UserError(
            f"{annotations}, on {study.reference}: {error}\nids of evaluated images "
            f"are such as {known!r}"
        ) from error
    counts = {label: len(one) - len(factors) for label, one in correct.items()}
    if bare := max(counts.values()):
        prototypical = ", or are prototypes" if prototypes else ""
        notes.append(
            f"Up to {bare:,} of the images evaluated on {study.reference} are not "
            f"annotated in {Path(annotations).name}{prototypical}: error ratios are "
            f"about the other {len(factors):,}."
        )
    part, means = Part(notes=notes), _means(found)
    for label, one in found.items():
        part.score(label, "error_ratio", (float(np.nanmax(one.ratio)), None, None))
    if published:
        _compare(study, part, found)
    part.sections.append(_section(found, means, source))
    part.findings += _findings(found, means)
    return part


def _compare(study: Study, part: Part, found: Mapping[str, ErrorRatios]) -> None:
    """Error ratios and their mean over factors beside those published of ImageNet-X."""
    for model in study.models:
        own = found[model.label]
        ends = (own.ratio.tolist(), own.low.tolist(), own.high.tolist())
        values = dict(zip(own.factors, zip(*ends, strict=True), strict=True))
        values["average"] = (float(np.nanmean(own.ratio)), None, None)
        published = model.published.error_ratio if model.published else {}
        for factor, value in values.items():
            measure = f"error ratio, {_words(factor)}"
            part.compare(model, measure, value, published.get(factor), percent=False)


def _outcomes(study: Study, *, by_file: bool) -> dict[str, dict[str, bool]]:
    """Label of a model to id of an image to whether the model is right on it."""
    found = {}
    for model in study.models:
        run_id = model.rows[study.reference]["run_id"]
        columns = study.store.examples(run_id, ("id", "correct"))
        names = [str(one) for one in columns["id"]]
        if by_file:
            # ImageNet's images may lie in a folder a class.
            names = [name.rpartition("/")[2] for name in names]
        found[model.label] = dict(zip(names, columns["correct"].tolist(), strict=True))
    return found


def _imagenet_x(
    study: Study,
    annotations: str | Path,
    prototypes: str | Path | None,
    correct: Mapping[str, Mapping[str, bool]],
) -> tuple[Mapping[str, Sequence[str]], list[str]]:
    """ImageNet-X's factors of the images that were evaluated, and what to note."""
    rows = [model.rows[study.reference] for model in study.models]
    evaluated = max(row.get("num_examples") or NUM_IMAGES for row in rows)
    part = evaluated < NUM_IMAGES
    found = read_imagenet_x(annotations, prototypes=prototypes, allow_partial=part)
    if found.partial:
        published, annotated = found.partial
        return found, [
            f"Partial: {annotated:,} images are annotated in {Path(annotations).name}, "
            f"of the {published:,} that ImageNet-X has; models were evaluated on up to "
            f"{evaluated:,} images."
        ]
    if not part:
        return found, []
    common = set.intersection(*(set(one) for one in correct.values()))
    kept = {name: factors for name, factors in found.items() if name in common}
    if not kept:
        raise UserError(
            f"{annotations}: none of its images was evaluated on {study.reference} by "
            "every model"
        )
    return kept, [
        f"Partial: models were evaluated on up to {evaluated:,} of ImageNet's "
        f"{NUM_IMAGES:,} validation images; {len(kept):,} that every model has are "
        "annotated."
    ]


def _words(factor: str) -> str:
    """A factor as it is shown: a user's own as it was given."""
    return factor.replace("_", " ") if factor in FACTORS else factor


def _means(found: dict[str, ErrorRatios]) -> dict[str, float]:
    """Factor to its mean ratio over models, the hardest first."""
    names = next(iter(found.values())).factors
    means = {
        name: float(np.nanmean([one.ratio[i] for one in found.values()]))
        for i, name in enumerate(names)
        if any(np.isfinite(one.ratio[i]) for one in found.values())
    }
    return dict(sorted(means.items(), key=lambda item: -item[1]))


def _section(
    found: dict[str, ErrorRatios], means: dict[str, float], source: str
) -> Section:
    columns = (
        Column("Factor"),
        Column("Model"),
        Column("Error ratio", numeric=True, help="1 is as hard as the average"),
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
                    text_cell(_words(factor)),
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
        tuple(map(_words, means)),
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
        f"{first.num_annotated:,} annotated images ({source}). "
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
            f"{_words(worst)}, {mean:.2f} times the average error",
            f"Mean over models; {', '.join(texts[:4])}{more}.",
        )
    ]


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
