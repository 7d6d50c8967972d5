"""Size of pages, and the time to write, open and work with them.

    uv run python scripts/benchmark_reports.py --against ../another-checkout

Three pages of made-up numbers: a page of 700 models x 20 metrics with intervals, the
report on a store of 1,000 models on three datasets, and that on a store like the
quickstart's. Each is written in a process of its own, by this checkout and the other
one in turn, and the least of the repetitions counts. Times in the page need Chromium
and Playwright, which come with the development environment.
"""

import argparse
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from jaxbench.reports import write_report
from jaxbench.reports.cells import Column, Table, interval_cell, text_cell
from jaxbench.reports.page import Curves, Page, Point, Scatter, Section
from jaxbench.results import ResultStore, Run, run_digest

METRICS = (
    *("accuracy", "top_5_accuracy", "balanced_accuracy", "nll", "brier", "ece"),
    *("mean_confidence", "overconfidence", "mce", "ece_equal_mass", "ece_debiased"),
    *("smooth_ece", "brier_resolution", "auroc", "aurc", "excess_aurc", "augrc"),
    *("coverage_at_95_accuracy", "coverage_at_99_accuracy", "risk_at_80_coverage"),
)
PAGES = ("models-700", "store-1000", "quickstart")
# Until the last change of the picture after a choice, in milliseconds.
_CHANGE = """async () => {
  const figure = document.querySelector('figure[data-kind="scatter"]');
  if (!figure) return null;
  const times = [];
  for (const index of [4, 5, 6]) {
    let last = performance.now();
    const start = last;
    const observer = new MutationObserver(() => { last = performance.now(); });
    observer.observe(figure, {subtree: true, childList: true, attributes: true});
    const choice = figure.querySelector('select');
    choice.selectedIndex = index;
    choice.dispatchEvent(new Event('change', {bubbles: true}));
    await new Promise((done) => setTimeout(done, 700));
    observer.disconnect();
    times.push(last - start);
  }
  return Math.min(...times);
}"""
_DRAWN = "() => document.querySelector('figure svg path') && performance.now()"


def main():
    """Prints a line a page and checkout."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--against", type=Path, help="Another checkout, with a .venv.")
    parser.add_argument("--repeat", type=int, default=3, help="Times each is written.")
    parser.add_argument("--page", choices=PAGES, action="append", help="Only these.")
    parser.add_argument("--write", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        print(json.dumps(_write(*arguments.write)))
        return
    checkouts = {"this": Path(sys.executable)}
    if arguments.against:
        checkouts["other"] = arguments.against.absolute() / ".venv/bin/python"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"{'page':<12}{'checkout':<10}{'MB':>7}{'CPU s':>8}{'wall s':>8}", end="")
        print(f"{'drawn ms':>10}{'axis ms':>9}")
        for page in arguments.page or PAGES:
            _compare(page, folder, checkouts, arguments.repeat)


def _compare(page: str, folder: Path, checkouts: dict[str, Path], repeat: int) -> None:
    store = folder / page
    if page != "models-700":
        _fill(store, page)
    runs: dict[str, list[dict]] = {name: [] for name in checkouts}
    for _ in range(repeat):
        # In turn, so that a busy minute of the machine slows both alike.
        for name, python in checkouts.items():
            output = folder / f"{page}-{name}.html"
            command = [python, __file__, "--write", page, store, output]
            found = subprocess.run(
                list(map(str, command)), capture_output=True, text=True, check=False
            )
            if found.returncode:
                sys.exit(f"{name}, {page}:\n{found.stderr}")
            runs[name].append(json.loads(found.stdout.splitlines()[-1]))
    for name, times in runs.items():
        output = folder / f"{page}-{name}.html"
        cpu, wall = (min(run[key] for run in times) for key in ("cpu", "wall"))
        drawn, change = ("-" if t is None else f"{t:.0f}" for t in _open(output))
        size = output.stat().st_size / 1e6
        print(f"{page:<12}{name:<10}{size:>7.2f}{cpu:>8.2f}{wall:>8.2f}", end="")
        print(f"{drawn:>10}{change:>9}", flush=True)


def _write(page: str, store: str, output: str) -> dict[str, float]:
    """Writes one page with the checkout of this interpreter; imports do not count."""
    write = _find_writer()
    made = _models_page() if page == "models-700" else None
    cpu, wall = time.process_time(), time.perf_counter()
    if made is None:
        write_report(ResultStore(store), output)
    else:
        write(made, output)
    return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


def _find_writer():
    """`write_page`, wherever the checkout has it."""
    reports = Path(importlib.import_module("jaxbench.reports").__file__ or "").parent
    name = "study_page" if (reports / "study_page.py").exists() else "writing"
    return importlib.import_module(f"jaxbench.reports.{name}").write_page


def _models_page():
    """700 models x 20 metrics: a scatter, the curves of twelve models and a table."""
    values = np.random.default_rng(0).random((700, len(METRICS)))
    labels = [f"model_{number:03}" for number in range(700)]
    points, rows = [], []
    for number, (label, row) in enumerate(zip(labels, values.tolist(), strict=True)):
        ends = [(v, 0.98 * v, 1.02 * v) for v in row]
        family = {"family": f"family {number % 12}"}
        points.append(Point(label, dict(zip(METRICS, ends, strict=True)), family))
        rows.append((text_cell(label), *(interval_cell(*end) for end in ends)))
    coverage = np.linspace(0.005, 1, 200)
    lines = {
        label: (coverage.tolist(), (value * coverage**2).tolist())
        for label, value in zip(labels[:12], values[:12, 0], strict=True)
    }
    columns = (Column("Model"), *(Column(name, True) for name in METRICS))
    scatter = Scatter("models", tuple(points), METRICS[0], METRICS[5], "family")
    curves = Curves("risk", lines, "Coverage", "Error rate", kind="risk")
    sections = (
        Section("compared", "Models", "", charts=(scatter,)),
        Section("curves", "Risk and coverage", "", charts=(curves,)),
        Section("table", "Table", "", Table(columns, tuple(rows))),
    )
    return Page("beyond", "700 models", "Which?", "", (), (), sections)


def _fill(path: Path, page: str) -> None:
    """Writes a store of made-up runs."""
    store = ResultStore(path, create=True)
    rng = np.random.default_rng(0)
    if page == "store-1000":
        for number in range(1000):
            for dataset in ("a@test", "b@test", "c@test"):
                settings = {"model": f"model_{number:03}", "dataset": dataset}
                store.write(_evaluation(settings, "clean", rng, 500))
        return
    shifted = [
        f"digits-c/{n}_{s}" for n in ("noise", "blur", "contrast") for s in "135"
    ]
    for model in ("resnet_micro", "vit_micro", "convnext_micro"):
        for number in range(6):
            optimizer = ("sgd", "adamw", "lion")[number // 2]
            settings = {"model": model, "optimizer": optimizer, "seed": 0}
            settings |= {"learning_rate": 0.1 / (1 + number), "weight_decay": 0.1}
            trial = _trial(settings, rng)
            store.write(trial)
            settings |= {"trial_id": trial.run_id}
            for dataset in ("digits@test", *shifted, "digits-ood"):
                role = "shifted" if dataset in shifted else "clean"
                role = "ood" if dataset == "digits-ood" else role
                store.write(
                    _evaluation(settings | {"dataset": dataset}, role, rng, 360)
                )


def _evaluation(settings: dict, role: str, rng: np.random.Generator, n: int):
    settings = settings | {"role": role, "num_examples": n, "num_parameters": 25_000}
    settings |= {"num_skipped": 0, "num_nonfinite": 0}
    names = METRICS if role != "ood" else ("ood_auroc_energy", "ood_auroc_max_softmax")
    values = rng.uniform(0.5, 0.99, len(names)).tolist()
    metrics = dict(zip(names, values, strict=True))
    metrics |= {f"{n}_low": 0.98 * v for n, v in list(metrics.items())}
    metrics |= {f"{n}_high": 1.01 * metrics[n] for n in names}
    confidence = rng.uniform(0.1, 1, n).astype(np.float32)
    return Run(
        run_id=run_digest(settings),
        kind="evaluation",
        status="ok",
        settings=settings,
        metrics=metrics,
        timing={"images_per_second": 1000.0},
        examples={
            "id": np.array([f"{number:05}" for number in range(n)]),
            "confidence": confidence,
            "log_one_minus_confidence": np.log1p(-0.999 * confidence),
            "correct": rng.random(n) < confidence,
        },
    )


def _trial(settings: dict, rng: np.random.Generator):
    settings = settings | {"dataset": "digits@train", "epochs": 10, "num_classes": 10}
    settings |= {"steps_per_epoch": 20, "diverged_step": None}
    accuracy = np.sort(rng.uniform(0.3, 0.99, 10))
    run_id = run_digest(settings)
    return Run(
        run_id=run_id,
        kind="trial",
        status="ok",
        settings=settings | {"trial_id": run_id},
        metrics={"val_accuracy": float(accuracy[-1]), "val_nll": 0.4},
        timing={"steps_per_second": 100.0, "train_seconds": 10.0},
        curves={
            "train_loss": 1 - accuracy,
            "val_accuracy": accuracy,
            "seconds": np.arange(1.0, 11.0),
            "step": np.arange(1.0, 11.0) * 20,
        },
    )


def _open(path: Path) -> tuple[float | None, float | None]:
    """Milliseconds to the first drawn chart and of a change of axis; None without."""
    browsers = [p for n in ("chromium", "google-chrome") if (p := shutil.which(n))]
    if not browsers or importlib.util.find_spec("playwright") is None:
        return None, None
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browsers[0])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(path.as_uri(), wait_until="commit")
        drawn = page.wait_for_function(_DRAWN, polling=5, timeout=60_000).json_value()
        page.wait_for_load_state("load")
        change = page.evaluate(_CHANGE)
        browser.close()
    return drawn, change


if __name__ == "__main__":
    main()
