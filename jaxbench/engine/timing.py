"""What a pass cost: compilation, steady state, waiting for input, memory."""

import dataclasses
import resource
import sys
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np


@dataclasses.dataclass(frozen=True)
class Timing:
    """The cost of one evaluation, in seconds, images and bytes.

    Attributes:
        compile_seconds: Tracing, lowering and XLA; 0 if it was compiled before.
        run_seconds: From the first batch to the last result, compilation left out.
        step_median_seconds: Median over steady-state steps, NaN without any.
        step_p95_seconds: 95th percentile of the same.
        images_per_second: Valid images over `run_seconds`.
        steady_images_per_second: Batch size over the median step, NaN without one.
        input_wait_seconds: Time in which the devices had to wait for images.
        peak_memory_bytes: Device memory high-water mark where the backend counts it,
            else the compiled program's own need; see `peak_memory_source`.
        peak_memory_source: "device" or "program".
        host_memory_bytes: High-water mark of this process's resident memory.
    """

    compile_seconds: float
    run_seconds: float
    step_median_seconds: float
    step_p95_seconds: float
    images_per_second: float
    steady_images_per_second: float
    input_wait_seconds: float
    peak_memory_bytes: int
    peak_memory_source: str
    host_memory_bytes: int


class StepClock:
    """Times steps without stopping the pipeline.

    Every step hands in a small output of its own. The clock blocks on the output of
    the step before the last one, so that one step is always queued behind the one
    that runs, and notes when each came back: the gaps are the steps' times.
    """

    # Two in flight hide the host's work; more would only hold memory.
    in_flight = 2

    def __init__(self) -> None:
        self._tokens: list[jax.Array] = []
        self._finished: list[float] = []
        self.input_wait = 0.0
        self.started = time.perf_counter()

    def wait_for(self, batches):
        """Yields from `batches` and counts the time that each took to come."""
        iterator = iter(batches)
        while True:
            asked = time.perf_counter()
            batch = next(iterator, None)
            self.input_wait += time.perf_counter() - asked
            if batch is None:
                return
            yield batch

    def step(self, token: jax.Array) -> None:
        """Registers a step that was just dispatched."""
        self._tokens.append(token)
        if len(self._tokens) > self.in_flight:
            self._retire()

    def _retire(self) -> None:
        self._tokens.pop(0).block_until_ready()
        self._finished.append(time.perf_counter())

    def finish(self) -> None:
        """Waits for the steps still in flight."""
        while self._tokens:
            self._retire()

    def summary(
        self,
        *,
        batch_size: int,
        num_images: int,
        compile_seconds: float,
        program_bytes: int,
        devices: Sequence[Any],
    ) -> Timing:
        """Closes the books; call after `finish`."""
        run_seconds = time.perf_counter() - self.started
        steps = np.diff(self._finished)
        # The first steps still fill caches and queues; short passes keep them.
        if len(steps) > 4:
            steps = steps[2:]
        median = float(np.median(steps)) if len(steps) else float("nan")
        peak, source = _peak_memory(devices, program_bytes)
        return Timing(
            compile_seconds=compile_seconds,
            run_seconds=run_seconds,
            step_median_seconds=median,
            step_p95_seconds=(
                float(np.percentile(steps, 95)) if len(steps) else float("nan")
            ),
            images_per_second=num_images / run_seconds,
            steady_images_per_second=batch_size / median
            if len(steps)
            else float("nan"),
            input_wait_seconds=self.input_wait,
            peak_memory_bytes=peak,
            peak_memory_source=source,
            host_memory_bytes=_host_peak_bytes(),
        )


def _peak_memory(devices: Sequence[Any], program_bytes: int) -> tuple[int, str]:
    stats = [device.memory_stats() or {} for device in devices]
    peaks = [stat["peak_bytes_in_use"] for stat in stats if "peak_bytes_in_use" in stat]
    return (max(peaks), "device") if peaks else (program_bytes, "program")


def _host_peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
