"""Compiled programs, kept for as long as the process lives.

A program is compiled ahead of its first call, so that what compiling costs is known and
a call that would need another shape fails instead of compiling again. It is looked up
by the function, by what that function closes over and by its arguments' shapes: two
populations that differ in hyper-parameters only share it.
"""

import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from functools import partial
from typing import Any

import jax

from jaxbench.engine.compilation import Program, compile_ahead

_programs: dict[Hashable, Future[Program]] = {}
_lock = threading.Lock()
# Executables of a long sweep would otherwise pile up in memory.
_MAX_PROGRAMS = 128


def compiled(
    function: Callable,
    static: tuple[Hashable, ...],
    arguments: tuple[Any, ...],
    *,
    donate: tuple[int, ...] = (),
) -> tuple[Program, float]:
    """Finds or compiles `function(*static, *arguments)`.

    Safe to call from several threads: of those that ask for the same program, one
    compiles and the others wait for it.

    Args:
        function: A module-level function.
        static: Its first arguments, fixed in the program.
        arguments: The rest, as arrays or `jax.ShapeDtypeStruct`s.
        donate: Which of `arguments` the program may overwrite.

    Returns:
        The program, whose `call` takes arrays like `arguments`, and the seconds that
        this call spent on compilation or waited for it: 0 where it was compiled before.
    """
    key = (function, static, _signature(arguments), donate)
    with _lock:
        pending = _programs.pop(key, None)
        ours = pending is None
        if pending is None:
            pending = Future()
        _programs[key] = pending
        while len(_programs) > _MAX_PROGRAMS:
            del _programs[next(iter(_programs))]
    if not ours:
        if pending.done():
            return pending.result(), 0.0
        started = time.perf_counter()
        return pending.result(), time.perf_counter() - started
    try:
        jitted = jax.jit(partial(function, *static), donate_argnums=donate)
        program = compile_ahead(jitted, *arguments)
    except BaseException as error:
        with _lock:
            _programs.pop(key, None)
        pending.set_exception(error)
        raise
    pending.set_result(program)
    return program, program.compile_seconds


def _signature(arguments: Any) -> Hashable:
    leaves, structure = jax.tree.flatten(arguments)
    avals = tuple(
        (leaf.shape, str(leaf.dtype), getattr(leaf, "sharding", None))
        for leaf in leaves
    )
    return structure, avals


def forget() -> None:
    """Lets go of every program that is compiled; what is asked for again is compiled.

    For processes that compile very many: each program holds some of the 65,530 memory
    maps that Linux gives a process.
    """
    with _lock:
        for name in [key for key, program in _programs.items() if program.done()]:
            del _programs[name]
