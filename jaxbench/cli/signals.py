"""Ctrl-C, SIGTERM and SIGHUP: the first ends a command in order, the second at once."""

import os
import signal
import threading
from types import FrameType

# What a terminal, a batch system or a container sends to end a process.
_ENDING = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP")
    if hasattr(signal, name)
)


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
    """
    listened = [n for n in _ENDING if signal.getsignal(n) is not signal.SIG_IGN]
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    for number in listened:
        signal.signal(number, _interrupt)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    watcher = threading.Thread(
        target=_end_at_the_second, args=(reader, listened), daemon=True
    )
    watcher.start()


def _interrupt(number: int, frame: FrameType | None) -> None:
    del frame
    raise Interruption(number)


def _end_at_the_second(reader: int, listened: list[int]) -> None:
    seen = 0
    while found := os.read(reader, 1):
        seen += found[0] in listened
        if seen == 2:
            # No clean-up that could hang again: what is finished is on the disk. Only
            # the cursor, which a progress display hides.
            if os.isatty(1):
                os.write(1, b"\x1b[?25h")
            os._exit(128 + found[0])
