"""The command `probe`: what frozen features know."""

from typing import Annotated

import typer

from jaxbench.cli.execution import execute
from jaxbench.cli.options import (
    Execution,
    Imports,
    Inputs,
    Measuring,
    ModelList,
    OnError,
    Results,
    TestSize,
    Weights,
    WeightsDir,
    grouped,
    named_models,
    weights_source,
)
from jaxbench.config import PRETRAINED, parse_config
from jaxbench.errors import UserError


@grouped
def probe(
    *,
    model: Annotated[
        list[str] | None,
        typer.Argument(help="Zoo names, wildcards allowed; or MODULE:NAME, your own."),
    ] = None,
    model_list: ModelList = None,
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
    votes: Annotated[
        str, typer.Option(help="How neighbours vote: weighted or uniform.")
    ] = "weighted",
    learning_rate: Annotated[
        list[float] | None,
        typer.Option(
            "--learning-rate",
            "--lr",
            help="Of the linear probe, one or more, trained together.",
        ),
    ] = None,
    weight_decay: Annotated[
        list[float] | None,
        typer.Option(
            "--weight-decay", "--wd", help="Of the linear probe, one or more."
        ),
    ] = None,
    penalty: Annotated[
        list[float] | None,
        typer.Option(help="L2 penalty of the logistic regression, one or more."),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes of the linear probe.")
    ] = None,
    train_batch_size: Annotated[
        int | None, typer.Option(min=1, help="Features in a step of the linear probe.")
    ] = None,
    optimizer: Annotated[
        str | None, typer.Option(help="Of the linear probe: sgd or lars.")
    ] = None,
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
    classes: Annotated[
        str | None,
        typer.Option(
            "--classes",
            "--class-map",
            help="The datasets' classes in the order of their labels: 'imagenet', or "
            "a text file with one name a line. For folders that hold a part of them.",
        ),
    ] = None,
    inputs: Inputs,
    test_size: TestSize = False,
    measuring: Measuring,
    batch_size: Annotated[
        int, typer.Option("--batch-size", "-b", min=1, help="Images in a step.")
    ] = 64,
    on_error: OnError = "raise",
    imports: Imports = None,
    results: Results = "results/probe",
    execution: Execution,
) -> None:
    """Classify frozen features: linear probes and nearest neighbours, every metric.

    Example: [bold]jaxbench probe vit_micro --weights random:0 --train digits@train
    --validation digits@validation --test digits@test --knn 10,20[/]
    """
    names = named_models(model, model_list)
    subject = {
        "weights": weights_source(weights, weights_dir),
        **inputs.keys(test_size=test_size),
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
        "name": f"probe {' '.join(names)}",
        "results": results,
        "on_error": on_error,
        "imports": imports or [],
        "classes": classes,
        "probe": {
            "models": [subject | {"name": name} for name in names],
            "train": train,
            "validation": validation,
            "votes": votes,
            "keep_features": keep_features,
            **{key: value for key, value in given.items() if value},
        },
        "evaluate": measuring.table(test, batch_size),
    }
    execute(parse_config(table, origin="probe"), execution)


def _numbers(text: str | None) -> list[int]:
    parts = [part.strip() for part in (text or "").split(",") if part.strip()]
    wrong = [part for part in parts if not part.isdecimal()]
    if wrong:
        raise UserError(
            f"--knn {text!r}: not a whole number: {', '.join(wrong)}; wanted 10,20,100"
        )
    return [int(part) for part in parts]
