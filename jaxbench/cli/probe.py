"""The command `probe`: what frozen features know."""

from typing import Annotated

import typer

from jaxbench.cli.execution import execute
from jaxbench.cli.inputs import (
    Classes,
    CropFraction,
    ImageSize,
    Interpolation,
    TestSize,
    input_keys,
)
from jaxbench.cli.work import (
    Calibration,
    DryRun,
    Dtype,
    Imports,
    Limit,
    Log,
    Metrics,
    OnError,
    Ood,
    Resamples,
    Results,
    Shifted,
    Weights,
    WeightsDir,
)
from jaxbench.config import PRETRAINED, parse_config
from jaxbench.errors import UserError


def probe(
    model: Annotated[
        list[str],
        typer.Argument(help="Zoo names, wildcards allowed; or MODULE:NAME, your own."),
    ],
    train: Annotated[str, typer.Option(help="Dataset to fit on and to search in.")],
    test: Annotated[list[str], typer.Option(help="Dataset to measure on.")],
    validation: Annotated[
        str | None,
        typer.Option(help="Dataset to choose by; a tenth of --train if not given."),
    ] = None,
    weights: Weights = PRETRAINED,
    weights_dir: WeightsDir = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option(
            help="linear_probe, logistic_regression or knn, one or more; linear_probe "
            "and knn if not given."
        ),
    ] = None,
    knn: Annotated[
        str | None,
        typer.Option(help="Numbers of neighbours with commas between: 10,20,100,200."),
    ] = None,
    votes: Annotated[str, typer.Option(help="Of neighbours: weighted, uniform.")] = (
        "weighted"
    ),
    learning_rate: Annotated[
        list[float] | None,
        typer.Option("--learning-rate", "--lr", help="One or more, trained together."),
    ] = None,
    weight_decay: Annotated[
        list[float] | None, typer.Option("--weight-decay", "--wd", help="One or more.")
    ] = None,
    penalty: Annotated[
        list[float] | None,
        typer.Option(help="L2 penalty of the logistic regression, one or more."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Of the probe.")] = None,
    train_batch_size: Annotated[
        int | None, typer.Option(min=1, help="Of the probe.")
    ] = None,
    optimizer: Annotated[str | None, typer.Option(help="sgd or lars.")] = None,
    feature_norm: Annotated[
        str | None, typer.Option(help="none, l2, standardize or batch_norm.")
    ] = None,
    keep_features: Annotated[
        bool,
        typer.Option(
            "--keep-features",
            help="Keep features in RESULTS/features for other probes.",
        ),
    ] = False,
    shifted: Shifted = None,
    ood: Ood = None,
    calibration: Calibration = None,
    metrics: Metrics = None,
    classes: Classes = None,
    image_size: ImageSize = None,
    test_size: TestSize = False,
    crop_fraction: CropFraction = None,
    interpolation: Interpolation = None,
    dtype: Dtype = "float32",
    batch_size: Annotated[int, typer.Option(min=1, help="Images in a step.")] = 64,
    resamples: Resamples = 1000,
    on_error: OnError = "raise",
    imports: Imports = None,
    results: Results = "results/probe",
    limit: Limit = None,
    log: Log = None,
    dry_run: DryRun = False,
) -> None:
    """Classify frozen features: linear probes and nearest neighbours, every metric.

    Example: [bold]jaxbench probe vit_micro --weights random:0 --train digits@train
    --validation digits@validation --test digits@test --knn 10,20[/]
    """
    if weights_dir is not None and weights != PRETRAINED:
        raise UserError("--weights and --weights-dir both say where weights are")
    subject = {
        "weights": str(weights_dir) if weights_dir else weights,
        **input_keys(image_size, test_size, crop_fraction, interpolation),
        "dtype": dtype,
    }
    given = {
        "protocols": protocol,
        "neighbors": _numbers(knn),
        "learning_rates": learning_rate,
        "weight_decays": weight_decay,
        "penalties": penalty,
        "epochs": epochs,
        "batch_size": train_batch_size,
        "optimizer": optimizer,
        "feature_norm": feature_norm,
    }
    table = {
        "name": f"probe {' '.join(model)}",
        "results": results,
        "on_error": on_error,
        "imports": imports or [],
        "classes": classes,
        "probe": {
            "models": [subject | {"name": name} for name in model],
            "train": train,
            "validation": validation,
            "votes": votes,
            "keep_features": keep_features,
            **{key: value for key, value in given.items() if value},
        },
        "evaluate": {
            "clean": test,
            "shifted": shifted or [],
            "ood": ood or [],
            "calibration": _calibration(calibration),
            "metrics": metrics or None,
            "batch_size": batch_size,
            "num_resamples": resamples,
        },
    }
    config = parse_config(table, origin="probe")
    execute(config, limit=limit, log=log, dry_run=dry_run)


def _calibration(text: str | None) -> str | int | None:
    return int(text) if text and text.isdecimal() else text


def _numbers(text: str | None) -> list[int]:
    parts = [part.strip() for part in (text or "").split(",") if part.strip()]
    wrong = [part for part in parts if not part.isdecimal()]
    if wrong:
        raise UserError(
            f"--knn {text!r}: {', '.join(wrong)} is no whole number; wanted 10,20,100"
        )
    return [int(part) for part in parts]
