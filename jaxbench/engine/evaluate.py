"""One pass over a dataset: every metric, with its intervals and its cost."""

import math
from collections.abc import Mapping, Sequence
from typing import get_args

import jax
import numpy as np
from jax.sharding import Mesh

from jaxbench.data.class_names import folder_classes
from jaxbench.data.scoring import Scoring, scoring_of
from jaxbench.data.source import label_misfit
from jaxbench.engine.decisions import decision_shape
from jaxbench.engine.evaluation import Evaluation
from jaxbench.engine.feed import Dataset
from jaxbench.engine.mesh import make_data_mesh, replicated
from jaxbench.engine.passes import (
    OnError,
    PassRequest,
    Progress,
    Role,
    run_pass,
    step_rows,
)
from jaxbench.engine.step import StepPlan, compile_step
from jaxbench.engine.summary import summarize_columns, summarize_ood_columns
from jaxbench.errors import UserError, counted, unknown_name
from jaxbench.metrics import SCORE_METRICS, fit_temperature, register_metric
from model_zoo import Classifier


def evaluate(
    model: Classifier,
    variables: Mapping[str, jax.Array | np.ndarray],
    dataset: Dataset,
    *,
    role: Role = "clean",
    metrics: Sequence[str] | None = None,
    reference: Evaluation | None = None,
    calibration: Dataset | None = None,
    temperature: float | None = None,
    batch_size: int = 256,
    mesh: Mesh | None = None,
    on_error: OnError = "raise",
    num_resamples: int = 1000,
    key: jax.Array | None = None,
    keep_logits: bool = False,
    keep_features: bool = False,
    progress: Progress | None = None,
    num_threads: int | None = None,
) -> Evaluation:
    """Runs a classifier over a dataset and measures it.

    The images pass once. Every example leaves one small row on the device; metrics
    that depend on order are computed at the end from those rows. A dataset with a
    `scoring` is scored by it; out-of-distribution images as their reference was.

    Args:
        model: A zoo model, or a user's own `apply` wrapped by
            `classifier_from_function`.
        variables: Flat weights, dotted name to array.
        dataset: A source, or images in memory of the model's input size.
        role: "clean" and "shifted" images carry labels of the model's classes; "ood"
            images belong to none of them, their labels are not looked at.
        metrics: Names from `SCORE_METRICS`, or `module:name`; all of the table when
            None. "ood" datasets have `OOD_METRICS` instead.
        reference: For "ood", the clean evaluation of the same model.
        calibration: Images on which a temperature is fitted before the pass. Every
            score is then given at T = 1 and at the fitted T, but for coarse classes,
            whose decisions would change with T. They must be others than those of
            `dataset`.
        temperature: A temperature that was fitted before, instead.
        batch_size: Rows of a step, rounded up to a multiple of the devices; no more
            than the dataset has, nor than 256 where it has fewer. Halved, with a
            warning, when memory runs out.
        mesh: Devices to use; all of them when None.
        on_error: "raise" ends the pass at an unreadable image and names it; "skip"
            leaves it out and counts it.
        num_resamples: Bootstrap resamples behind each interval; 0 for no intervals.
        key: Randomness of the resamples; required unless `num_resamples` is 0.
        keep_logits: Whether to return logits.
        keep_features: Whether to return penultimate features.
        progress: Called with (images done, images in all).
        num_threads: That decode the images of a source; one a usable core when None.

    Returns:
        Metrics, per-example columns and cost. On several processes, the same on
        every one of them.

    Raises:
        UserError: If the dataset is empty, a label is out of the model's range, or an
            unreadable image was met under `on_error="raise"`.
        ValueError: If an argument is out of range or does not fit the others; all
            such are named.
    """
    metrics = tuple(SCORE_METRICS) if metrics is None else tuple(metrics)
    for name in metrics:
        SCORE_METRICS.find(name, register_metric)
    problems = [
        *_range_problems(role, metrics, on_error, batch_size, num_resamples, key),
        *_fit_problems(role, dataset, reference, calibration, temperature),
    ]
    if problems:
        raise ValueError(f"evaluate: {'; '.join(problems)}")
    check_labels(model, dataset, role)
    scoring = scoring_of(dataset)
    if reference is not None:
        scoring = reference.scoring and reference.scoring.without_sets()
    if scoring is not None and scoring.groups is not None:
        # A temperature moves probability between groups, and with it the decision.
        calibration = temperature = None
    mesh = mesh or make_data_mesh()
    if calibration is not None:
        temperature = calibrate(
            model,
            variables,
            calibration,
            batch_size=batch_size,
            mesh=mesh,
            on_error=on_error,
            num_threads=num_threads,
        )
    request = PassRequest(
        model,
        variables,
        mesh,
        role=role,
        on_error=on_error,
        temperature=temperature,
        keep_logits=keep_logits,
        keep_features=keep_features,
        progress=progress,
        num_threads=num_threads,
        scoring=scoring,
    )
    found = run_pass(request, dataset, batch_size)
    resampling = {"num_resamples": num_resamples, "key": key}
    if reference is not None:
        values = summarize_ood_columns(reference.columns, found.columns, **resampling)
    else:
        values = summarize_columns(found.columns, metrics, **resampling)
    return Evaluation(
        model=model.name,
        dataset=getattr(dataset, "name", None),
        role=role,
        metrics=values,
        columns=found.columns,
        num_examples=len(found.columns["id"]),
        num_skipped=found.num_skipped,
        skipped=found.skipped,
        num_nonfinite=int((~found.columns["finite"]).sum()),
        temperature=temperature,
        batch_size=found.batch_size,
        num_devices=mesh.size,
        num_resamples=num_resamples,
        timing=found.timing,
        logits=found.logits,
        features=found.features,
        scoring=scoring,
    )


def calibrate(
    model: Classifier,
    variables: Mapping[str, jax.Array | np.ndarray],
    dataset: Dataset,
    *,
    batch_size: int = 256,
    mesh: Mesh | None = None,
    on_error: OnError = "raise",
    num_threads: int | None = None,
) -> float:
    """Fits the temperature that minimises the NLL on a dataset.

    Args:
        model: As for `evaluate`.
        variables: As for `evaluate`.
        dataset: Labelled images that are not evaluated on.
        batch_size: As for `evaluate`.
        mesh: As for `evaluate`.
        on_error: As for `evaluate`.
        num_threads: As for `evaluate`.

    Returns:
        A positive temperature; see `jaxbench.metrics.fit_temperature`.

    Raises:
        UserError: As for `evaluate`, and if the dataset's labels are sets or coarse
            classes, whose likelihood is not defined.
        ValueError: If no row of logits is finite.
    """
    check_labels(model, dataset, "clean")
    scoring = scoring_of(dataset)
    if scoring and (scoring.groups is not None or scoring.label_sets is not None):
        raise UserError(
            f"{getattr(dataset, 'name', 'the calibration set')} has sets of labels or "
            "coarse classes; fit the temperature on images with one label each of the "
            "model's own classes"
        )
    request = PassRequest(
        model,
        variables,
        mesh or make_data_mesh(),
        on_error=on_error,
        keep_logits=True,
        num_threads=num_threads,
    )
    found = run_pass(request, dataset, batch_size)
    finite = found.columns["finite"]
    if not finite.any() or found.logits is None:
        raise ValueError(
            f"{model.name}: every logit on the calibration images is NaN or infinite, "
            "no temperature can be fitted; check the weights"
        )
    # Rows are masked, not dropped: the fit is compiled for every length it meets.
    labels = found.columns["label"].astype(np.int32)
    allowed = scoring.class_mask if scoring else None
    return float(fit_temperature(found.logits, labels, mask=finite, class_mask=allowed))


def compile_evaluation(
    model: Classifier,
    *,
    calibrated: bool = False,
    keep_logits: bool = False,
    batch_size: int = 256,
    num_examples: int,
    mesh: Mesh | None = None,
    scoring: Scoring | None = None,
) -> None:
    """Compiles what `evaluate` will need, ahead of time.

    Safe to call from another thread while something else runs: XLA does not hold
    Python's lock.

    Args:
        model: A zoo model; its weights' shapes are known without weights.
        calibrated: Whether there will be a temperature.
        keep_logits: Whether there will be logits; `calibrate` asks for them.
        batch_size: As for `evaluate`.
        num_examples: Of the dataset; a batch is at most as large.
        mesh: As for `evaluate`.
        scoring: That of the dataset, if it has one; only its shape counts.
    """
    mesh = mesh or make_data_mesh()
    whole = replicated(mesh)
    shapes = {
        name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole)
        for name, leaf in model.shapes.items()
    }
    rows = step_rows(batch_size, num_examples, mesh)
    plan = StepPlan(
        model,
        mesh,
        rows,
        tempered=calibrated and not (scoring and scoring.num_groups),
        keep_logits=keep_logits,
        decisions=decision_shape(scoring),
    )
    compile_step(plan, shapes)


def check_labels(model: Classifier, dataset: Dataset, role: Role) -> None:
    """Refuses datasets that a model cannot be measured on.

    Raises:
        UserError: If examples are missing, the labels are not [N], a label is out of
            the model's range, or a folder's classes were numbered among themselves and
            the model has others.
    """
    labels = np.asarray(dataset.labels)
    name = getattr(dataset, "name", "the dataset")
    if misfit := label_misfit(labels):
        raise UserError(f"{name}: {misfit}")
    if not len(labels):
        raise UserError(f"{name} has no examples; check its path and split")
    low, high = int(labels.min()), int(labels.max())
    scoring = scoring_of(dataset)
    if role != "ood" and scoring and scoring.num_outputs != model.num_classes:
        raise UserError(
            f"{name} is scored on {scoring.num_outputs} classes, {model.name} has "
            f"{model.num_classes}; evaluate a model with those classes"
        )
    if role != "ood" and scoring and scoring.groups is not None:
        return
    if role != "ood" and (low < 0 or high >= model.num_classes):
        raise UserError(
            f"{name} has labels {low} to {high}, {model.name} has "
            f"{model.num_classes} classes (0 to {model.num_classes - 1}); create the "
            f"model with num_classes={high + 1}, or give the class names in the "
            "model's order"
        )
    classes = folder_classes(dataset) if role != "ood" else None
    if classes is not None and len(classes) != model.num_classes:
        raise UserError(
            f"{name} has {counted(len(classes), 'class folder')}, numbered among "
            "themselves, and "
            f"{model.name} has {model.num_classes} classes: open it with class_names, "
            'the model\'s classes in order, or class_names="imagenet"'
        )


def _range_problems(role, metrics, on_error, batch_size, num_resamples, key):
    """Arguments that are out of range by themselves."""
    known = {"role": (role, get_args(Role)), "on_error": (on_error, get_args(OnError))}
    for name, (value, choices) in known.items():
        if value not in choices:
            yield unknown_name(name, str(value), choices)
    for name in metrics:
        if name not in SCORE_METRICS:
            yield unknown_name("metric", name, SCORE_METRICS)
    if batch_size < 1:
        yield f"batch_size is {batch_size}, wanted 1 or more"
    if num_resamples < 0:
        yield f"num_resamples is {num_resamples}, wanted 0 or more"
    if num_resamples and key is None:
        yield "key is None; give one, or num_resamples=0 for no intervals"


def _fit_problems(role, dataset, reference, calibration, temperature):
    """Arguments that do not fit each other."""
    if (role == "ood") != (reference is not None):
        yield (
            f"role is {role!r} and there is {'a' if reference else 'no'} reference; "
            'the same model\'s clean evaluation goes with role "ood", only with it'
        )
    if temperature is not None and calibration is not None:
        yield "both calibration and temperature are given; one decides the other"
    if temperature is not None and not (math.isfinite(temperature) and temperature > 0):
        yield f"temperature is {temperature}, wanted a positive number"
    same = getattr(dataset, "fingerprint", None)
    if same is not None and same == getattr(calibration, "fingerprint", None):
        yield (
            "calibration and dataset are the same images; a temperature that was "
            "fitted on the images it is judged by looks better than it is"
        )
