"""Trials that differ in having a teacher alone, found by their settings."""

from collections.abc import Mapping
from typing import Any, NamedTuple

Settings = Mapping[str, Any]

_TEACHER = (
    *("teacher", "distillation", "distillation_kind", "distillation_temperature"),
    # Two tables of teachers may share the name and not the network.
    "teacher_trial",
)
# What follows from the training, or says nothing about it.
_RESULTS = ("trial_id", "experiment", "strategy", "diverged_step", "stopped_step")


class Students(NamedTuple):
    """The same student with and without a teacher.

    Attributes:
        model: The student.
        optimizer: What trained it.
        learning_rate: Its peak.
        weight_decay: In the optimizer's convention.
        teacher: The teacher and its weights.
        weight: Its part of the loss.
        kind: "soft" or "hard".
        temperature: Of the kind "soft".
        taught: Seed to the trial with the teacher.
        alone: Seed to the trial without.
        teacher_trial: The trial that taught, if one of the folder did.
    """

    model: str
    optimizer: str
    learning_rate: float
    weight_decay: float
    teacher: str
    weight: float
    kind: str
    temperature: float
    taught: dict[int, str]
    alone: dict[int, str]
    teacher_trial: str | None = None

    @property
    def title(self) -> str:
        """How it is called."""
        return f"{self.model} {self.optimizer}, teacher {self.teacher}"


def find_students(trials: Mapping[str, Settings]) -> tuple[Students, ...]:
    """Pairs up trials with and without a teacher that are the same in all else.

    Hyper-parameters, recipe, images and seed must be equal; every teacher (its
    network, trial, part of the loss, kind and temperature) makes a group of its own.

    Args:
        trials: Run id to settings, of finished trials; one without a seed is left out.

    Returns:
        Groups with at least one seed that has both, in the order of the trials.
    """
    alone: dict[tuple, dict[int, str]] = {}
    taught: dict[tuple, dict[tuple, dict[int, str]]] = {}
    for run_id, settings in trials.items():
        student, seed = _student(settings), settings.get("seed")
        if seed is None:
            continue
        if settings.get("teacher") is None:
            alone.setdefault(student, {})[seed] = run_id
        else:
            teacher = tuple(settings.get(name) for name in _TEACHER)
            groups = taught.setdefault(student, {})
            groups.setdefault(teacher, {})[seed] = run_id
    found = []
    for student, groups in taught.items():
        for teacher, with_it in groups.items():
            seeds = with_it.keys() & alone.get(student, {}).keys()
            if not seeds:
                continue
            named = dict(student)
            named_teacher = dict(zip(_TEACHER, teacher, strict=True))
            found.append(
                Students(
                    named["model"],
                    named["optimizer"],
                    named["learning_rate"],
                    named["weight_decay"],
                    named_teacher["teacher"],
                    named_teacher["distillation"],
                    named_teacher["distillation_kind"],
                    named_teacher["distillation_temperature"],
                    {seed: with_it[seed] for seed in sorted(seeds)},
                    {seed: alone[student][seed] for seed in sorted(seeds)},
                    named_teacher["teacher_trial"],
                )
            )
    return tuple(found)


def _student(settings: Settings) -> tuple:
    """Everything but the seed and the teacher."""
    left_out = (*_TEACHER, *_RESULTS, "seed")
    kept = {name: v for name, v in settings.items() if name not in left_out}
    return tuple(sorted(kept.items()))
