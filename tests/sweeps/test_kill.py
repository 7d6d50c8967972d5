"""SIGKILL at any moment, and two processes at once: nothing lost, nothing doubled."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from jaxbench.results import ResultStore
from jaxbench.sweeps import make_plan
from tests.sweeps.experiment import as_toml, experiment

ROOT = Path(__file__).parents[2]


def start(config: Path, cache: Path) -> subprocess.Popen:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        # One device: several would choose another strategy than the one under test.
        "JAX_NUM_CPU_DEVICES": "1",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "jaxbench", "run", str(config)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def sweep_of_two(results: Path):
    """With BatchNorm, and a checkpoint after every epoch."""
    train = experiment(results).train[0].model_dump(mode="json")
    train |= {"models": ["resnet_micro"], "epochs": 6, "checkpoint_seconds": 0.0}
    return experiment(results, train=train)


def write(folder: Path, name: str) -> tuple[Path, Path]:
    results, path = folder / name, folder / f"{name}.toml"
    path.write_text(as_toml(sweep_of_two(results)))
    return path, results


def wait_for(results: Path, parts: int | None, process: subprocess.Popen) -> None:
    """Returns once this many parts, or for None a checkpoint, are on disk."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        saved = [p for p in results.glob("checkpoints/*/*/*") if p.name.isdecimal()]
        written = len(list((results / "runs").glob("*.parquet")))
        if saved if parts is None else written >= parts:
            return
        time.sleep(0.005)
    raise AssertionError(f"no {parts} parts: {process.communicate()[0]}")


def assert_complete_and_equal(results: Path, expected: Path) -> None:
    store, twin = ResultStore(results), ResultStore(expected)
    ids = set(make_plan(sweep_of_two(results)).run_ids())
    assert store.completed() == twin.completed() == ids
    assert store.summary().num_rows == len(ids)
    assert not store.problems
    for run_id in ids:
        one, other = store.read(run_id), twin.read(run_id)
        assert one.metrics.keys() == other.metrics.keys()
        for name, value in one.metrics.items():
            np.testing.assert_array_equal(value, other.metrics[name], err_msg=name)
        for name, column in one.examples.items():
            np.testing.assert_array_equal(column, other.examples[name], err_msg=name)
        # Times are measured, not computed.
        for name in one.curves.keys() - {"seconds"}:
            curve = one.curves[name]
            np.testing.assert_array_equal(curve, other.curves[name], err_msg=name)


def test_killed_at_random_and_by_two_at_once(tmp_path):
    cache = tmp_path / "cache"
    config, expected = write(tmp_path, "whole")
    whole = start(config, cache)
    output, _ = whole.communicate(timeout=300)
    assert whole.returncode == 0, output

    config, results = write(tmp_path, "killed")
    draw = random.Random(0)
    # While the first population trains, with epochs behind it and epochs to come;
    # then twice at a random number of parts.
    for parts in (None, draw.randint(1, 4), draw.randint(6, 10)):
        process = start(config, cache)
        wait_for(results, parts, process)
        time.sleep(draw.uniform(0.0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "it ended before it was killed"
        if parts is None:
            assert not list((results / "runs").glob("*.parquet"))
    assert 0 < len(ResultStore(results).completed()) < 12

    # Two processes finish it together.
    pair = [start(config, cache), start(config, cache)]
    outputs = [process.communicate(timeout=300)[0] for process in pair]
    assert [process.returncode for process in pair] == [0, 0], outputs
    assert_complete_and_equal(results, expected)
