"""Beyond accuracy: the published numbers, and where they are of something else."""

from collections.abc import Sequence

from jaxbench.reports.studies.beside import beside_section
from jaxbench.reports.studies.beyond_parts import Part
from jaxbench.studies.models import Model
from jaxbench.studies.published.beyond import (
    CORRUPTED,
    IMAGE_SIZE,
    NUM_IMAGES,
    load_published_models,
)

_CORRUPTED_NAME = "imagenet-c"
# Published variants, whose mean is the published average.
_AVERAGED = tuple(
    name
    for name in next(iter(load_published_models().values())).accuracy
    if name != "imagenet"
)


def published_part(parts: Sequence[Part]) -> Part:
    """The section of own numbers beside published ones, if any part has some."""
    rows = [row for part in parts for row in part.beside]
    if not rows:
        return Part()
    rows.sort(key=lambda row: row.model)
    differs = [text for part in parts for text in part.differs if text]
    source = (
        "Published: arXiv 2311.09215, the figures of its project page. Accuracies, "
        "calibration errors and transfer are printed there; accuracies under scale, "
        "shift and resolution (to 0.1 points) and error ratios (to 0.01) were measured "
        "in the pictures."
    )
    return Part(sections=[beside_section(rows, " ".join([source, *differs]))])


def differences(
    models: Sequence[Model],
    addresses: Sequence[str],
    averaged: Sequence[str] | None = None,
) -> str:
    """In what own numbers differ from the published ones beside them; "" if in nothing.

    Args:
        models: Those of the page; published numbers stand beside some.
        addresses: Datasets of own numbers.
        averaged: The variants of the page's average; None where it has none.
    """
    known = [model for model in models if model.published is not None]
    if not known:
        return ""
    found = []
    corrupted = {a for a in addresses if a.startswith(f"{_CORRUPTED_NAME}/")}
    if corrupted and corrupted != set(CORRUPTED):
        found.append(
            f"{_CORRUPTED_NAME} is published as the mean of {len(CORRUPTED)} datasets "
            f"(15 corruptions, 5 severities) and here of {len(corrupted)}"
        )
    if averaged is not None and set(averaged) != set(_AVERAGED):
        found.append(
            f"the published average is over {', '.join(_AVERAGED)}, here over "
            f"{', '.join(averaged)}"
        )
    if parts := _parts(known, addresses):
        found.append("here of a part of the images: " + ", ".join(parts))
    if sizes := sorted({m.size for m in known if m.size not in (None, IMAGE_SIZE)}):
        shown = ", ".join(map(str, sizes))
        found.append(f"published at {IMAGE_SIZE} pixels, here also at {shown}")
    if not found:
        return ""
    return f"Published numbers are of something else: {'; '.join(found)}."


def _parts(models: Sequence[Model], addresses: Sequence[str]) -> list[str]:
    """Datasets of which fewer images were scored than the published numbers are of."""
    found = {}
    for address in addresses:
        counts = [
            model.rows[address].get("num_examples")
            for model in models
            if address in model.rows
        ]
        scored = min((c for c in counts if c is not None), default=None)
        whole = NUM_IMAGES.get(address)
        if whole is not None and scored is not None and scored < whole:
            name = _CORRUPTED_NAME if address in CORRUPTED else address
            found[name] = min(scored, found.get(name, (scored, whole))[0]), whole
    return [
        f"{name} {scored:,} of {whole:,}" for name, (scored, whole) in found.items()
    ]
