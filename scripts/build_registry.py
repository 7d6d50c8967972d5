"""Writes the zoo's data files from timm's registry: facts, no code.

    python scripts/build_registry.py --results results-imagenet.csv --coverage table.csv

Run where torch and timm are installed beside the project. Every architecture that a
family's `arguments_from_timm` understands is listed with its arguments, parameters and
multiply-accumulates (counted by torch on timm's own module, without allocating it),
and every checkpoint of it with its input, licence, place and published top-1. What is
refused is printed with the reason.
"""

# torch and timm are not dependencies of the project.
# pyright: reportMissingImports=false

import argparse
import contextlib
import csv
import dataclasses
import fcntl
import fnmatch
import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import originals
import timm
import torch
from timm.models import _registry
from torch.utils.flop_counter import FlopCounterMode

from model_zoo.input_spec import InputSpec
from model_zoo.weights.rules import Unsupported

HOME = Path(__file__).parent.parent / "model_zoo" / "registry"
_DEFAULTS = dataclasses.asdict(InputSpec())


def architecture_row(name: str) -> dict:
    """One architecture: arguments for the family here, and timm's counts.

    Raises:
        Unsupported: If the family lacks an option of it.
    """
    family = originals.family_of(name)
    rules = importlib.import_module(f"model_zoo.weights.{family}")
    timm.layers.set_fused_attn(False)
    with torch.device("meta"):
        found = originals.build(name)
    arguments = rules.arguments_from_timm(found.variant, dict(found.keywords))
    config = found.model.pretrained_cfg
    size = config["input_size"]
    # The counter's hooks stumble over parameters that are inputs of a module.
    found.model.requires_grad_(False)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        found.model(torch.zeros(1, *size, device="meta"))
    default = timm.get_pretrained_cfg(name)
    row = {
        "family": family,
        "arguments": arguments,
        "input": input_row(config),
        "num_parameters": sum(p.numel() for p in _at_1000(name, found).parameters()),
        "num_macs": counter.get_total_flops() // 2,
        "default_tag": default.tag if default and default.has_weights else None,
    }
    return {k: v for k, v in row.items() if v not in ({}, None)}


def _at_1000(name: str, found: originals.Original) -> torch.nn.Module:
    if found.model.num_classes == 1000:
        return found.model
    with torch.device("meta"):
        return originals.build(name, num_classes=1000).model


def input_row(config: dict) -> dict:
    """What an input has other than the defaults."""
    values = {
        "size": tuple(config["input_size"][1:]),
        "crop_fraction": config["crop_pct"],
        "crop_mode": config["crop_mode"] or "center",
        "interpolation": config["interpolation"],
        "mean": tuple(config["mean"]),
        "std": tuple(config["std"]),
    }
    return {k: v for k, v in values.items() if v != _DEFAULTS[k]}


def checkpoint_row(
    name: str, top_1: dict[tuple[str, int], float], studied: set[str]
) -> dict:
    """One checkpoint: where it is, what it wants, what it reached at its test size."""
    config = _registry._model_pretrained_cfgs[name].to_dict()
    tested = config.get("test_input_size") or config["input_size"]
    repository = (config.get("hf_hub_id") or "").removeprefix("hf-hub:")
    row = {
        "repository": repository if repository != f"timm/{name}" else None,
        "file": config.get("hf_hub_filename") or None,
        "url": config.get("url") or None,
        "num_classes": config["num_classes"] if config["num_classes"] != 1000 else None,
        "input": input_row(config) or None,
        "test_size": config["test_input_size"][1:]
        if config.get("test_input_size")
        else None,
        "test_crop_fraction": config.get("test_crop_pct"),
        "licence": config.get("license") or None,
        "top_1_accuracy": top_1.get((name, tested[1])),
        "in_selective_study": name in studied or None,
    }
    return {k: v for k, v in row.items() if v is not None}


def published_top_1(path: Path) -> dict[tuple[str, int], float]:
    """Published top-1 of each checkpoint and image size, as a fraction."""
    with path.open(newline="") as file:
        return {
            (row["model"], int(row["img_size"])): round(float(row["top1"]) / 100, 5)
            for row in csv.DictReader(file)
        }


def coverage_rows(path: Path) -> list[dict[str, str]]:
    """The list that coverage is measured against."""
    with path.open(newline="") as file:
        return [
            {
                "checkpoint": row["model"] or row["legacy_name"],
                "family": row["timm_file"].removesuffix(".py"),
                "in_selective_study": row["in_523"],
                "in_timm_results": row["in_timm_results"],
            }
            for row in csv.DictReader(file)
        ]


def main() -> None:
    """Reads the arguments, writes the files, prints what is refused."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--family", help="only this family; the others' rows stay")
    parser.add_argument("--names", default="*", help="only these, as a pattern")
    parser.add_argument("--dry-run", action="store_true", help="print, write nothing")
    parser.add_argument("--results", type=Path, help="timm's results-imagenet.csv")
    parser.add_argument("--coverage", type=Path, help="table of all checkpoints")
    options = parser.parse_args()
    if not options.dry_run and not (options.results and options.coverage):
        parser.error("--results and --coverage are needed to write the files")
    selected = fnmatch.filter(originals.names(options.family), options.names)
    architectures, refused = read_architectures(selected)
    for name, reason in refused.items():
        print(f"refused {name}: {reason}", file=sys.stderr)
    print(f"{len(architectures)} architectures, {len(refused)} refused")
    if options.dry_run:
        for name, row in architectures.items():
            print(name, json.dumps(row))
        return
    listed = coverage_rows(options.coverage)
    studied = {r["checkpoint"] for r in listed if r["in_selective_study"] != "no"}
    top_1 = published_top_1(options.results)
    with alone(HOME / "timm.json"):
        architectures |= other_rows(selected)
        checkpoints = {
            name: checkpoint_row(name, top_1, studied)
            for name in timm.list_pretrained()
            if name.partition(".")[0] in architectures
        }
        write(HOME / "timm.json", architectures, checkpoints)
    with (HOME / "coverage.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, listed[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(listed)


def read_architectures(names: list[str]) -> tuple[dict, dict]:
    """Rows by name, and the reason of each that is refused."""
    architectures, refused = {}, {}
    for name in names:
        try:
            architectures[name] = architecture_row(name)
        except (Unsupported, ImportError) as error:
            refused[name] = str(error)
        except Exception as error:  # one broken original must not lose the others
            refused[name] = f"{type(error).__name__}: {error}"
    return architectures, refused


def other_rows(selected: list[str]) -> dict:
    """The rows that a run for some architectures leaves as they are."""
    rows = json.loads((HOME / "timm.json").read_text())["architectures"]
    known = set(originals.names())
    return {k: v for k, v in rows.items() if k in known and k not in selected}


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Waits for other runs that change the same file."""
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write(path: Path, architectures: dict, checkpoints: dict) -> None:
    """One row a line, so that a change shows as the rows it touches."""
    sections = []
    for title, rows in (("architectures", architectures), ("checkpoints", checkpoints)):
        lines = (f"{json.dumps(k)}: {json.dumps(v)}" for k, v in sorted(rows.items()))
        sections.append(f"{json.dumps(title)}: {{\n" + ",\n".join(lines) + "\n}")
    note = json.dumps(f"generated from timm {timm.__version__}; do not edit")
    path.write_text(f'{{"note": {note},\n' + ",\n".join(sections) + "}\n")


if __name__ == "__main__":
    main()
