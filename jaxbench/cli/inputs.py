"""What models see and what their outputs mean, as a dry run shows it."""

from collections.abc import Callable, Iterator
from functools import partial

from rich.console import Console
from rich.table import Table

from jaxbench.cli.display import console
from jaxbench.errors import UserError
from model_zoo.input_spec import InputSpec


def show_inputs(plan) -> None:
    """Prints what every model sees, where that is said, and what its outputs mean."""
    from jaxbench.sweeps.jobs.training import Training

    rows: dict[tuple[str, ...], None] = {}
    for job in plan.of(Training):
        train, trial = job.train, job.trials[0]
        spec = trial.classifier().input_spec
        start = "its first weights" if train.weights else "the zoo's table"
        outputs = f"{trial.num_classes}: those of {train.dataset}"
        rows[job.model, _words(spec), _said_by(train, start), outputs] = None
    first = plan.targets[0].source
    for subject in _subjects(plan):
        said_by = _said_by(subject.entry, subject.found.spec_from)
        outputs = _outputs(subject, first)
        rows[subject.name, _words(subject.found.spec), said_by, outputs] = None
    if not rows:
        return
    table = Table(title="What the models see")
    for column in ("model", "input", "said by", "outputs"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    # Where nobody looks, columns need not fit a screen.
    wide = console if console.is_terminal else Console(width=max(console.width, 160))
    wide.print(table)


def _subjects(plan) -> list:
    """Models with given weights: those that are evaluated, and probed backbones."""
    from jaxbench.sweeps.jobs.evaluation import Evaluation
    from jaxbench.sweeps.jobs.probing import Probing

    given = [job for job in plan.of(Evaluation) if job.trained_by is None]
    found = [model for job in given for model in job.models]
    return found + [job.subject for job in plan.of(Probing)]


def _words(spec: InputSpec) -> str:
    height, width = spec.size
    mode = "" if spec.crop_mode == "center" else f" {spec.crop_mode}"
    mean, std = (
        "/".join(f"{v:.3g}" for v in values) for values in (spec.mean, spec.std)
    )
    return (
        f"{height}x{width}, crop {spec.crop_fraction:g}{mode}, {spec.interpolation}, "
        f"mean {mean}, std {std}"
    )


def _said_by(asked, otherwise: str) -> str:
    """What a table asks for, and who says the rest."""
    named = {
        "size": asked.image_size,
        "crop": asked.crop_fraction,
        "filter": asked.interpolation,
    }
    given = [f"{what} as asked" for what, value in named.items() if value is not None]
    return "; ".join([otherwise, *given])


def _outputs(subject, source) -> str:
    if subject.outputs is None:
        return "features"
    count, said_by = subject.outputs.count, subject.outputs.said_by
    order = {
        None: "the dataset's classes in its order",
        "imagenet": "ImageNet's classes",
        "label_names": "those of its config.json",
        "timm": "the dataset's in timm's order",
    }.get(said_by, f"those of {said_by}")
    held = len(set(source.labels.tolist()))
    part = f"; the dataset has {held}, no logit is masked" if held < count else ""
    return f"{count}: {order}{part}"


def check_weights(plan) -> None:
    """Reads every local file of weights, so that a dry run refuses what a run would.

    Raises:
        UserError: If one cannot be read or is not its model's; all are named.
    """
    problems: dict[str, None] = {}
    for name, load in _local_weights(plan):
        try:
            load()
        except (UserError, ValueError, OSError, ImportError) as error:
            problems[f"{name}: {error}"] = None
    if problems:
        raise UserError("\n".join(problems))


def _local_weights(plan) -> Iterator[tuple[str, Callable[[], object]]]:
    """Every model whose weights are a file here, and what reads it."""
    from jaxbench.sweeps.jobs.training import Training

    trainings = plan.of(Training)
    for subject in (*_subjects(plan), *(job.teacher for job in trainings)):
        if subject is not None and subject.is_local:
            yield subject.name, partial(_read, subject)
    for job in trainings:
        if job.start is not None and job.start.files:
            yield job.model, job.start.pretrained.load


def _read(subject) -> None:
    subject.variables(subject.classifier())
