"""Compilation as a cost of its own: cached on disk, timed, done once."""

import dataclasses
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import jax

_log = logging.getLogger(__name__)


def enable_persistent_cache(folder: str | Path | None = None) -> Path | None:
    """Keeps compiled programs on disk, so that the next process finds them.

    Args:
        folder: Where; `JAX_COMPILATION_CACHE_DIR` or `~/.cache/jaxbench/xla` when
            None. It must not be world-writable: JAX trusts what it finds there.

    Returns:
        The folder in use; None, after a warning, where it cannot be written.
    """
    chosen = folder or os.environ.get("JAX_COMPILATION_CACHE_DIR")
    path = Path(chosen) if chosen else Path.home() / ".cache" / "jaxbench" / "xla"
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        _log.warning("no compilation cache: cannot write to %s: %s", path, error)
        return None
    jax.config.update("jax_compilation_cache_dir", str(path))
    # The default of one second would leave out exactly the many small programs.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return path


# XLA's fusion of reductions for CPUs (YNN, on by default in jax 0.10 to 0.12) drops
# NaN: the mean of relu over an array of NaN comes out as 0, and a broken network gets
# ordinary scores. Without it NaN stays NaN.
_CPU_OPTIONS = {"xla_cpu_experimental_ynn_fusion_type": ""}


def _compile(lowered):
    if jax.default_backend() != "cpu":
        return lowered.compile()
    try:
        return lowered.compile(compiler_options=_CPU_OPTIONS)
    except jax.errors.JaxRuntimeError as error:
        # An XLA that knows no such fusion needs no option against it.
        if "No such compile option" not in str(error):
            raise
        return lowered.compile()


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled function, what compiling it took and what running it needs.

    Attributes:
        call: The executable; raises on any other shape instead of compiling again.
        compile_seconds: Tracing, lowering and XLA together.
        memory_bytes: Arguments, results and scratch space on each device.
    """

    call: Callable
    compile_seconds: float
    memory_bytes: int


def compile_ahead(function, *arguments) -> Program:
    """Compiles a jitted function for the shapes and shardings of `arguments`.

    Args:
        function: From `jax.jit`.
        *arguments: Arrays or `jax.ShapeDtypeStruct`s.
    """
    started = time.perf_counter()
    executable = _compile(function.trace(*arguments).lower())
    seconds = time.perf_counter() - started
    memory = executable.memory_analysis()
    needed = 0
    if memory is not None:
        needed = (
            memory.argument_size_in_bytes
            + memory.output_size_in_bytes
            + memory.temp_size_in_bytes
            - memory.alias_size_in_bytes
        )
    return Program(executable, seconds, int(needed))
