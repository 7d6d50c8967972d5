"""The selective study's sections on pairs: models with and without a teacher."""

from collections.abc import Sequence

from jaxbench.reports.page import Section
from jaxbench.reports.studies import selective_tables as tables
from jaxbench.studies import Effect
from jaxbench.studies.entries import is_number
from jaxbench.studies.teachers import StudentEffects, TwinChanges


def twin_sections(twins: TwinChanges) -> list[Section]:
    """Distilled models of the zoo against the same architecture without a teacher."""
    if not twins.num_pairs:
        return []
    sections = [
        Section(
            "twins",
            "Distilled and undistilled twins",
            f"{twins.num_pairs} pairs of models whose names differ in the word for a "
            "teacher alone; distilled less undistilled. Published numbers: AUROC is "
            "better in 21 of 25 pairs.",
            table=tables.change_table(
                {("", name): change for name, change in twins.changes.items()}, ""
            ),
        )
    ]
    if twins.effects:
        sections.append(
            Section(
                "twin-pairs",
                "Twin by twin",
                "Distilled less undistilled on the same images; intervals are about "
                "other images, by the paired bootstrap.",
                table=tables.effect_table(
                    twins.effects,
                    ("Distilled", "Undistilled"),
                    ("Distilled", "Undistilled"),
                ),
            )
        )
    return sections


def student_sections(students: StudentEffects) -> list[Section]:
    """Trials with and without a teacher that are the same in all else, over seeds."""
    rows = [(place, one) for place, found in students.effects.items() for one in found]
    if not rows:
        return []
    return [
        Section(
            "students",
            "The same student with and without a teacher",
            "Means over the seeds; the students of a seed are the same in weights, "
            "order of images and settings at the start. "
            + _intervals([effect for _, effect in rows]),
            table=tables.effect_table(
                rows, ("Student", "Dataset"), ("With teacher", "Without")
            ),
        )
    ]


def _intervals(effects: Sequence[Effect]) -> str:
    """What the intervals of students are about."""
    if not any(is_number(effect.low) for effect in effects):
        return "Without resamples differences have no intervals."
    single = {effect.num_pairs == 1 for effect in effects}
    if single == {False}:
        return "Intervals cover other seeds and other images."
    one = "about other images alone: other seeds may well give another sign."
    if single == {True}:
        return f"There is one seed, so intervals are {one}"
    return (
        "Intervals cover other seeds and other images; where there is one seed (1 of 1 "
        f"or 0 of 1 better), they are {one}"
    )
