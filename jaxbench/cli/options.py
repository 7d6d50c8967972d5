"""Options that several commands share, and groups of them: each is declared once."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from jaxbench.cli.tables import for_a_program
from jaxbench.config import PRETRAINED
from jaxbench.errors import UserError


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Lets a command take dataclasses of options.

    Typer sees every field as a parameter of the command, which gets the dataclasses.
    """
    signature = inspect.signature(command)
    groups: dict[str, Any] = {
        name: parameter.annotation
        for name, parameter in signature.parameters.items()
        if is_dataclass(parameter.annotation)
    }

    @functools.wraps(command)
    def run(**options: Any) -> None:
        for name, group in groups.items():
            given = {field.name: options.pop(field.name) for field in fields(group)}
            options[name] = group(**given)
        command(**options)

    flat = []
    for name, parameter in signature.parameters.items():
        found = inspect.signature(groups[name]).parameters if name in groups else {}
        flat += found.values() or [parameter]
    # By keyword alone: those with a default may then stand before those without.
    keyword = inspect.Parameter.KEYWORD_ONLY
    flat = [parameter.replace(kind=keyword) for parameter in flat]
    run.__signature__ = inspect.Signature(flat)  # pyright: ignore[reportFunctionMemberAccess, reportAttributeAccessIssue]
    return run


ImageSize = Annotated[
    int | None,
    typer.Option(
        "--image-size",
        "--img-size",
        min=1,
        help="Input height and width; the model's own by default.",
    ),
]
TestSize = Annotated[
    bool,
    typer.Option(
        "--test-size",
        help="The size and crop that published results were measured at.",
    ),
]
Dtype = Annotated[
    str,
    typer.Option("--dtype", "--amp-dtype", help="float32 or bfloat16 activations."),
]
ModelList = Annotated[
    Path | None,
    typer.Option(
        help="File with more models: one name a line, # starts a comment.",
        exists=True,
        dir_okay=False,
    ),
]
Weights = Annotated[
    str,
    typer.Option(
        help="'pretrained' (from the hub), a file, or random:SEED for an untrained net."
    ),
]
WeightsDir = Annotated[
    Path | None,
    typer.Option(
        help="Folder of weights, searched by name: NAME/model.safetensors or "
        "NAME.safetensors.",
        file_okay=False,
        exists=True,
    ),
]
OnError = Annotated[
    str,
    typer.Option(help="What an unreadable image does: 'raise' or 'skip' (counted)."),
]
Imports = Annotated[
    list[str] | None,
    typer.Option(
        "--import",
        help="Module to import first: it registers your own models, optimizers, ...",
    ),
]
Results = Annotated[str, typer.Option("--results", "-o", help="Folder of the results.")]


@dataclass(frozen=True)
class Inputs:
    """What a model sees."""

    image_size: ImageSize = None
    crop_fraction: Annotated[
        float | None,
        typer.Option(
            "--crop-fraction",
            "--crop-pct",
            help="Share of the resized image that is kept; the model's own by default.",
        ),
    ] = None
    interpolation: Annotated[
        str | None,
        typer.Option(
            help="Resize filter: nearest, bilinear, bicubic or lanczos; the model's "
            "own by default."
        ),
    ] = None
    dtype: Dtype = "float32"

    def keys(self, *, test_size: bool = False) -> dict[str, Any]:
        """The keys of a model's table that these are.

        Raises:
            UserError: If a size is given beside `test_size`.
        """
        if test_size and self.image_size is not None:
            raise UserError("--image-size and --test-size both say a size; give one")
        return vars(self) | ({"image_size": "test"} if test_size else {})


@dataclass(frozen=True)
class Measuring:
    """What models are measured on beside the clean datasets, and how."""

    shifted: Annotated[
        list[str] | None,
        typer.Option(help="Dataset of the same classes under a shift."),
    ] = None
    ood: Annotated[list[str] | None, typer.Option(help="Dataset of other classes.")] = (
        None
    )
    calibration: Annotated[
        str | None,
        typer.Option(
            help="Fit a temperature on this dataset, or on N images held out of the "
            "first one that models are measured on, and report every metric before and "
            "after."
        ),
    ] = None
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            "--metric", "--metrics", help="Metric; all if not given. Repeatable."
        ),
    ] = None
    resamples: Annotated[
        int,
        typer.Option(
            min=0, max=1_000_000, help="Bootstrap resamples behind the intervals."
        ),
    ] = 1000

    def table(self, clean: list[str], batch_size: int) -> dict[str, Any]:
        """The `evaluate` table of an experiment."""
        fitted = self.calibration
        return {
            "clean": clean,
            "shifted": self.shifted or [],
            "ood": self.ood or [],
            "calibration": int(fitted) if fitted and fitted.isdecimal() else fitted,
            "metrics": self.metrics or None,
            "batch_size": batch_size,
            "num_resamples": self.resamples,
        }


@dataclass(frozen=True)
class Execution:
    """How an experiment is run here and now; no run is another one by it."""

    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            "-j",
            min=1,
            max=4096,
            help="Threads that decode images; one a usable core by default.",
        ),
    ] = None
    results_file: Annotated[
        Path | None,
        typer.Option(
            callback=for_a_program,
            help="Also write the table at the end into this CSV file; - prints it.",
        ),
    ] = None
    log: Annotated[
        list[str] | None,
        typer.Option(
            help="Also log to tensorboard:DIR, wandb:PROJECT or mlflow:URI. Repeatable."
        ),
    ] = None
    limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Use at most N images of every dataset, the same ones each time, for "
            "a trial run. Results go to RESULTS-limitN.",
        ),
    ] = None
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print the plan and its size, do nothing."),
    ] = False


def named_models(given: list[str] | None, file: Path | None) -> list[str]:
    """The models of the command line, and after them those of `--model-list`.

    Raises:
        UserError: If there is none, or the file is not text.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines() if file else []
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--model-list {file} cannot be read: {error}") from error
    listed = [line.partition("#")[0].strip() for line in lines]
    names = [*(given or []), *(name for name in listed if name)]
    if not names:
        raise UserError(
            "no model is named; give names or --model-list FILE, and try `jaxbench "
            "models` for what there is"
        )
    return names


def weights_source(weights: str, folder: Path | None) -> str:
    """Where weights come from: `--weights`, or `--weights-dir` in its place.

    Raises:
        UserError: If both are given.
    """
    if folder is not None and weights != PRETRAINED:
        raise UserError("--weights and --weights-dir both say where weights are")
    return str(folder) if folder else weights
