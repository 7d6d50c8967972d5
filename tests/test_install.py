"""The metrics installed alone: they train a model, and the rest says what it needs."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
UV = os.environ.get("UV") or shutil.which("uv") or "uv"
LOOP = """
import sys
import jax
from jaxbench.metrics import ClassificationState, negative_log_likelihood

@jax.jit
def train_step(weights, state, images, labels):
    def loss(weights):
        logits = images @ weights
        return negative_log_likelihood(logits, labels), logits

    gradient, logits = jax.grad(loss, has_aux=True)(weights)
    return weights - gradient, state.update_from_logits(logits, labels)

weights, state = jax.numpy.zeros((5, 3)), ClassificationState.empty(num_classes=3)
for batch in jax.random.normal(jax.random.key(0), (40, 32, 5)):
    weights, state = train_step(weights, state, batch, batch[:, :3].argmax(axis=1))
found = state.compute()
assert 0.8 < found["accuracy"] < 1 and found["nll"] < 0.6, found
assert not {"flax", "PIL", "pyarrow"} & set(sys.modules)
"""
CPU = """
import resource, sys
def spent():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
import jax
before = spent()
import jaxbench.metrics
print(spent() - before)
"""


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """The Python of a new environment with the wheel and what it depends on."""
    folder = tmp_path_factory.mktemp("bare")
    commands = (
        ("build", "--quiet", "--wheel", "--out-dir", folder / "dist"),
        ("venv", "--quiet", folder / "env"),
        ("pip", "install", "--quiet", "--python", folder / "env"),
    )
    for command in commands:
        wheels = sorted((folder / "dist").glob("*.whl")) if "pip" in command else []
        # In the project's folder, whose pins keep the packages those of the tests.
        subprocess.run([UV, *command, *wheels], check=True, cwd=ROOT)
    return folder / "env/bin/python"


def run(python, *arguments, cwd):
    return subprocess.run(
        [python, *arguments], capture_output=True, text=True, cwd=cwd, timeout=300
    )


def test_a_training_loop(bare, tmp_path):
    done = run(bare, "-c", LOOP, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_metrics_add_little_to_jax(bare, tmp_path):
    runs = [run(bare, "-c", CPU, cwd=tmp_path) for _ in range(3)]
    assert min(float(done.stdout) for done in runs) < 0.3


@pytest.mark.parametrize(
    ("code", "extra"),
    [
        ("import jaxbench; jaxbench.evaluate", "run"),
        ("import jaxbench; jaxbench.sweep", "run"),
        ("from jaxbench import open_dataset", "run"),
        ("from model_zoo import create_model", "zoo"),
    ],
)
def test_names_that_need_more_say_what_to_install(bare, tmp_path, code, extra):
    done = run(bare, "-c", code, cwd=tmp_path)
    assert done.returncode != 0
    assert f"pip install 'jaxbench[{extra}]'" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("command", [["-m", "jaxbench", "models"], None])
def test_the_command_says_what_to_install(bare, tmp_path, command):
    script = bare.with_name("jaxbench")
    done = (
        run(bare, *command, cwd=tmp_path)
        if command
        else run(script, "--version", cwd=tmp_path)
    )
    assert done.returncode == 1
    assert "pip install 'jaxbench[run]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
