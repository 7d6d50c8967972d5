"""The loops of docs/training_loops.md run, on eight devices, and compile once."""

import re
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.metrics.compilations import count_compilations

PAGE = Path(__file__).parents[2] / "docs" / "training_loops.md"
BLOCK = re.compile(r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", re.DOTALL)
DATA, *LOOPS = BLOCK.findall(PAGE.read_text())
NAMES = ("nnx", "linen", "equinox", "padding")
NUMBER = re.compile(r"\d+\.\d+")


@pytest.fixture(scope="module")
def ran():
    """Runs a loop after the data, as a reader would put them into a file.

    Returns its names, what it printed and what was compiled.
    """

    def run(loop, capsys):
        names = {}
        # As users have it: optax.adam raises a float to an integer's power.
        with (
            jax.numpy_dtype_promotion("standard"),
            jax.numpy_rank_promotion("allow"),
            count_compilations() as compiled,
        ):
            exec(DATA[0], names)
            exec(loop, names)
        return names, capsys.readouterr().out, compiled

    return run


@pytest.mark.parametrize(
    ("name", "loop"), list(zip(NAMES, LOOPS, strict=True)), ids=NAMES
)
def test_loop_prints_what_the_page_shows(name, loop, ran, capsys):
    code, shown = loop
    names, printed, compiled = ran(code, capsys)
    assert jax.device_count() == 8
    assert NUMBER.sub("_", printed) == NUMBER.sub("_", shown)
    # Initial values differ between versions of the libraries.
    found, expected = (
        np.array(NUMBER.findall(text), float) for text in (printed, shown)
    )
    np.testing.assert_allclose(found, expected, atol=0.06)
    for function in {"epoch", "measure", "score"} & names.keys():
        assert compiled[f"jit({function})"] == 1, function


def test_streamed_and_exact_values_agree(ran, capsys):
    """The Equinox loop keeps columns: a state of the same batches says the same."""
    names, *_ = ran(LOOPS[NAMES.index("equinox")][0], capsys)
    m, scores = names["m"], names["scores"]
    assert int(scores.mask.sum()) == 500
    state = m.ClassificationState.empty().update(scores)
    found, bounds, exact = state.compute(), state.error_bounds(), m.summarize(scores)
    for name in ("accuracy", "nll", "ece", "aurc"):
        slack = float(bounds.get(name, 0.0)) + 2e-6
        assert abs(float(found[name]) - float(exact[name])) <= slack, name
