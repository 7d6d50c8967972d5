"""Public functions of `jaxbench.metrics`, each once."""

import inspect

from jaxbench import metrics as m


def public_functions() -> list[str]:
    """Names of functions; an alias such as `ece` is the same object, and left out."""
    return [
        name
        for name in m.__all__
        if inspect.isfunction(getattr(m, name)) and getattr(m, name).__name__ == name
    ]
