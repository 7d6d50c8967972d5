"""Your own parts from one file: swept, killed, resumed and shown."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jaxbench.results import ResultStore

ROOT = Path(__file__).parents[1]
PARTS = "".join(
    re.findall(
        r"```python\n(.*?)```",
        (ROOT / "docs/adding.md").read_text().split("## The tables")[0],
        re.DOTALL,
    )
)
FILE = """
name = "own"
results = "results"
imports = ["my_research"]

[train]
models = ["mixer_micro"]
dataset = "stripes@train"
validation = "stripes@validation"
epochs = 6
batch_size = 32
strategy = "loop"
checkpoint_seconds = 0.0

[train.grid.signum]
learning_rate = [0.001, 0.003]
beta = [0.5, 0.9]

[evaluate]
clean = ["stripes@test"]
shifted = ["stripes@test+invert_3", "stripes@test+my_research:invert_2"]
metrics = ["accuracy", "error_confidence"]
num_resamples = 20
"""


def run(folder, *arguments, **options):
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "JAX_NUM_CPU_DEVICES": "1",
        "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "jaxbench", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finished(process):
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


MISSING = """
from jaxbench.config import load_config
from jaxbench.results import ResultStore
from jaxbench.sweeps import make_plan

planned = set(make_plan(load_config("own.toml")).run_ids())
print(len(planned), len(planned - ResultStore("results").completed()))
"""


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A folder whose sweep was killed after its first checkpoint, and then finished."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "my_research.py").write_text(PARTS)
    (folder / "own.toml").write_text(FILE)
    process = run(folder, "run", "own.toml")
    deadline = time.monotonic() + 240
    while not any(p.name.isdecimal() for p in folder.glob("results/checkpoints/*/*/*")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    code, output = finished(run(folder, "run", "own.toml"))
    assert code == 0, output
    return folder, output


def test_own_parts_are_swept_and_resumed(swept):
    folder, output = swept
    rows = ResultStore(folder / "results").summary().to_pylist()
    trials = [row for row in rows if row["kind"] == "trial"]
    assert {row["optimizer"] for row in rows} == {"signum"}
    assert {row["own_options"] for row in trials} == {"beta=0.5", "beta=0.9"}
    assert len(trials) == 4
    evaluations = [row for row in rows if row["kind"] == "evaluation"]
    assert len(evaluations) == 12
    for row in evaluations:
        if row["accuracy"] < 1:
            low, high = (row[f"error_confidence_{end}"] for end in ("low", "high"))
            assert 0.5 <= low <= row["error_confidence"] <= high <= 1
        for part in ("optimizer signum", "metric error_confidence", "dataset stripes"):
            assert part in row["own_parts"]
    clean, shifted = (
        [r for r in evaluations if r["role"] == k] for k in ("clean", "shifted")
    )
    assert max(r["accuracy"] for r in clean) > 0.8
    assert len({row["dataset"] for row in shifted}) == 2
    assert "signum" in output


def test_own_parts_are_in_table_and_report(swept):
    folder, _ = swept
    code, table = finished(run(folder, "results", "results"))
    assert code == 0
    assert "error_confidence" in table
    code, output = finished(run(folder, "report", "results", "-o", "page.html"))
    assert code == 0, output
    page = (folder / "page.html").read_text()
    for name in ("signum", "error_confidence", "invert_3", "stripes@test"):
        assert name in page
    assert "optimizer signum" in page  # its provenance


@pytest.mark.parametrize(
    ("old", "new", "count"),
    [
        # The rate of every trial, and so all that follows.
        ("optax.trace(decay=beta)", "optax.trace(decay=beta, nesterov=True)", 16),
        # Of the evaluations alone.
        ("return jnp.sum(wrong *", "return 0.5 * jnp.sum(wrong *", 12),
        ("rng.uniform(0.8, 1.0)", "rng.uniform(0.9, 1.0)", 8),
        # A comment elsewhere in the file changes nothing.
        ("import numpy as np", "import numpy as np  # arrays", 0),
    ],
)
def test_a_changed_part_is_done_again(swept, tmp_path, old, new, count):
    folder, _ = swept
    assert old in PARTS
    (tmp_path / "my_research.py").write_text(PARTS.replace(old, new))
    (tmp_path / "own.toml").write_text(FILE)
    (tmp_path / "results").symlink_to(folder / "results")
    done = subprocess.run(
        [sys.executable, "-c", MISSING],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["16", str(count)], done.stderr


def test_parts_are_named_without_being_registered(swept, tmp_path):
    """The four of one module, by `module:name`, on the command line."""
    (tmp_path / "plain.py").write_text(
        "\n".join(line for line in PARTS.splitlines() if "register_" not in line)
    )
    code, output = finished(
        run(
            tmp_path,
            *("sweep", "mixer_micro", "--optimizer", "plain:signum", "--lr", "0.001"),
            *("--train", "plain:stripes@train", "--validation", "plain:stripes@valid"),
            *("--test", "plain:stripes@test", "--epochs", "1", "--resamples", "0"),
            *("--train-batch-size", "32"),
            *("--shifted", "plain:stripes@test+plain:invert_3"),
            *("--metric", "accuracy", "--metric", "plain:error_confidence"),
            *("-o", "results"),
        )
    )
    assert code == 0, output
    rows = ResultStore(tmp_path / "results").summary().to_pylist()
    assert {row["optimizer"] for row in rows} == {"plain:signum"}
    measured = [row for row in rows if row["kind"] == "evaluation"]
    assert {row["dataset"] for row in measured} == {
        "plain:stripes@test",
        "plain:stripes@test+plain:invert_3",
    }
    assert all("plain:error_confidence" in row for row in measured)
