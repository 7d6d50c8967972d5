"""Compiles for the next piece of work while this one runs."""

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor


@contextlib.contextmanager
def compiling_ahead() -> Iterator[Callable[[Callable[[], None]], None]]:
    """A thread beside the sweep, in which programs are compiled before their turn.

    Compiling holds Python's lock for tracing only. What fails here is not reported:
    the sweep meets the same failure when its turn comes, and records it there.

    Yields:
        A function that takes a piece of work and returns at once.
    """

    def attempt(work: Callable[[], None]) -> None:
        with contextlib.suppress(Exception):
            work()

    pool = ThreadPoolExecutor(1, thread_name_prefix="compile-ahead")
    wait = True
    try:
        yield lambda work: pool.submit(attempt, work) and None
    except KeyboardInterrupt:
        # Whoever stops a sweep does not wait for a compilation.
        wait = False
        raise
    finally:
        pool.shutdown(wait=wait, cancel_futures=True)
