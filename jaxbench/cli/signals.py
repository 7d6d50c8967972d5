"""Ctrl-C, SIGTERM and SIGHUP: the first ends a command in order, the second at once."""

import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

# What a terminal, a batch system or a container sends to end a process.
_ENDING = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP")
    if hasattr(signal, name)
)


# Written to the watcher's pipe beside the numbers of signals, which begin at 1.
_LOST = b"\0"
# For what swallows exceptions to return; it is mostly a collection of garbage.
_AGAIN_SECONDS = 0.05


class Interruption(KeyboardInterrupt):
    """A signal that asks the command to end.

    Attributes:
        status: The exit status, as shells have it: 128 and the signal's number.
        title: "Interrupted", or the signal that stopped it.
    """

    def __init__(self, number: int) -> None:
        name = signal.Signals(number).name
        super().__init__(name)
        self.status = 128 + number
        by_hand = number == signal.SIGINT
        self.title = "Interrupted" if by_hand else f"Stopped by {name}"


def as_interruption(error: KeyboardInterrupt) -> Interruption:
    """A signal's own interruption, or that of Ctrl-C."""
    return error if isinstance(error, Interruption) else Interruption(signal.SIGINT)


def end_on_signals() -> None:
    """From now on a signal raises `Interruption`, and one more ends the process.

    A signal that is ignored stays ignored, as SIGHUP is under nohup. Python runs its
    handlers between two of its own instructions, and compiling a program is one that
    can take minutes; so a thread of its own, which the system wakes, sees the second.

    Where a handler runs inside a finalizer or a callback of the garbage collector,
    Python swallows what it raises; that thread then sends the signal again.
    """
    listened = [n for n in _ENDING if signal.getsignal(n) is not signal.SIG_IGN]
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    for number in listened:
        signal.signal(number, _interrupt)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    swallowed = sys.unraisablehook

    def notice(unraisable: Any) -> None:
        if isinstance(unraisable.exc_value, Interruption):
            os.write(writer, _LOST)
        else:
            swallowed(unraisable)

    sys.unraisablehook = notice
    watcher = threading.Thread(target=_watch, args=(reader, listened), daemon=True)
    watcher.start()


def _interrupt(number: int, frame: FrameType | None) -> None:
    del frame
    raise Interruption(number)


def _watch(reader: int, listened: list[int]) -> None:
    """Ends the process at the second signal, and sends a lost one again."""
    seen, last = 0, int(signal.SIGTERM)
    while found := os.read(reader, 1):
        if found == _LOST:
            seen -= 1
            time.sleep(_AGAIN_SECONDS)
            os.kill(os.getpid(), last)
        elif found[0] in listened:
            seen, last = seen + 1, found[0]
        if seen == 2:
            # No clean-up that could hang again: what is finished is on the disk. Only
            # the cursor, which a progress display hides.
            if os.isatty(1):
                os.write(1, b"\x1b[?25h")
            os._exit(128 + last)
