"""One pass over a dataset: every metric, with its intervals and its cost."""

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import jax
import numpy as np
from jax.sharding import Mesh

from jaxbench.data.batches import ImageArrays, Skipped
from jaxbench.engine.collect import Collector
from jaxbench.engine.feed import Dataset, open_batches
from jaxbench.engine.mesh import make_data_mesh, process_share, replicated
from jaxbench.engine.step import (
    STEPS_PER_FETCH,
    Carry,
    Stepper,
    StepPlan,
    compile_step,
)
from jaxbench.engine.summary import summarize_columns, summarize_ood_columns
from jaxbench.engine.timing import StepClock, Timing
from jaxbench.errors import UserError
from jaxbench.metrics import METRICS, fit_temperature
from model_zoo import Classifier

Role = Literal["clean", "shifted", "ood"]
Progress = Callable[[int, int], None]

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What one model does on one dataset.

    Attributes:
        metrics: Name to value, fractions; `NAME_low` and `NAME_high` bound the 95 %
            bootstrap interval, `NAME_ts` is the value at the fitted temperature.
        columns: Per-example columns in the dataset's order, each [num_examples]: id,
            label, those of `ExampleScores`, and `NAME_ts` at the fitted temperature.
        num_examples: Examples that count.
        num_skipped: Unreadable images that were left out.
        skipped: Which ones, and why.
        num_nonfinite: Examples with a NaN or an infinity among their logits.
        temperature: The fitted temperature, if there was a calibration set.
        batch_size: Rows of a step that this pass ended with.
        num_devices: Devices of the mesh.
        timing: What the pass cost.
        logits: [num_examples, classes], if asked for.
        features: [num_examples, width], if asked for.
    """

    metrics: dict[str, float]
    columns: dict[str, np.ndarray]
    num_examples: int
    num_skipped: int
    skipped: tuple[Skipped, ...]
    num_nonfinite: int
    temperature: float | None
    batch_size: int
    num_devices: int
    timing: Timing
    logits: np.ndarray | None = None
    features: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class _Request:
    """What stays the same when a pass starts again with a smaller batch."""

    model: Classifier
    variables: Mapping[str, jax.Array | np.ndarray]
    mesh: Mesh
    on_error: str
    progress: Progress | None


def evaluate(
    model: Classifier,
    variables: Mapping[str, jax.Array | np.ndarray],
    dataset: Dataset,
    *,
    role: Role = "clean",
    metrics: Sequence[str] = tuple(METRICS),
    reference: Evaluation | None = None,
    calibration: Dataset | float | None = None,
    batch_size: int = 256,
    mesh: Mesh | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    num_resamples: int = 1000,
    key: jax.Array | None = None,
    keep_logits: bool = False,
    keep_features: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Runs a classifier over a dataset and measures it.

    The images pass once. Every example leaves one small row on the device; metrics
    that depend on order are computed at the end from those rows.

    Args:
        model: A zoo model, or a user's own `apply` wrapped by
            `classifier_from_function`.
        variables: Flat weights, dotted name to array.
        dataset: A source, or images in memory of the model's input size.
        role: "clean" and "shifted" images carry labels of the model's classes; "ood"
            images belong to none of them, their labels are not looked at.
        metrics: Names from `METRICS`; "ood" datasets have `OOD_METRICS` instead.
        reference: For "ood", the clean evaluation of the same model.
        calibration: Images on which a temperature is fitted before the pass, or a
            temperature that was fitted before. Every score is then given at T = 1 and
            at T.
        batch_size: Rows of a step, rounded up to a multiple of the devices. Halved,
            with a warning, when the device runs out of memory.
        mesh: Devices to use; all of them when None.
        on_error: "raise" ends the pass at an unreadable image and names it; "skip"
            leaves it out and counts it.
        num_resamples: Bootstrap resamples behind each interval; 0 for no intervals.
        key: Randomness of the resamples; required unless `num_resamples` is 0.
        keep_logits: Whether to return logits.
        keep_features: Whether to return penultimate features.
        progress: Called with (steps done, steps in all).

    Returns:
        Metrics, per-example columns and cost. On several processes, the same on
        every one of them.

    Raises:
        UserError: If the dataset is empty, a label is out of the model's range, or an
            unreadable image was met under `on_error="raise"`.
        ValueError: If arguments contradict each other.
    """
    if num_resamples and key is None:
        raise ValueError("key is None; give one, or num_resamples=0 for no intervals")
    if (role == "ood") != (reference is not None):
        raise ValueError(
            f"role is {role!r} and there is {'a' if reference else 'no'} reference; "
            'the same model\'s clean evaluation goes with role "ood", only with it'
        )
    _check_labels(model, dataset, role)
    mesh = mesh or make_data_mesh()
    if calibration is None or isinstance(calibration, int | float):
        temperature = calibration
    else:
        temperature = calibrate(
            model,
            variables,
            calibration,
            batch_size=batch_size,
            mesh=mesh,
            on_error=on_error,
        )
    request = _Request(model, variables, mesh, on_error, progress)
    raw = _run_or_halve(
        request, dataset, batch_size, role, temperature, keep_logits, keep_features
    )
    if reference is not None:
        values = summarize_ood_columns(reference.columns, raw.columns)
    else:
        values = summarize_columns(
            raw.columns, tuple(metrics), num_resamples=num_resamples, key=key
        )
    return dataclasses.replace(raw, metrics=values, temperature=temperature)


def calibrate(
    model: Classifier,
    variables: Mapping[str, jax.Array | np.ndarray],
    dataset: Dataset,
    *,
    batch_size: int = 256,
    mesh: Mesh | None = None,
    on_error: Literal["raise", "skip"] = "raise",
) -> float:
    """Fits the temperature that minimises the NLL on a dataset.

    Args:
        model: As for `evaluate`.
        variables: As for `evaluate`.
        dataset: Labelled images that are not evaluated on.
        batch_size: As for `evaluate`.
        mesh: As for `evaluate`.
        on_error: As for `evaluate`.

    Returns:
        A positive temperature; see `jaxbench.metrics.fit_temperature`.

    Raises:
        UserError: As for `evaluate`.
        ValueError: If no row of logits is finite.
    """
    _check_labels(model, dataset, "clean")
    request = _Request(model, variables, mesh or make_data_mesh(), on_error, None)
    raw = _run_or_halve(request, dataset, batch_size, "clean", None, keep_logits=True)
    finite = raw.columns["finite"]
    if not finite.any() or raw.logits is None:
        raise ValueError(
            f"{model.name}: every logit on the calibration images is NaN or infinite, "
            "no temperature can be fitted; check the weights"
        )
    # Rows are masked, not dropped: the fit is compiled for every length it meets.
    labels = raw.columns["label"].astype(np.int32)
    return float(fit_temperature(raw.logits, labels, mask=finite))


def compile_evaluation(
    model: Classifier,
    *,
    calibrated: bool = False,
    keep_logits: bool = False,
    batch_size: int = 256,
    mesh: Mesh | None = None,
) -> None:
    """Compiles what `evaluate` will need, so that it finds the program at hand.

    Safe to call from another thread while something else runs: XLA does not hold
    Python's lock.

    Args:
        model: A zoo model; its weights' shapes are known without weights.
        calibrated: Whether there will be a temperature.
        keep_logits: Whether there will be logits; `calibrate` asks for them.
        batch_size: As for `evaluate`.
        mesh: As for `evaluate`.
    """
    mesh = mesh or make_data_mesh()
    whole = replicated(mesh)
    shapes = {
        name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole)
        for name, leaf in model.shapes.items()
    }
    rows = _round_up(batch_size, mesh)
    plan = StepPlan(model, mesh, rows, tempered=calibrated, keep_logits=keep_logits)
    compile_step(plan, shapes)


def _round_up(batch_size: int, mesh: Mesh) -> int:
    """The next multiple of the number of devices."""
    return -(-batch_size // mesh.size) * mesh.size


def _check_labels(model: Classifier, dataset: Dataset, role: Role) -> None:
    labels = np.asarray(dataset.labels)
    name = getattr(dataset, "name", "the dataset")
    if not len(labels):
        raise UserError(f"{name} has no examples; check its path and split")
    low, high = int(labels.min()), int(labels.max())
    if role != "ood" and (low < 0 or high >= model.num_classes):
        raise UserError(
            f"{name} has labels {low} to {high}, {model.name} has "
            f"{model.num_classes} classes (0 to {model.num_classes - 1}); create the "
            f"model with num_classes={high + 1}, or give the class names in the "
            "model's order"
        )


def _run_or_halve(
    request: _Request,
    dataset: Dataset,
    batch_size: int,
    role: Role,
    temperature: float | None,
    keep_logits: bool = False,
    keep_features: bool = False,
) -> Evaluation:
    """One pass; when memory runs out, another with half the batch, from the start."""
    devices = request.mesh.size
    rows = _round_up(batch_size, request.mesh)
    while True:
        plan = StepPlan(
            request.model,
            request.mesh,
            rows,
            tempered=temperature is not None,
            keep_logits=keep_logits,
            keep_features=keep_features,
        )
        try:
            return _run(request, plan, dataset, role, temperature)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error) or rows <= devices:
                raise
        smaller = _round_up(rows // 2, request.mesh)
        _log.warning(
            "%s: out of memory with batch size %d; starting the dataset again with %d",
            request.model.name,
            rows,
            smaller,
        )
        rows = smaller


def _run(
    request: _Request,
    plan: StepPlan,
    dataset: Dataset,
    role: Role,
    temperature: float | None,
) -> Evaluation:
    batches = open_batches(
        dataset,
        plan.model.input_spec,
        plan.batch_size,
        on_error=request.on_error,
        share=process_share(plan.mesh),
    )
    in_memory = isinstance(dataset, ImageArrays)
    stepper = Stepper.build(plan, request.variables)
    collector, clock = Collector(), StepClock()
    carry, total_steps = stepper.empty_carry(), len(batches)
    for number, batch in enumerate(clock.wait_for(batches)):
        labels = np.full_like(batch.labels, -1) if role == "ood" else batch.labels
        at = number % STEPS_PER_FETCH
        carry, output = stepper(
            carry, batch.images, labels, batch.valid, at, temperature or 1.0
        )
        collector.add_host(batch.ids, labels, batch.valid)
        collector.add_extra(logits=output.logits, features=output.features)
        clock.step(output.seen)
        if at == STEPS_PER_FETCH - 1 or number == total_steps - 1:
            collector.add_rows(carry.rows, at + 1)
            carry = Carry(carry.state, stepper.empty_carry().rows)
        if request.progress:
            request.progress(number + 1, total_steps)
    clock.finish()
    columns, extra = collector.finish()
    state = stepper.total(carry)
    skipped = tuple(dataset.skipped if in_memory else batches.skipped)
    num_skipped = len(skipped) if in_memory else len(dataset) - len(columns["id"])
    _assert_all_counted(dataset, columns, int(state.num_examples), skipped)
    return Evaluation(
        metrics={},
        columns=columns,
        num_examples=len(columns["id"]),
        num_skipped=num_skipped,
        skipped=skipped,
        num_nonfinite=int((~columns["finite"]).sum()),
        temperature=temperature,
        batch_size=plan.batch_size,
        num_devices=plan.mesh.size,
        timing=clock.summary(
            batch_size=plan.batch_size,
            num_images=len(columns["id"]),
            compile_seconds=stepper.compile_seconds,
            program_bytes=stepper.program.memory_bytes,
            devices=list(plan.mesh.local_devices),
        ),
        logits=extra.get("logits"),
        features=extra.get("features"),
    )


def _assert_all_counted(
    dataset: Dataset, columns: Mapping[str, np.ndarray], counted: int, skipped
) -> None:
    """Every example is in exactly one place: a column, or the list of skipped ones."""
    rows = len(columns["id"])
    # Images in memory were skipped before they came here. On several processes each
    # knows only of the images that it skipped itself.
    before = isinstance(dataset, ImageArrays)
    expected = len(dataset.labels) - (0 if before else len(skipped))
    lost = rows != expected if jax.process_count() == 1 else rows > expected
    if rows != counted or lost or not rows:
        raise RuntimeError(
            f"{len(dataset.labels)} examples went in, {len(skipped)} were skipped, "
            f"{rows} rows and a count of {counted} came out"
            + ("; no image could be read" if not rows else "")
        )
