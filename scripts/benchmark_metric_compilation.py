"""What the first call of a metric costs, which is compilation, and a later one.

Processor seconds in one fresh process, without a compilation cache.

    uv run scripts/benchmark_metric_compilation.py
    uv run scripts/benchmark_metric_compilation.py --rows 50000 --classes 1000
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxbench import metrics as m


def calls(rows: int, classes: int) -> dict[str, Callable[[], Any]]:
    """What is measured, by the words of the table in docs/training_loops.md."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(rows, classes)).astype(np.float32)
    labels = rng.integers(0, classes, rows)
    update = jax.jit(m.ClassificationState.update_from_logits)
    state = m.ClassificationState.empty().update_from_logits(logits, labels)
    scores, key = m.score_examples(logits, labels), jax.random.key(0)
    # The lines above compiled what is to be timed.
    jax.clear_caches()
    two = ["accuracy", "ece"]
    return {
        "score_examples": lambda: m.score_examples(logits, labels),
        'summarize(scores, ["accuracy"])': lambda: m.summarize(scores, two[:1]),
        'summarize(scores, ["accuracy", "ece"])': lambda: m.summarize(scores, two),
        "summarize(scores), 26 metrics": lambda: m.summarize(scores),
        'bootstrap_intervals(scores, ["accuracy", "ece"], ...)': (
            lambda: m.bootstrap_intervals(scores, two, key=key)
        ),
        "bootstrap_intervals(scores, ...), 26 metrics": (
            lambda: m.bootstrap_intervals(scores, key=key)
        ),
        "state.update_from_logits, under jit": lambda: update(state, logits, labels),
        "state.compute()": lambda: state.compute(),
        "state.error_bounds()": lambda: state.error_bounds(),
    }


def main() -> None:
    """Prints a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--classes", type=int, default=10)
    given = parser.parse_args()
    jax.config.update("jax_enable_compilation_cache", False)
    print("| call | first, s | later, s |\n| --- | --- | --- |")
    for name, call in calls(given.rows, given.classes).items():
        seconds = []
        for _ in range(2):
            started = time.process_time()
            jax.block_until_ready(call())
            seconds.append(time.process_time() - started)
        print(f"| `{name}` | {seconds[0]:.1f} | {seconds[1]:.3f} |")


if __name__ == "__main__":
    main()
