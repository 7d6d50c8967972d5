"""Read-only commands: metrics, data."""

import fnmatch
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from jaxbench.cli.display import console
from jaxbench.errors import UserError, counted

if TYPE_CHECKING:
    from jaxbench.data import KnownDataset


def metrics(
    pattern: Annotated[
        list[str] | None, typer.Argument(help="Names, wildcards allowed.")
    ] = None,
) -> None:
    """List the metrics: what each is measured on, its range and where it is defined.

    Those of "scores" are measured by default, and --metric chooses among them.

    Example: [bold]jaxbench metrics '*ece*'[/]
    """
    from jaxbench.errors import unknown_name
    from jaxbench.metrics import METRICS

    names: dict[str, None] = {}
    for wanted in pattern or ["*"]:
        found = fnmatch.filter(METRICS, wanted)
        if not found:
            raise UserError(unknown_name("metric", wanted, METRICS))
        names |= dict.fromkeys(found)
    table = Table("metric", "measured on", "better", "range", "defined in")
    for name in names:
        metric = METRICS[name]
        low, high = metric.range
        reference = metric.reference.removeprefix("https://")
        table.add_row(
            name, metric.inputs, metric.direction, f"{low:g} to {high:g}", reference
        )
    console.print(table)


def data_list() -> None:
    """List the datasets and the ways to address your own.

    Published datasets are prepared once from their official files, VTAB's by TFDS; the
    last column says whether they are, under TFDS_DATA_DIR.

    Example: [bold]jaxbench data list[/]
    """
    from jaxbench.data import DATASETS

    table = Table("address", "what it is", "role", "licence", "prepared")
    for name, row in DATASETS.items():
        role = row.known.role if row.known else ""
        table.add_row(name, row.description, role, row.licence, _prepared(name))
    for address, meaning in (
        (
            "folder:PATH[@split]",
            "one folder a class, or a .tar of such folders, plain or compressed",
        ),
        ("arrays:PATH.npz[@split]", "images, labels (uint8, integers)"),
        ("tfds:NAME[/CONFIG][@split]", "a prepared TFDS dataset in ArrayRecord format"),
    ):
        # Not markup: "[/CONFIG]".
        table.add_row(escape(address), meaning, "", "yours", "")
    console.print(table)


def _prepared(name: str) -> str:
    """Whether a dataset of the table can be opened now."""
    from jaxbench.data import DATASETS
    from jaxbench.data.known.open import (
        configs_by_tfds,
        prepared_counts,
        prepared_folder,
        prepared_version,
    )

    dataset = DATASETS[name]
    if dataset.known is None:
        return "in the package"
    if dataset.known.by_tfds is not None:
        found = len(configs_by_tfds(dataset.known))
        nothing = "no" if dataset.configs else "no images"
        return f"{found} of {len(dataset.configs)}" if found else nothing
    configs = dataset.configs or ("",)
    found = [prepared_version(prepared_folder(name, config)) for config in configs]
    versions = [version for version in found if version is not None]
    if not versions:
        return "no"
    counts = [c for version in versions for c in prepared_counts(version).values()]
    whole = all(expected in (None, images) for expected, images in counts)
    answer = f"{len(versions)} of {len(configs)}" if dataset.configs else "yes"
    return answer if whole else f"{answer}, partial"


def data_info(
    address: Annotated[str, typer.Argument(help="Dataset address.")],
) -> None:
    """Describe one dataset: size, classes, fingerprint; where to get it.

    Example: [bold]jaxbench data info digits@train[/], [bold]jaxbench data info
    imagenet-r[/]
    """
    from jaxbench.data import DATASETS, open_dataset
    from jaxbench.data.catalog import can_open

    table = Table(show_header=False)
    name, _, config = address.partition("@")[0].partition("/")
    known = DATASETS[name].known if name in DATASETS else None
    if known is None or can_open(address):
        _add_source(table, open_dataset(address))
    else:
        table.add_row("address", address)
        table.add_row("prepared", _prepared(name))
    if known is not None:
        _add_row(table, known, config)
    console.print(table)


def _add_source(table: Table, source) -> None:
    """What the images say."""
    import numpy as np

    from jaxbench.data.scoring import scoring_of

    table.add_row("address", escape(source.name))
    table.add_row("images", str(len(source)))
    if partial := getattr(source, "partial", None):
        table.add_row("partial", f"{partial[1]} of {partial[0]} images")
    table.add_row("classes", str(len(source.class_names)))
    labels = source.labels[source.labels >= 0]
    if len(labels):
        counts = np.bincount(labels, minlength=len(source.class_names))
        table.add_row("per class", f"{counts.min()} to {counts.max()}")
    table.add_row("first classes", escape(", ".join(_worded(source.class_names[:8]))))
    table.add_row("fingerprint", source.fingerprint)
    if scoring := scoring_of(source):
        table.add_row("scoring", _scoring_words(scoring))


def _worded(names: tuple[str, ...]) -> list[str]:
    """Class names, ImageNet's WordNet ids with their first word."""
    from jaxbench.data.known.imagenet_classes import labels_by_wordnet_id, lemmas

    labels, words = labels_by_wordnet_id(), lemmas()
    return [
        f"{name} ({words[labels[name]].partition(',')[0]})" if name in labels else name
        for name in names
    ]


def _scoring_words(scoring) -> str:
    """Describes how outputs become decisions."""
    if scoring.groups is not None:
        return f"{scoring.num_groups} groups of {(scoring.groups >= 0).sum()} classes"
    words = []
    if scoring.class_mask is not None:
        words.append(f"softmax over {scoring.class_mask.sum()} classes")
    if scoring.label_sets is not None:
        words.append("any of an image's labels is right")
    return f"{'; '.join(words)}, of {scoring.num_outputs}"


def _add_row(table: Table, row: "KnownDataset", config: str) -> None:
    """What is known of a published dataset; of one config where one is named."""
    counts = [
        f"{count:,} ({key})"
        for key, count in row.num_examples.items()
        if not (row.about and "@" in key)
    ]
    if config:
        counts = [f"{row.expected(config, split):,} ({split})" for split in row.splits]
    rows = {
        "what it is": row.description,
        "role": row.role,
        "licence": row.licence,
        "expected images": ", ".join(counts),
    }
    if row.configs and not (row.about or config):
        rows["configs"] = ", ".join(row.configs)
    rows |= {name: text for name, text in row.about.items() if config in ("", name)}
    rows["to be had"] = row.obtain
    rows["--from PATH" if row.by_tfds is None else "how to use"] = row.layout
    rows["reference"] = row.reference
    # Brackets are not markup here.
    for name, text in (rows | dict(row.sources)).items():
        table.add_row(name, escape(text))


def data_prepare(
    name: Annotated[
        str,
        typer.Argument(
            help="A published dataset of `data list`, or what your own will be called."
        ),
    ],
    source: Annotated[
        Path,
        typer.Option(
            "--from",
            help="The official files (see `data info NAME`), or a folder of class "
            "folders or a tar of them.",
        ),
    ],
    split: Annotated[
        list[str] | None,
        typer.Option(help="Of a published dataset; all if not given."),
    ] = None,
    config: Annotated[
        list[str] | None,
        typer.Option(help="Of a published dataset, wildcards allowed; or NAME/CONFIG."),
    ] = None,
    allow_partial: Annotated[
        bool,
        typer.Option(
            "--allow-partial",
            help="Accept another number of images than published; it is recorded.",
        ),
    ] = False,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            help="TFDS data directory; TFDS_DATA_DIR or TFDS's own if not given."
        ),
    ] = None,
) -> None:
    """Write a published dataset, a folder or a tar as ArrayRecord, without TensorFlow.

    Example: [bold]jaxbench data prepare imagenet-r --from imagenet-r.tar[/], then use
    [bold]imagenet-r[/]; or [bold]jaxbench data prepare pets --from PATH/TO/PETS[/],
    then use [bold]tfds:pets[/]
    """
    from jaxbench.data import KNOWN, prepare_dataset, prepare_known

    base, _, named_config = name.partition("/")
    with console.status(f"writing {name}"):
        if base in KNOWN:
            done = prepare_known(
                base,
                KNOWN[base],
                source,
                configs=[*([named_config] if named_config else []), *(config or [])],
                splits=split or (),
                allow_partial=allow_partial,
                data_dir=data_dir,
            )
        else:
            _refuse_options(name, split, config, allow_partial)
            done = [prepare_dataset(source, name, data_dir)]
    for summary in done:
        counts = ", ".join(f"{n:,} of {s}" for s, n in summary.num_examples.items())
        classes = counted(len(summary.class_names), "class", "classes")
        console.print(
            f"{summary.name}: {counts}; {classes}; {summary.path}",
            markup=False,
            soft_wrap=True,
        )


def _refuse_options(
    name: str, split: list[str] | None, config: list[str] | None, allow_partial: bool
) -> None:
    """What only published datasets know is refused for any other name."""
    from jaxbench.data import KNOWN
    from jaxbench.errors import unknown_name

    given = {"--split": split, "--config": config, "--allow-partial": allow_partial}
    problem = ", ".join(option for option, value in given.items() if value)
    if problem or not re.fullmatch("[a-z][a-z0-9_]*", name):
        raise UserError(
            f"{unknown_name('published dataset', name, KNOWN).rstrip('?')}. Or, for "
            "images of your own: a name of lower-case letters, digits and _, beginning "
            "with a letter, without --split, --config and --allow-partial"
            f"{f' (given: {problem})' if problem else ''}"
        )
