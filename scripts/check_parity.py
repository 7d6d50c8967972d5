"""Compares every listed architecture with timm's at full size, on random weights.

    python scripts/check_parity.py                        # what is new or has changed
    python scripts/check_parity.py --family resnet --names 'resnet50*'
    python scripts/check_parity.py --table docs/parity.md # only writes the table

Run where torch and timm are installed beside the project. For each architecture timm's
model is built at its own image size, its norms, biases, scales and statistics are
given random values (statistics near those of its maps), its state dict is converted,
and both classify a random image.
Logits must agree to 1e-4 of the largest, parameters exactly, multiply-accumulates to
0.5 %. Every result is kept as one line of a file, so that a run that was cut goes on
where it stopped; one whose family's files have changed since is measured again.
"""

# torch and timm are not dependencies of the project.
# pyright: reportMissingImports=false

import argparse
import fnmatch
import gc
import hashlib
import json
import platform
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
import originals
import timm
import torch

import model_zoo
from model_zoo import registry
from model_zoo.catalog import create_model
from model_zoo.counting import count_macs
from model_zoo.weights.rules import convert

ROOT = Path(__file__).parent.parent
LOGITS, MACS = 1e-4, 5e-3
# Parameters above which a model waits on disk while its conversion is in memory.
HUGE = 1e9
# One forward pass: compiling takes longer than running, the less optimised the less.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def digest(entry: registry.ArchitectureEntry) -> str:
    """What a result depends on: the family's files and the variant's arguments."""
    folder = Path(model_zoo.__file__).parent
    files = sorted(folder.glob(f"*/{entry.family}*.py"))
    found = hashlib.blake2b(b"3", digest_size=8)  # how this script measures
    for path in files:
        found.update(path.read_bytes())
    found.update(json.dumps(entry.arguments, sort_keys=True).encode())
    return found.hexdigest()


def compare(name: str) -> dict:
    """Builds both, converts, classifies one image with each."""
    entry = registry.architectures()[name]
    started = time.perf_counter()
    torch.manual_seed(0)
    original = originals.build(name)
    model = original.model
    originals.randomise(model)
    size = tuple(model.pretrained_cfg["input_size"][1:])
    originals.settle(model, size)
    images = np.random.default_rng(0).normal(size=(1, *size, 3)).astype(np.float32)
    with torch.inference_mode():
        batch = torch.as_tensor(images).permute(0, 3, 1, 2).contiguous()
        wanted = model(batch).numpy()
    classifier = create_model(name, num_classes=model.num_classes)
    parameters = sum(p.numel() for p in model.parameters())
    with tempfile.TemporaryDirectory() as folder:
        state = model.state_dict()
        if parameters > HUGE:
            torch.save(state, Path(folder) / "state.pt")
            del model, original, state
            gc.collect()
            state = torch.load(Path(folder) / "state.pt", mmap=True, weights_only=True)
        tensors = {k: v.detach().numpy() for k, v in state.items()}
        variables = convert(tensors, classifier, entry.rules())
        model = original = state = tensors = None
        gc.collect()
    for leaf in list(variables):
        variables[leaf] = jax.device_put(variables[leaf])
    lowered = jax.jit(classifier.apply).lower(classifier.shapes, images)
    outputs = lowered.compile(compiler_options=QUICK)(variables, images)
    # A backbone without a head: its features are what timm gives.
    got = outputs.logits if wanted.shape == outputs.logits.shape else outputs.features
    error = np.abs(np.asarray(got) - wanted).max() / np.abs(wanted).max()
    return {
        "name": name,
        "family": entry.family,
        "digest": digest(entry),
        "size": list(size),
        "num_parameters": classifier.num_parameters,
        "timm_num_parameters": parameters,
        "num_macs": count_macs(classifier),
        "timm_num_macs": entry.num_macs,
        "logits_error": float(error),
        "logits_spread": float(wanted.std()),
        "seconds": round(time.perf_counter() - started, 1),
    }


def problem(row: dict) -> str | None:
    """Why a result fails, None if it passes."""
    if "error" in row:
        return row["error"]
    problems = []
    if not row["logits_error"] <= LOGITS:
        problems.append(f"logits differ by {row['logits_error']:.1e}, wanted {LOGITS}")
    if row["num_parameters"] != row["timm_num_parameters"]:
        counts = row["num_parameters"], row["timm_num_parameters"]
        problems.append("{:,} parameters, timm has {:,}".format(*counts))
    if abs(row["num_macs"] / row["timm_num_macs"] - 1) > MACS:
        counts = row["num_macs"], row["timm_num_macs"]
        problems.append("{:,} multiply-accumulates, timm has {:,}".format(*counts))
    return "; ".join(problems) or None


def read(path: Path) -> dict[str, dict]:
    """The newest result of each architecture."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {row["name"]: row for row in map(json.loads, lines)}


def run(names: list[str], output: Path) -> int:
    """Compares, keeps and prints; returns the number that failed."""
    failures = 0
    for name in names:
        try:
            row = compare(name)
        except Exception as error:  # the others are still worth knowing
            entry = registry.architectures()[name]
            text = f"{type(error).__name__}: {str(error)[:500]}"
            row = {"name": name, "family": entry.family, "error": text}
        with output.open("a") as file:
            file.write(json.dumps(row) + "\n")
        wrong = problem(row)
        failures += wrong is not None
        measured = f"{row.get('logits_error', float('nan')):.1e}"
        print(
            f"{'FAIL' if wrong else 'pass'} {name} {measured} {wrong or ''}", flush=True
        )
        jax.clear_caches()
    return failures


def table(rows: dict[str, dict]) -> str:
    """The results as a page."""
    theirs = set(originals.names())
    entries = {n: e for n, e in registry.architectures().items() if n in theirs}
    rows = {  # what has changed since is not measured
        n: row
        for n, row in rows.items()
        if n in entries and ("error" in row or row["digest"] == digest(entries[n]))
    }
    checkpoints = registry.checkpoints().values()
    passed = {n for n, row in rows.items() if not problem(row)}
    missing = sorted(entries.keys() - rows.keys())
    failed = sorted((rows.keys() & entries.keys()) - passed)
    covered = sum(c.architecture in passed for c in checkpoints)
    worst = max((rows[n]["logits_error"] for n in passed), default=0.0)
    lines = [
        "# Parity with timm",
        "",
        "Written by `scripts/check_parity.py`; how it measures is said there.",
        "",
        f"**{len(passed)} of {len(entries)} architectures** that timm has too give "
        f"timm's logits (largest difference {worst:.1e} of the largest logit), its "
        f"parameters exactly and its multiply-accumulates to {MACS:.1%}; "
        f"**{covered} of {len(checkpoints)} checkpoints** are of these.",
        "",
        f"timm {timm.__version__}, torch {torch.__version__}, jax {jax.__version__}, "
        f"Python {platform.python_version()}, {platform.machine()}.",
        "",
    ]
    if missing:
        lines += [f"Not measured: {', '.join(missing)}.", ""]
    if failed:
        lines += [f"Failed: {', '.join(failed)}.", ""]
    tags: dict[str, int] = {}
    for checkpoint in checkpoints:
        tags[checkpoint.architecture] = tags.get(checkpoint.architecture, 0) + 1
    for family in sorted({rows[n]["family"] for n in passed}):
        mine = sorted(n for n in passed if rows[n]["family"] == family)
        lines += [
            f"## {family} ({len(mine)})",
            "",
            "| architecture | size | parameters (M) | GMACs | logits differ by | "
            "checkpoints |",
            "| --- | ---: | ---: | ---: | ---: | ---: |",
        ]
        for name in mine:
            row = rows[name]
            lines.append(
                f"| {name} | {row['size'][0]} | {row['num_parameters'] / 1e6:.2f} | "
                f"{row['num_macs'] / 1e9:.2f} | {row['logits_error']:.1e} | "
                f"{tags.get(name, 0)} |"
            )
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Reads the arguments, compares what is asked for, ends with 1 if any failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--family", action="append", help="only these families")
    parser.add_argument("--names", default="*", help="only names of this pattern")
    parser.add_argument("--largest", type=float, default=2e10, help="parameters")
    parser.add_argument("--again", action="store_true", help="measure all again")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "parity.jsonl")
    parser.add_argument("--table", type=Path, help="write the page and stop")
    options = parser.parse_args()
    options.output.parent.mkdir(exist_ok=True)
    known = read(options.output)
    if options.table:
        options.table.write_text(table(known))
        return
    theirs = set(originals.names())
    entries = [
        e
        for e in registry.architectures().values()
        if e.name in theirs
        and (e.num_parameters or 0) <= options.largest
        and fnmatch.fnmatchcase(e.name, options.names)
        and (not options.family or e.family in options.family)
    ]
    waiting = [
        e.name
        for e in sorted(entries, key=lambda e: (e.num_macs or 0, e.name))
        if options.again
        or e.name not in known
        or problem(known[e.name])
        or known[e.name].get("digest") != digest(e)
    ]
    print(f"{len(entries)} architectures, {len(waiting)} to measure", flush=True)
    raise SystemExit(1 if run(waiting, options.output) else 0)


if __name__ == "__main__":
    main()
