"""How much memory a program may take, and what says that it was too much."""

import contextlib
import os
import resource
from pathlib import Path
from typing import Any

import jax

_CGROUP_LIMITS = (
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
)


class TooLargeError(MemoryError):
    """A program that needs more memory than there is, found before it runs.

    Where memory runs out inside a CPU program, the process ends: the library that
    computes is built without exceptions.

    Attributes:
        needed: Bytes that it needs on a device.
        available: Bytes that there are.
    """

    def __init__(self, needed: int, available: int) -> None:
        super().__init__(
            f"a step needs {needed / 2**30:.2f} GiB of memory on a device, "
            f"{available / 2**30:.2f} GiB are left; choose a smaller batch_size"
        )
        self.needed, self.available = needed, available


def require_memory(needed: int, device: Any) -> None:
    """Refuses a program that cannot run.

    On several processes nothing is checked: all must take the same batch.

    Raises:
        TooLargeError: If a device has less than `needed` bytes.
    """
    available = available_bytes(device) if jax.process_count() == 1 else None
    if available is not None and needed > available:
        raise TooLargeError(needed, available)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a device or on the host."""
    if isinstance(error, MemoryError):
        return True
    signs = ("RESOURCE_EXHAUSTED", "Out of memory", "bad_alloc")
    return isinstance(error, jax.errors.JaxRuntimeError) and any(
        sign in str(error) for sign in signs
    )


def available_bytes(device: Any) -> int | None:
    """What a program may take on a device; None where nobody says.

    On a CPU that is what the machine, the container and the process's own limit leave,
    shared among the CPU devices of this process.
    """
    if device.platform != "cpu":
        statistics = device.memory_stats() or {}
        return statistics.get("bytes_limit")
    found = [_machine(), _container(), _process()]
    known = [value for value in found if value is not None]
    return max(0, min(known)) // jax.local_device_count() if known else None


def _machine() -> int | None:
    """Free memory, with the cache of files that the system would give up."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def _container() -> int | None:
    for path in _CGROUP_LIMITS:
        with contextlib.suppress(OSError, ValueError):
            return int(Path(path).read_text())
    return None


def _process() -> int | None:
    """What the limit on the address space leaves (`ulimit -v`)."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    with contextlib.suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        return limit - pages * os.sysconf("SC_PAGE_SIZE")
    return None
