"""Public functions of `jaxbench.metrics` that take arrays, each once."""

import inspect

from jaxbench import metrics as m

# Arrays of any number and dtype, and none: tests/metrics/test_padding.py and
# tests/test_own.py.
OTHERS = {"pad_examples", "register_metric"}


def public_functions() -> list[str]:
    """Names of functions; an alias such as `ece` is the same object, and left out."""
    functions = {n: f for n in m.__all__ if inspect.isfunction(f := getattr(m, n))}
    return [n for n, f in functions.items() if f.__name__ == n and n not in OTHERS]
