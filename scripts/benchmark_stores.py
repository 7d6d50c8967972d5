"""Processor time and memory of commands on stores of many runs.

    uv run python scripts/benchmark_stores.py --quick
    uv run python scripts/benchmark_stores.py --against ../another-checkout

Made-up stores: trials of a coupling grid with curves of 200 epochs, and models that are
evaluated on several datasets, per-example columns included. Each command runs in a
process of its own, by this checkout and the other one in turn. Prints a Markdown table;
seconds are of the processor, imports included.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxbench.results import ResultStore, Run, run_digest

EPOCHS = 200
_READS = ("completed", "summary", "find", "sql runs", "sql curves")
OPTIMIZERS = tuple(f"optimizer_{number:02}" for number in range(20))


def main() -> None:
    """Prints a row a store and command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="A tenth of the runs.")
    parser.add_argument("--against", type=Path, help="Another checkout, with a .venv.")
    parser.add_argument("--only", action="append", help="Only these rows, by name.")
    parser.add_argument("--folder", type=Path, help="Keep the stores here.")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(_measure(*arguments.measure)))
        return
    checkouts = {"this": Path(sys.executable)}
    if arguments.against:
        checkouts["other"] = arguments.against.absolute() / ".venv/bin/python"
    print("| store | what | " + " | ".join(f"{c}: s, MB" for c in checkouts) + " |")
    print("| --- | --- |" + " ---: |" * len(checkouts), flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = arguments.folder or Path(name)
        for title, (fill, tasks) in _stores(arguments.quick).items():
            wanted = [t for t in tasks if not arguments.only or t in arguments.only]
            if not wanted:
                continue
            path = folder / title.replace(" ", "-").replace(",", "")
            if not path.exists():
                fill(path)
            for task in wanted:
                cells = [_in_a_process(p, task, path) for p in checkouts.values()]
                print(f"| {title} | {task} | " + " | ".join(cells) + " |", flush=True)


def _stores(quick: bool) -> dict[str, tuple[Callable[[Path], None], tuple[str, ...]]]:
    trials = 600 if quick else 6000
    models, images = (25, 10_000) if quick else (100, 50_000)
    many = 100 if quick else 1000
    return {
        f"{trials} trials": (
            lambda path: _fill_trials(path, trials),
            (*_READS, "results", "report", "coupling"),
        ),
        f"{models} models x 3, {images} images": (
            lambda path: _fill_models(path, models, images),
            ("selective", "lottery", "beyond"),
        ),
        f"{many} models x 3, 500 images": (
            lambda path: _fill_models(path, many, 500),
            ("results", "report", "selective", "lottery"),
        ),
    }


def _in_a_process(python: Path, task: str, path: Path) -> str:
    command = [str(python), __file__, "--measure", task, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return f"failed: {done.stderr[-300:]!r}"
    found = json.loads(done.stdout.splitlines()[-1])
    return f"{found['cpu']:.2f}, {found['megabytes']:.0f}"


def _measure(task: str, folder: str) -> dict[str, float]:
    from jaxbench.reports import write_report

    output = Path(folder).with_suffix(".page")
    actions: dict[str, Callable[[], object]] = {
        "completed": lambda: ResultStore(folder).completed(),
        "summary": lambda: ResultStore(folder).summary(),
        "find": lambda: _find(ResultStore(folder)),
        "sql runs": lambda: ResultStore(folder).sql("select count(*) from runs"),
        "sql curves": lambda: ResultStore(folder).sql(
            "select epoch, avg(val_accuracy) from curves group by epoch"
        ),
        "results": lambda: _command("results", folder),
        "report": lambda: write_report(ResultStore(folder), output / "report.html"),
    }
    action = actions.get(task, lambda: _command("study", task, folder))
    output.mkdir(exist_ok=True)
    begun = time.process_time()
    action()
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"cpu": time.process_time() - begun, "megabytes": used.ru_maxrss / 1024}


def _find(store: ResultStore) -> None:
    for run_id in sorted(store.completed())[:100]:
        store.find(run_id[:12])


def _command(*arguments: str) -> None:
    from typer.testing import CliRunner

    from jaxbench.cli.app import app

    done = CliRunner().invoke(app, arguments)
    if done.exit_code:
        raise RuntimeError(done.output)


def _fill_trials(path: Path, count: int) -> None:
    """A grid of backbones, twenty optimizers, five rates and three seeds."""
    store, draw = ResultStore(path, create=True), np.random.default_rng(0)
    for number in range(count):
        rest, optimizer = divmod(number, len(OPTIMIZERS))
        rest, rate = divmod(rest, 5)
        backbone, seed = divmod(rest, 3)
        settings = {
            "model": f"backbone_{backbone:02}",
            "optimizer": OPTIMIZERS[optimizer],
            "learning_rate": 10.0 ** (rate - 4),
            "weight_decay": 0.05,
            "seed": seed,
            "dataset": "cifar10@train",
            "epochs": EPOCHS,
            "steps_per_epoch": 390,
            "num_classes": 10,
            "diverged_step": None,
        }
        curve = np.sort(draw.uniform(0.3, 0.9, EPOCHS))
        run_id = run_digest(settings)
        store.write(
            Run(
                run_id=run_id,
                kind="trial",
                status="ok",
                settings=settings | {"trial_id": run_id},
                metrics={"val_accuracy": float(curve[-1]), "val_nll": 0.4},
                timing={"steps_per_second": 100.0, "train_seconds": 800.0},
                curves={
                    "train_loss": 2 * (1 - curve),
                    "val_accuracy": curve,
                    "val_nll": 1.5 * (1 - curve),
                    "val_ece": draw.uniform(0.01, 0.1, EPOCHS),
                    "seconds": np.arange(1.0, EPOCHS + 1) * 4,
                    "step": np.arange(1.0, EPOCHS + 1) * 390,
                },
            )
        )


def _fill_models(path: Path, models: int, images: int) -> None:
    """Models on a clean, a shifted and an out-of-distribution dataset."""
    store, draw = ResultStore(path, create=True), np.random.default_rng(0)
    ids = np.array(
        [f"val/n{i // 50:08}/ILSVRC2012_val_{i:08}.JPEG" for i in range(images)]
    )
    labels = np.arange(images) // 50
    hardness = draw.normal(size=images)
    for number in range(models):
        skill = 1 + number / models
        for role in ("clean", "shifted", "ood"):
            settings = {
                "model": f"model_{number:04}",
                "weights": "a" if number % 8 else f"distilled_{number}",
                "dataset": f"{role}@test",
                "role": role,
                "num_examples": images,
                "num_parameters": 5_000_000 + 10_000 * number,
                "num_classes": 1000,
                "image_size": 224,
                "num_skipped": 0,
                "num_nonfinite": 0,
            }
            store.write(_evaluation(settings, ids, labels, skill - hardness, draw))


def _evaluation(
    settings: dict, ids: np.ndarray, labels: np.ndarray, margin: np.ndarray, draw
) -> Run:
    """Columns that have the strength of real ones: correct where the margin is high."""
    noisy = margin + draw.normal(size=len(ids))
    correct = noisy > 0
    confidence = (1 / (1 + np.exp(-np.abs(noisy) - 0.1))).astype(np.float32)
    accuracy = float(correct.mean())
    metrics = {
        "accuracy": accuracy,
        "ece": 0.03,
        "nll": 1 - accuracy,
        "auroc": 0.85,
        "aurc": 0.1 * (1 - accuracy),
        "overconfidence": float(confidence.mean() - accuracy),
        "coverage_at_99_accuracy": accuracy / 2,
    }
    if settings["role"] == "ood":
        metrics = {"ood_auroc_max_softmax": 0.8, "ood_fpr_at_95_tpr_energy": 0.5}
    metrics |= {f"{n}_low": v - 0.01 for n, v in metrics.items()} | {
        f"{n}_high": v + 0.01 for n, v in metrics.items()
    }
    columns = {"id": ids, "label": labels.astype(np.int32), "correct": correct}
    columns |= {"prediction": np.where(correct, labels, labels + 1).astype(np.int32)}
    columns |= {"confidence": confidence}
    columns |= {"log_one_minus_confidence": np.log1p(-0.9999 * confidence)}
    columns |= {"nll": (-np.log(confidence)).astype(np.float32)}
    columns |= {"finite": np.ones(len(ids), bool)}
    return Run(
        run_id=run_digest(settings),
        kind="evaluation",
        status="ok",
        settings=settings,
        metrics=metrics,
        timing={"images_per_second": 1000.0},
        examples=columns,
    )


if __name__ == "__main__":
    main()
