"""Counts what JAX compiles, by the name of the compiled function."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import jax

_EVENT = "/jax/core/compile/backend_compile_duration"


@contextmanager
def count_compilations() -> Iterator[Counter[str]]:
    """Functions compiled in the block; a program from the disk cache counts, too."""
    names: Counter[str] = Counter()

    def listen(event: str, seconds: float, **details: str) -> None:
        if event == _EVENT:
            names[details.get("fun_name", "")] += 1

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield names
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
