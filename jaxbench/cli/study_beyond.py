"""The command about what accuracy does not say: study beyond."""

from pathlib import Path
from typing import Annotated, Any

import typer

from jaxbench.cli.options import grouped
from jaxbench.cli.study import Files, Folder, Resampling, write_study
from jaxbench.cli.tables import show_page
from jaxbench.errors import UserError

# Tables of pairs and of kinds of images are long: the page and the files have them all.
_MOST_ROWS = 20


@grouped
def beyond(
    *,
    folder: Folder,
    reference: Annotated[
        str | None,
        typer.Option(help="Clean dataset; the one most models were evaluated on."),
    ] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(
            help="Factors of the images: ImageNet-X's imagenet_x_val_top_factor.jsonl, "
            "or a .csv or .jsonl file of your own (id and a column a factor)."
        ),
    ] = None,
    prototypes: Annotated[
        Path | None,
        typer.Option(help="ImageNet-X's prototypical_paths.csv, images to leave out."),
    ] = None,
    responses: Annotated[
        list[Path] | None,
        typer.Option(
            help="CSV file of answers to cue-conflict images, or a folder of them; "
            "repeat it."
        ),
    ] = None,
    group: Annotated[
        list[str] | None,
        typer.Option(help="MODEL=GROUP, of your own models; repeat it."),
    ] = None,
    calibration_on: Annotated[
        list[str] | None,
        typer.Option(help="Dataset whose calibration is shown; repeat it."),
    ] = None,
    shown: Annotated[
        list[str] | None,
        typer.Option(
            "--show", help="Model whose curves are drawn; repeat it, * works."
        ),
    ] = None,
    resampling: Resampling,
    files: Files,
) -> None:
    """Show what sets models apart beyond one accuracy.

    After arXiv 2311.09215: calibration, robustness, invariance, shape bias and error
    consistency, error ratios by kind of image, linear probes.

    Example: [bold]jaxbench study beyond results/beyond-digits --csv tables[/]
    """
    options: dict[str, Any] = {
        "reference": reference,
        "annotations": annotations,
        "prototypes": prototypes,
        "responses": tuple(responses or ()),
        "groups": _groups(group or []),
        "calibration_on": tuple(calibration_on or ()),
        "shown": tuple(shown or ()),
        **vars(resampling),
    }
    page = write_study("beyond", folder, options, files)
    show_page(page, files.csv_folder, most_rows=_MOST_ROWS)


def _groups(pairs: list[str]) -> dict[str, str]:
    found, wrong = {}, []
    for pair in pairs:
        # Labels have "=" where two models differ in a setting.
        model, _, name = pair.rpartition("=")
        if model and name:
            found[model] = name
        else:
            wrong.append(repr(pair))
    if wrong:
        raise UserError(
            f"--group {', '.join(wrong)}: wanted MODEL=GROUP, such as "
            "'my_network=ConvNet supervised'"
        )
    return found
