"""Commands about models: models, convert."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE
from rich.table import Column, Table

from jaxbench.cli.display import console
from jaxbench.errors import UserError, counted


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

    "at" is the image size that a top-1 was measured at; evaluate with --test-size to
    measure there.

    Example: [bold]jaxbench models 'vit*' --pretrained[/]
    """
    if coverage:
        if pattern or pretrained:
            raise UserError("--coverage is of the whole zoo; give it alone")
        _show_coverage()
        return
    names = _names(pattern or ["*"], pretrained)
    table = _checkpoint_table(names) if pretrained else _table(names)
    console.print(table)
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
        *_numbers("size", "params (M)", "GMACs", "classes", "top-1 %", "at"),
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
            "" if top_1 is None else _size(checkpoint.test_spec.size),
            checkpoint.licence,
        )
    return table


def _numbers(*headers: str) -> list[Column]:
    return [Column(header, justify="right", no_wrap=True) for header in headers]


def _size(size: tuple[int, int]) -> str:
    return str(size[0]) if size[0] == size[1] else f"{size[0]}x{size[1]}"


def _show_count(names: Sequence[str], pretrained: bool) -> None:
    from model_zoo.registry import architectures, checkpoints

    what = "checkpoint" if pretrained else "architecture"
    console.print(
        f"{counted(len(names), what)} listed; the zoo holds {len(architectures())} "
        f"architectures and {len(checkpoints())} checkpoints. Parameters are those of "
        "1000 classes, GMACs those of one image of the architecture's own size."
    )


def _show_coverage() -> None:
    from model_zoo.registry import architectures, checkpoints, coverage

    names = {c.legacy_name: name for name, c in checkpoints().items()}
    # Of a family: studied and here, studied, in timm's table and here, in it. Sets of
    # checkpoints, since timm's table has some more than once; the study's list is of
    # evaluations.
    rows: dict[str, tuple[list, list, set, set]] = {}
    for listed in coverage():
        studied_here, studied, timm_here, timm = rows.setdefault(
            listed.family, ([], [], set(), set())
        )
        name = names.get(listed.checkpoint, listed.checkpoint)
        here = name in checkpoints()
        # The study's list is known for 516 models and inferred for 7 linear probes,
        # whose weights nobody published.
        if listed.in_selective_study != "no":
            studied.append(name)
        if here and listed.in_selective_study == "yes":
            studied_here.append(name)
        if listed.in_timm_results == "yes":
            timm.add(name)
            timm_here |= {name} if here else set()
    table = Table("family (timm's file)", "of the 523", "of timm's results", box=SIMPLE)
    counts = {family: [len(part) for part in parts] for family, parts in rows.items()}
    for family, row in sorted(counts.items(), key=lambda item: -item[1][1]):
        if row[1] + row[3]:
            table.add_row(family, _share(*row[:2]), _share(*row[2:]))
    totals = [sum(column) for column in zip(*counts.values(), strict=True)]
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
        Path,
        typer.Argument(help="What torch.save wrote (.pth, .bin ...), or safetensors."),
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
    from model_zoo import create_model, find_pretrained, save_variables
    from model_zoo.weights.prefixes import has_network
    from model_zoo.weights.pretrained import original_names
    from model_zoo.weights.rules import ALWAYS_IGNORED
    from model_zoo.weights.torch_files import read_checkpoint

    _check_output(output)
    if model is None and (num_classes is not None or image_size is not None):
        raise UserError(
            "--num-classes and --image-size are checked with --model; name one"
        )
    try:
        names = original_names(create_model(model.partition(".")[0])) if model else ()
        network = read_checkpoint(source, names, averaged=averaged)
    except (ImportError, ValueError, FileNotFoundError) as error:
        raise UserError(str(error)) from error
    tensors = network.tensors
    if model is None and not has_network(tensors):
        raise UserError(
            f"nothing was written: the tensors of {source} do not begin as those of a "
            f"network do ({_some(tensors)}); say with --model whose weights they are"
        )
    save_variables(output, tensors, {"converted_from": source.name})
    console.print(f"{counted(len(tensors), 'tensor')} in {output}")
    if network.prefix:
        console.print(f"Their names lost the prefix {network.prefix}")
    if beside := [n for n in network.beside if not re.fullmatch(ALWAYS_IGNORED, n)]:
        console.print(f"Left out, {len(beside)} beside them: {_some(beside)}")
    if model is None:
        return
    try:
        found = find_pretrained(
            model, source=output, num_classes=num_classes, image_size=image_size
        )
        found.load()
    except (ValueError, FileNotFoundError) as error:
        raise UserError(str(error)) from error
    classes = counted(found.classifier.num_classes, "class", "classes")
    console.print(f"They are weights of {model} with {classes}.")


def _check_output(output: Path) -> None:
    if output.suffix != ".safetensors":
        raise UserError(f"{output} must end in .safetensors")
    if not output.parent.is_dir():
        raise UserError(f"no folder {output.parent} to write {output.name} into")
    if output.is_dir():
        raise UserError(f"{output} is a folder, wanted a file to write")


def _some(names: Iterable[str]) -> str:
    first, more = list(names)[:10], len(list(names)) - 10
    return ", ".join(first) + (f" and {more} more" if more > 0 else "")
