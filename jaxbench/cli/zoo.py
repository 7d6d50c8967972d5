"""Commands about models: models, convert."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Column, Table

from jaxbench.cli.display import console
from jaxbench.errors import UserError


def models(
    pattern: Annotated[
        list[str] | None, typer.Argument(help="Names, wildcards allowed.")
    ] = None,
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="Weights instead of architectures.")
    ] = False,
    coverage: Annotated[
        bool,
        typer.Option(
            "--coverage",
            help="Which share of the published lists runs here, by family.",
        ),
    ] = False,
) -> None:
    """List the models of the zoo: input size, parameters, GMACs, published top-1.

    Example: [bold]jaxbench models 'vit*' --pretrained[/]
    """
    if coverage:
        if pattern or pretrained:
            raise UserError("--coverage is of the whole zoo; give it alone")
        _show_coverage()
        return
    names = _names(pattern or ["*"], pretrained)
    table = _checkpoint_table(names) if pretrained else _table(names)
    # Names are what one copies: a pipe has no width that they must fit in.
    wide = console if console.is_terminal else Console(width=max(console.width, 132))
    wide.print(table)
    _show_count(names, pretrained)


def _names(patterns: Sequence[str], pretrained: bool) -> list[str]:
    from jaxbench.errors import unknown_name
    from model_zoo import list_models

    names: dict[str, None] = {}
    for wanted in patterns:
        found = list_models(wanted, pretrained=pretrained)
        if not found:
            known = list_models(pretrained=pretrained)
            raise UserError(unknown_name("model", wanted, known))
        names |= dict.fromkeys(found)
    return list(names)


def _table(names: Sequence[str]) -> Table:
    from model_zoo import create_model
    from model_zoo.counting import count_macs
    from model_zoo.registry import architectures, checkpoints

    weights: dict[str, int] = {}
    for checkpoint in checkpoints().values():
        weights[checkpoint.architecture] = weights.get(checkpoint.architecture, 0) + 1
    table = Table(
        Column("model", overflow="fold"),
        *_numbers("size", "params (M)", "GMACs", "features", "weights"),
        box=SIMPLE,
    )
    for name in names:
        entry = architectures()[name]
        parameters, macs = entry.num_parameters, entry.num_macs
        if parameters is None or macs is None:
            model = create_model(name)
            parameters, macs = model.num_parameters, count_macs(model)
        table.add_row(
            name,
            _size(entry.input_spec.size),
            f"{(parameters or 0) / 1e6:.2f}",
            f"{macs / 1e9:.2f}",
            str(entry.build().num_features),
            str(weights.get(name, "")),
        )
    return table


def _checkpoint_table(names: Sequence[str]) -> Table:
    from model_zoo.registry import architectures, checkpoints

    table = Table(
        Column("weights", overflow="fold"),
        *_numbers("size", "params (M)", "GMACs", "classes", "top-1 %"),
        Column("licence", no_wrap=True),
        box=SIMPLE,
    )
    for name in names:
        checkpoint = checkpoints()[name]
        entry = architectures()[checkpoint.architecture]
        top_1 = checkpoint.top_1_accuracy
        table.add_row(
            name,
            _size(checkpoint.input_spec.size),
            f"{(entry.num_parameters or 0) / 1e6:.2f}",
            f"{(entry.num_macs or 0) / 1e9:.2f}",
            str(checkpoint.num_classes),
            "" if top_1 is None else f"{100 * top_1:.2f}",
            checkpoint.licence,
        )
    return table


def _numbers(*headers: str) -> list[Column]:
    return [Column(header, justify="right", no_wrap=True) for header in headers]


def _size(size: tuple[int, int]) -> str:
    return str(size[0]) if size[0] == size[1] else f"{size[0]}x{size[1]}"


def _show_count(names: Sequence[str], pretrained: bool) -> None:
    from model_zoo.registry import architectures, checkpoints

    what = "checkpoints" if pretrained else "architectures"
    console.print(
        f"{len(names)} {what} listed; the zoo holds {len(architectures())} "
        f"architectures and {len(checkpoints())} checkpoints. Parameters are those of "
        "1000 classes, GMACs those of one image of the architecture's own size."
    )


def _show_coverage() -> None:
    from model_zoo.registry import architectures, checkpoints, coverage

    known = set(checkpoints()) | {c.legacy_name for c in checkpoints().values()}
    rows: dict[str, list[int]] = {}
    for listed in coverage():
        counts = rows.setdefault(listed.family, [0, 0, 0, 0])
        here = listed.checkpoint in known
        # The study's list is known for 516 models and inferred for 7 linear probes,
        # whose weights nobody published.
        in_study = listed.in_selective_study != "no"
        in_timm = listed.in_timm_results == "yes"
        counts[0] += here and listed.in_selective_study == "yes"
        counts[1] += in_study
        counts[2] += here and in_timm
        counts[3] += in_timm
    table = Table("family (timm's file)", "of the 523", "of timm's results", box=SIMPLE)
    for family, counts in sorted(rows.items(), key=lambda row: -row[1][1]):
        if counts[1] + counts[3] == 0:
            continue
        table.add_row(family, _share(*counts[:2]), _share(*counts[2:]))
    totals = [sum(column) for column in zip(*rows.values(), strict=True)]
    table.add_section()
    table.add_row("all", _share(*totals[:2]), _share(*totals[2:]))
    console.print(table)
    console.print(
        f"{len(architectures())} architectures, {len(checkpoints())} checkpoints. The "
        "523 are those of arXiv 2302.11874; timm's results are its ImageNet table."
    )


def _share(held: int, total: int) -> str:
    return f"{held} of {total} ({100 * held / total:.1f} %)" if total else ""


def convert(
    source: Annotated[
        Path, typer.Argument(help="What torch.save wrote: .pth, .bin ...")
    ],
    output: Annotated[Path, typer.Argument(help="The .safetensors file to write.")],
    model: Annotated[
        str | None,
        typer.Option(help="Also check that these are this model's weights."),
    ] = None,
    num_classes: Annotated[
        int | None,
        typer.Option(min=0, max=1_000_000, help="Outputs that the weights have."),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(min=1, max=16_384, help="Image size that they were made with."),
    ] = None,
    averaged: Annotated[
        bool, typer.Option(help="Take a moving average (EMA) where there is one.")
    ] = True,
) -> None:
    """Turn a torch checkpoint into safetensors, where torch is installed.

    Example: [bold]jaxbench convert moco.pth.tar moco.safetensors --model resnet50
    --num-classes 0[/]
    """
    from model_zoo import find_pretrained, save_variables
    from model_zoo.catalog import find_architecture
    from model_zoo.weights.torch_files import read_torch_file

    if output.suffix != ".safetensors":
        raise UserError(f"{output} must end in .safetensors")
    if not output.parent.is_dir():
        raise UserError(f"no folder {output.parent} to write {output.name} into")
    if output.is_dir():
        raise UserError(f"{output} is a folder, wanted a file to write")
    if model is None and (num_classes is not None or image_size is not None):
        raise UserError(
            "--num-classes and --image-size are checked with --model; name one"
        )
    try:
        if model is not None:
            find_architecture(model.partition(".")[0])
        tensors = read_torch_file(source, averaged=averaged)
    except (ImportError, ValueError, FileNotFoundError) as error:
        raise UserError(str(error)) from error
    save_variables(output, tensors, {"converted_from": source.name})
    console.print(f"{len(tensors)} tensors in {output}")
    if model is None:
        return
    try:
        found = find_pretrained(
            model, source=output, num_classes=num_classes, image_size=image_size
        )
        found.load()
    except (ValueError, FileNotFoundError) as error:
        raise UserError(str(error)) from error
    classes = found.classifier.num_classes
    console.print(f"They are weights of {model} with {classes} classes.")
