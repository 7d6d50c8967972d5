"""One pass of images through a compiled step, and everything counted."""

import dataclasses
import logging
from collections.abc import Callable, Mapping
from typing import Literal

import jax
import numpy as np
from jax.sharding import Mesh

from jaxbench.data.batches import ImageArrays, Skipped
from jaxbench.data.scoring import Scoring
from jaxbench.engine.collect import Collector
from jaxbench.engine.decisions import RowLabels, decision_rules, decision_shape
from jaxbench.engine.feed import Dataset, open_batches
from jaxbench.engine.memory import TooLargeError, is_out_of_memory, require_memory
from jaxbench.engine.mesh import process_share
from jaxbench.engine.step import STEPS_PER_FETCH, Carry, Stepper, StepPlan
from jaxbench.engine.timing import StepClock, Timing
from jaxbench.errors import UserError, counted
from jaxbench.metrics import ClassificationState
from model_zoo import Classifier

Role = Literal["clean", "shifted", "ood"]
OnError = Literal["raise", "skip"]
Progress = Callable[[int, int], None]

_SHARED_ROWS = 256
# Bytes that a row of an image takes at least: as it comes, and in float32.
_BYTES_PER_VALUE = 1 + 4

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class PassRequest:
    """What stays the same when a pass starts again with a smaller batch.

    Attributes:
        model: The classifier.
        variables: Its flat weights.
        mesh: Devices to use.
        role: Whether labels count; see `evaluate`.
        on_error: What an unreadable image does; see `evaluate`.
        temperature: A second temperature to score at, if any.
        keep_logits: Whether logits leave the device.
        keep_features: Whether features leave the device.
        progress: Called with (images done, images in all).
        num_threads: That decode images; one a usable core when None.
        scoring: How outputs become decisions; None for one label an image, of the
            classifier's classes.
    """

    model: Classifier
    variables: Mapping[str, jax.Array | np.ndarray]
    mesh: Mesh
    role: Role = "clean"
    on_error: OnError = "raise"
    temperature: float | None = None
    keep_logits: bool = False
    keep_features: bool = False
    progress: Progress | None = None
    num_threads: int | None = None
    scoring: Scoring | None = None


@dataclasses.dataclass(frozen=True)
class PassResult:
    """What the images of a pass gave; `evaluate` adds the metrics.

    Attributes:
        columns: Name to [n], one value for each example that could be read.
        skipped: What could not be read, and why; on several processes, by this one.
            All else is the same on every process.
        num_skipped: How many could not be read, on all processes.
        batch_size: Rows of a step.
        timing: What the pass cost.
        logits: [n, classes], if asked for.
        features: [n, width], if asked for.
    """

    columns: dict[str, np.ndarray]
    skipped: tuple[Skipped, ...]
    num_skipped: int
    batch_size: int
    timing: Timing
    logits: np.ndarray | None
    features: np.ndarray | None


def step_rows(batch_size: int, num_examples: int, mesh: Mesh) -> int:
    """Rows of a step: no more than there are images, a multiple of the devices.

    Up to `_SHARED_ROWS` a batch stays as it was asked for: datasets of different sizes
    then share one program, and padding costs less than compiling another.
    """
    return _round_up(min(batch_size, max(num_examples, _SHARED_ROWS)), mesh)


def _round_up(rows: int, mesh: Mesh) -> int:
    return -(-rows // mesh.size) * mesh.size


def run_pass(request: PassRequest, dataset: Dataset, batch_size: int) -> PassResult:
    """One pass; when memory runs out, another with half the batch, from the start.

    Args:
        request: What to run.
        dataset: What to run it on.
        batch_size: Rows of a step; see `step_rows`.

    Raises:
        MemoryError: If not even one image for each device fits into memory.
        UserError: At an unreadable image under `on_error="raise"`.
        RuntimeError: If an example was lost or counted twice.
    """
    rows = step_rows(batch_size, len(dataset.labels), request.mesh)
    while True:
        plan = StepPlan(
            request.model,
            request.mesh,
            rows,
            tempered=request.temperature is not None,
            keep_logits=request.keep_logits,
            keep_features=request.keep_features,
            decisions=decision_shape(request.scoring),
        )
        try:
            return _run(request, plan, dataset)
        except (MemoryError, jax.errors.JaxRuntimeError) as error:
            if not is_out_of_memory(error) or rows <= request.mesh.size:
                raise
            smaller = _round_up(_fewer_rows(rows, error), request.mesh)
        _log.warning(
            "%s: out of memory with batch size %d; starting the dataset again with %d",
            request.model.name,
            rows,
            smaller,
        )
        rows = smaller


def _fewer_rows(rows: int, error: Exception) -> int:
    """Half the rows; a quarter, an eighth, ... where half cannot fit either."""
    fewer = rows // 2
    if isinstance(error, TooLargeError):
        # What a step needs falls at most in proportion to its rows.
        most = rows * error.available // max(error.needed, 1)
        while fewer > max(most, 1):
            fewer //= 2
    return fewer


def _run(request: PassRequest, plan: StepPlan, dataset: Dataset) -> PassResult:
    batches = open_batches(
        dataset,
        plan.model.input_spec,
        plan.batch_size,
        on_error=request.on_error,
        share=process_share(plan.mesh),
        num_threads=request.num_threads,
    )
    device = plan.mesh.local_devices[0]
    height, width = plan.model.input_spec.size
    per_image = height * width * 3 * _BYTES_PER_VALUE
    require_memory(plan.batch_size // plan.mesh.size * per_image, device)
    stepper = Stepper.build(plan, request.variables, decision_rules(request.scoring))
    require_memory(stepper.program.memory_bytes, device)
    collector, clock = Collector(), StepClock()
    carry, failure = stepper.empty_carry(), None
    try:
        carry = _feed(request, stepper, carry, batches, dataset, collector, clock)
    except UserError as error:
        failure = error
    # Before the one collective of a pass: nobody waits for a process that gave up.
    _agree(failure)
    clock.finish()
    state = stepper.total(carry)
    columns, extra = collector.finish()
    in_memory = isinstance(dataset, ImageArrays)
    skipped = tuple(dataset.skipped if in_memory else batches.skipped)
    _assert_all_counted(dataset, columns, state, skipped)
    rows = len(columns["id"])
    return PassResult(
        columns=columns,
        skipped=skipped,
        num_skipped=len(skipped) if in_memory else len(dataset.labels) - rows,
        batch_size=plan.batch_size,
        timing=clock.summary(
            batch_size=plan.batch_size,
            num_images=rows,
            compile_seconds=stepper.compile_seconds,
            program_bytes=stepper.program.memory_bytes,
            devices=list(plan.mesh.local_devices),
        ),
        logits=extra.get("logits"),
        features=extra.get("features"),
    )


def _feed(
    request: PassRequest,
    stepper: Stepper,
    carry: Carry,
    batches,
    dataset: Dataset,
    collector: Collector,
    clock: StepClock,
) -> Carry:
    """Sends every batch through the step; no host round trip on the way."""
    temperature = 1.0 if request.temperature is None else request.temperature
    row_labels = RowLabels(dataset, request.scoring, unlabelled=request.role == "ood")
    steps, num_images = len(batches), len(dataset.labels)
    for number, batch in enumerate(clock.wait_for(batches)):
        labels = row_labels(batch)
        at = number % STEPS_PER_FETCH
        carry, output = stepper(
            carry, batch.images, labels, batch.valid, at, temperature
        )
        if not stepper.plan.best_labels:
            collector.add_host(label=labels)
        collector.add_host(id=np.asarray(batch.ids, dtype=object), mask=batch.valid)
        collector.add_extra(logits=output.logits, features=output.features)
        clock.step(output.seen)
        if at == STEPS_PER_FETCH - 1 or number == steps - 1:
            collector.add_rows(carry.rows, at + 1)
            carry = Carry(carry.state, stepper.empty_carry().rows)
        if request.progress:
            done = (number + 1) * stepper.plan.batch_size
            request.progress(min(done, num_images), num_images)
    return carry


def _agree(failure: UserError | None) -> None:
    """Ends the pass on every process if it failed on one of them."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        flags = multihost_utils.process_allgather(np.asarray(failure is not None))
        failed = np.flatnonzero(flags).tolist()
        if failed and failure is None:
            raise UserError(
                f"of the processes, {failed} could not read an image; their own "
                "messages name it"
            )
    if failure is not None:
        raise failure


def _assert_all_counted(
    dataset: Dataset,
    columns: Mapping[str, np.ndarray],
    state: ClassificationState,
    skipped: tuple[Skipped, ...],
) -> None:
    """Every example is in exactly one place: a column, or the list of skipped ones."""
    rows = len(columns["id"])
    # Images in memory were skipped before they came here. On several processes each
    # knows only of the images that it skipped itself.
    before = isinstance(dataset, ImageArrays)
    expected = len(dataset.labels) - (0 if before else len(skipped))
    lost = rows != expected if jax.process_count() == 1 else rows > expected
    sums = (int(state.num_examples), int(state.num_correct))
    if lost or not rows or sums != (rows, int(columns["correct"].sum())):
        given = counted(len(dataset.labels), "example")
        raise RuntimeError(
            f"{given} went in, {len(skipped)} skipped, {counted(rows, 'row')} came "
            f"out; the devices counted {sums[0]}, {sums[1]} of them right"
            + ("; no image could be read" if not rows else "")
        )
