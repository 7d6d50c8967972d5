"""The page of the study beyond accuracy: what one number on ImageNet does not say.

The questions are those of arXiv 2311.09215; the numbers are in `jaxbench.studies`.
Models with a head of their own fill all parts but one, probes of frozen features the
one about transfer; a folder may have either, or both.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxbench.errors import UserError, counted
from jaxbench.reports.mistakes import mistake_sections
from jaxbench.reports.page import Page
from jaxbench.reports.studies.beyond_calibration import calibration_part
from jaxbench.reports.studies.beyond_factors import factors_part
from jaxbench.reports.studies.beyond_groups import groups_part, overview_part
from jaxbench.reports.studies.beyond_parts import (
    Part,
    Study,
)
from jaxbench.reports.studies.beyond_published import published_part
from jaxbench.reports.studies.beyond_robustness import robustness_part
from jaxbench.reports.studies.beyond_shapes import shapes_part
from jaxbench.reports.studies.beyond_transfer import transfer_part
from jaxbench.reports.studies.beyond_views import views_part
from jaxbench.results import ResultStore
from jaxbench.studies.entries import Results, load_results
from jaxbench.studies.mistakes import COLUMNS, Answers
from jaxbench.studies.models import (
    Model,
    addresses,
    choose,
    find_models,
    find_reference,
    has_own_head,
    strangers,
)
from jaxbench.studies.resampling import Resampling
from jaxbench.studies.transfer import find_backbones, probe_rows

TITLE = "Beyond accuracy"
QUESTION = "Models of the same accuracy: what sets them apart?"
REFERENCE = "https://arxiv.org/abs/2311.09215"
# More curves than this no eye can follow.
MOST_CURVES = 24


def build(
    store: ResultStore,
    *,
    reference: str | None = None,
    annotations: str | Path | None = None,
    prototypes: str | Path | None = None,
    responses: Sequence[str | Path] = (),
    groups: Mapping[str, str] | None = None,
    calibration_on: Sequence[str] = (),
    shown: Sequence[str] = (),
    num_resamples: int = 1000,
    seed: int = 0,
) -> Page:
    """Analyses a results folder as arXiv 2311.09215 does four models.

    Args:
        store: The folder.
        reference: Address of the clean dataset; the one that most models with a head
            of their own were evaluated on when None.
        annotations: Factors of the reference's images, for error ratios: ImageNet-X's
            `imagenet_x_val_top_factor.jsonl`, or a file of `studies.read_factors`.
        prototypes: ImageNet-X's `prototypical_paths.csv`, images to leave out.
        responses: CSV files of answers to cue-conflict images, or folders of them, of
            other models or of people.
        groups: Label or name of a model to its group; they come before what names say.
        calibration_on: Datasets beside the reference whose calibration is shown; all
            but corruptions and other views when empty.
        shown: Models whose curves are drawn, by label or name, wildcards allowed; the
            24 most accurate when empty.
        num_resamples: Resamples behind bootstrap intervals, 1 or more.
        seed: Chooses the resamples.

    Returns:
        The page. What a folder cannot answer is left out of it and named in its notes.

    Raises:
        UserError: If no model was evaluated on the reference, an option does not fit,
            or files of answers or annotations are not about the images evaluated.
    """
    _check(responses, groups, calibration_on, shown, num_resamples, seed)
    results = load_results(store)
    backbones = find_backbones(results, groups or {})
    rows = results.evaluations
    headed = any(r["role"] == "clean" and has_own_head(r) for r in rows)
    if backbones and not headed:
        heads = {
            "reference": reference,
            "annotations": annotations,
            "prototypes": prototypes,
            "responses": responses,
            "calibration_on": calibration_on,
            "shown": shown,
        }
        _check_probes_alone([name for name, value in heads.items() if value])
        return _probes_page(store, results, backbones, groups or {})
    dataset = find_reference(results, reference, heads_only=True)
    own = groups or {}
    models, notes = find_models(results, dataset, groups=own, heads_only=True)
    notes += strangers((*models, *backbones.values()), own, "Groups")
    if not models:
        raise UserError(f"no model has a result on {dataset}; evaluate some on it")
    charted = tuple(model.label for model in choose(models, shown))
    if not shown:
        charted = tuple(model.label for model in models[:MOST_CURVES])
        if len(models) > len(charted):
            notes.append(
                f"Curves are of the {len(charted)} most accurate of {len(models)} "
                "models; the option `shown` chooses others."
            )
    resampling = Resampling(seed, num_resamples)
    study = Study(store, models, dataset, charted, resampling)
    parts = [
        calibration_part(study, tuple(calibration_on)),
        robustness_part(study),
        views_part(study),
        shapes_part(study, [str(path) for path in responses]),
        factors_part(study, annotations, prototypes),
        _mistakes_part(study),
        transfer_part(store, results, backbones, models),
    ]
    scores = _scores(parts)
    parts = [
        overview_part(study, scores),
        *parts,
        published_part(parts),
        groups_part(study, scores),
    ]
    return _page(_facts(study), [Part(notes=notes), *parts], results)


def _mistakes_part(study: Study) -> Part:
    """Confused classes and confident mistakes of the charted models."""
    answers, rows = Answers(), []
    for model in study.models:
        if model.label not in study.charted:
            continue
        row = model.rows[study.reference]
        try:
            answers.add(model.label, study.store.examples(row["run_id"], COLUMNS))
        except UserError:
            continue  # stored without these columns
        rows.append(row)
    sections = mistake_sections(answers, rows[0]) if rows else []
    if sections:
        return Part(sections=sections)
    return Part(
        notes=[f"No mistakes of single images on {study.reference} are stored."]
    )


def _page(
    facts: tuple[tuple[str, str], ...], parts: Sequence[Part], results: Results
) -> Page:
    return Page(
        name="beyond",
        title=TITLE,
        question=QUESTION,
        reference=REFERENCE,
        facts=facts,
        findings=tuple(one for part in parts for one in part.findings),
        sections=tuple(one for part in parts for one in part.sections),
        notes=(*(n for part in parts for n in part.notes), *_notes(results)),
    )


def _check_probes_alone(given: Sequence[str]) -> None:
    """Options about models with heads say nothing about probes.

    Raises:
        UserError: If there are such options.
    """
    if given:
        raise UserError(
            "the folder has probes of frozen features alone, and these options are "
            f"about models with a head of their own: {', '.join(given)}; leave them "
            "out, or evaluate such models into the folder"
        )


def _probes_page(
    store: ResultStore,
    results: Results,
    backbones: Mapping[tuple, Model],
    groups: Mapping[str, str],
) -> Page:
    """The page of a folder without models that have a head of their own."""
    part = transfer_part(store, results, backbones)
    found = sorted(backbones.values(), key=lambda one: one.label)
    part.notes += strangers(found, groups, "Groups")
    part.notes.append(
        "The folder has probes alone: calibration, robustness and the other parts are "
        "about models with a head of their own ([[evaluate.models]], [train])."
    )
    study = Study(store, found, "", (), Resampling(0, 1))
    facts = (
        ("Backbones", str(len(found))),
        ("Datasets", str(len({row["dataset"] for row in probe_rows(results)}))),
        ("Groups", _counted(found)),
    )
    parts = [part, published_part([part]), groups_part(study, part.scores)]
    return _page(facts, parts, results)


def _check(
    responses: Any,
    groups: Any,
    calibration_on: Any,
    shown: Any,
    num_resamples: Any,
    seed: Any,
) -> None:
    """Options may come from a file: their types are not known yet.

    Raises:
        UserError: Naming all that do not fit.
    """
    problems = []
    for name, value, kinds in (
        ("responses", responses, (str, Path)),
        ("calibration_on", calibration_on, str),
        ("shown", shown, str),
    ):
        listed = isinstance(value, Sequence) and not isinstance(value, str)
        if not listed or not all(isinstance(one, kinds) for one in value):
            problems.append(f"{name} is {value!r}, wanted a list of texts")
    pairs = {} if groups is None else groups
    if not isinstance(pairs, Mapping) or not all(
        isinstance(one, str) and one for one in pairs.values()
    ):
        problems.append(f"groups is {groups!r}, wanted a word for each model")
    for name, value, least in (("num_resamples", num_resamples, 1), ("seed", seed, 0)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            problems.append(f"{name} is {value!r}, wanted a whole number from {least}")
    if problems:
        raise UserError("; ".join(problems))


def _scores(parts: Sequence[Part]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for part in parts:
        for label, scores in part.scores.items():
            found.setdefault(label, {}).update(scores)
    return found


def _facts(study: Study) -> tuple[tuple[str, str], ...]:
    images = {model.rows[study.reference].get("num_examples") for model in study.models}
    shown = ", ".join(f"{count:,}" for count in sorted(i for i in images if i))
    return (
        ("Models", str(len(study.models))),
        ("Reference", study.reference),
        ("Images of it", shown or "unknown"),
        ("Datasets", str(len(addresses(study.models)))),
        ("Groups", _counted(study.models)),
        ("Resamples", f"{study.resampling.num_resamples:,}"),
    )


def _counted(models: Sequence[Model]) -> str:
    """Groups and how many models each has."""
    counts = Counter(model.group for model in models).most_common()
    return ", ".join(f"{name} {count}" for name, count in counts)


def _notes(results: Results) -> list[str]:
    notes = [
        "Intervals are about other images of the same kind, not about other trainings. "
        "Nothing is corrected for the number of comparisons."
    ]
    if results.failures:
        notes.append(f"{counted(len(results.failures), 'run')} failed: left out.")
    return notes
