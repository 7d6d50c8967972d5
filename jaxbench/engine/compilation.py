"""Compilation as a cost of its own: cached on disk, timed, done once."""

import contextlib
import dataclasses
import json
import logging
import os
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import jax

from jaxbench.files import written_whole

_log = logging.getLogger(__name__)
_CHECKSUMS = "jaxbench-checksums.json"
# The first byte of what zlib packs.
_ZLIB = b"\x78"
# A program of fewer seconds may be half written by another process.
_BEING_WRITTEN = 60.0


def enable_persistent_cache(folder: str | Path | None = None) -> Path | None:
    """Keeps compiled programs on disk, so that the next process finds them.

    Args:
        folder: Where; `JAX_COMPILATION_CACHE_DIR` or `~/.cache/jaxbench/xla` when
            None. It must not be world-writable: JAX trusts what it finds there.
            Damaged entries are removed first, and compiled again when they are needed.

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
    _remove_damaged(path)
    jax.config.update("jax_compilation_cache_dir", str(path))
    # The default of one second would leave out exactly the many small programs.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return path


def _remove_damaged(folder: Path) -> None:
    """Removes programs that are not what was written.

    JAX packs a program with zlib, whose streams end with a checksum, or with zstd where
    Python has it, whose streams as JAX writes them do not: there, a changed bit would
    be run. Nor does JAX ever replace an entry that it could not read. So entries are
    compared with checksums from the first time that they were seen.
    """
    record, known, kept = folder / _CHECKSUMS, {}, {}
    with contextlib.suppress(OSError, ValueError, TypeError):
        known = dict(json.loads(record.read_bytes()))
    for path in folder.glob("*-cache"):
        with contextlib.suppress(OSError):
            content = path.read_bytes()
            checksum = zlib.crc32(content)
            young = time.time() - path.stat().st_mtime < _BEING_WRITTEN
            if path.name in known or not young:
                if known.get(path.name) == checksum or (
                    path.name not in known and _is_whole(content)
                ):
                    kept[path.name] = checksum
                else:
                    _log.warning("%s is damaged; the program is compiled again", path)
                    path.unlink()
    if kept != known:
        with contextlib.suppress(OSError), written_whole(record) as temporary:
            temporary.write_text(json.dumps(kept))


def _is_whole(content: bytes) -> bool:
    """Whether a packed program is not cut; those of zstd are believed."""
    if content[:1] != _ZLIB:
        return bool(content)
    try:
        zlib.decompress(content)
    except zlib.error:
        return False
    return True


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
