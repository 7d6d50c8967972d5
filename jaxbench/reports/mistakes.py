"""Sections about mistakes: confused classes, and images that most models fail on."""

from collections.abc import Sequence

from jaxbench.errors import counted
from jaxbench.reports.cells import Column, Table, interval_cell, percent_cell, text_cell
from jaxbench.reports.page import HeatMap, Picture, Section
from jaxbench.studies.entries import Row
from jaxbench.studies.mistake_images import SeenImages, find_images
from jaxbench.studies.mistakes import (
    Answers,
    Confusion,
    Mistake,
    confident_mistakes,
    confused_pairs,
)

# Pairs over all models, and of one; images; models with pairs of their own; classes on
# a side of the map.
MAX_PAIRS, MAX_PAIRS_EACH, MAX_IMAGES, MAX_EACH, MAX_CLASSES = 20, 5, 24, 8, 16
_NUM_NAMED = 3


def mistake_sections(
    answers: Answers, row: Row, shown: Sequence[str] = ()
) -> list[Section]:
    """Which classes are taken for which, and which images most models fail on.

    Args:
        answers: Of the models, on one dataset.
        row: The evaluation of one of them: says which dataset, and its digest.
        shown: Models with pairs of their own; the first ones when empty.

    Returns:
        Nothing, if every model is always right or no answers are stored.
    """
    if not answers.num_wrong():
        return []
    seen = find_images(row, answers)
    each = [name for name in shown if name in answers.models] or answers.models
    where = row["dataset"] or "(unnamed)"
    sections = [
        _confusion_section(answers, seen, each[:MAX_EACH], where),
        _mistake_section(answers, seen, where),
    ]
    return [section for section in sections if section.table and section.table.rows]


def _confusion_section(
    answers: Answers, seen: SeenImages, each: Sequence[str], where: str
) -> Section:
    columns = (
        Column("Model"),
        Column("True class"),
        Column("Taken for"),
        Column("Share %", numeric=True, help="of the answers to images of the class"),
        Column("Answers", numeric=True),
        Column("Images", numeric=True, help="of the true class"),
    )
    every = confused_pairs(answers)
    pairs = every[:MAX_PAIRS]
    several = len(answers.models) > 1
    rows = []
    if several:
        everyone = f"all {len(answers.models)} models"
        rows += [_pair_row(everyone, pair, seen) for pair in pairs]
    for model in each:
        found = pairs
        if several:
            found = confused_pairs(answers.of(model), most=MAX_PAIRS_EACH)
        rows += [_pair_row(model, pair, seen) for pair in found]
    count = counted(len(answers.models), "model")
    return Section(
        "confusions",
        "Classes taken for others",
        f"On {where}, the pairs that {count} confused most often. Share: of all "
        "answers to images of the true class; its Wilson interval is that of as many "
        "trials as the class has images, since answers of several models to one image "
        "are not independent." + _left_out(answers),
        Table(columns, tuple(rows)),
        charts=(_map(answers, every, seen),),
    )


def _pair_row(model: str, pair: Confusion, seen: SeenImages) -> tuple:
    return (
        text_cell(model),
        text_cell(seen.class_name(pair.label)),
        text_cell(seen.class_name(pair.prediction)),
        interval_cell(*pair.share, percent=True),
        text_cell(pair.num_answers),
        text_cell(pair.num_images),
    )


def _map(answers: Answers, every: Sequence[Confusion], seen: SeenImages) -> HeatMap:
    """Shares between the classes of the most confused pairs."""
    named = dict.fromkeys(c for pair in every for c in (pair.label, pair.prediction))
    classes = sorted(list(named)[:MAX_CLASSES])
    shares = {(pair.label, pair.prediction): pair.share.value for pair in every}
    with_images = set(answers.label.tolist())
    values = tuple(
        tuple(
            shares.get((true, taken), 0.0)
            if true != taken and true in with_images
            else None
            for taken in classes
        )
        for true in classes
    )
    names = [seen.class_name(label) for label in classes]
    # Two of ImageNet's classes may have one word.
    titles = tuple(
        f"{name} ({label})" if names.count(name) > 1 else name
        for name, label in zip(names, classes, strict=True)
    )
    return HeatMap(
        "confusions",
        titles,
        titles,
        values,
        "Share of the answers",
        percent=True,
        heading="Taken for",
        caption="Rows: true classes; columns: what they are taken for, over all "
        f"models. {len(classes)} classes of the most confused pairs.",
    )


def _mistake_section(answers: Answers, seen: SeenImages, where: str) -> Section:
    columns = (
        Column("Image"),
        Column("True class"),
        Column("Taken for", help="with the number of models"),
        Column("Models wrong", numeric=True, help=f"of {len(answers.models)}"),
        Column("Confidence %", numeric=True, help="mean of the models that are wrong"),
    )
    found = confident_mistakes(answers, most=MAX_IMAGES)
    rows = tuple(
        (
            text_cell(one.id),
            text_cell(seen.class_name(one.label)),
            text_cell(_taken_for(one, seen)),
            text_cell(one.num_wrong),
            percent_cell(one.confidence),
        )
        for one in found
    )
    pictures = seen.pictures(one.id for one in found)
    return Section(
        "confident-mistakes",
        "Most confident mistakes",
        f"The images of {where} with the largest sum of confidence in a wrong answer, "
        f"over {counted(len(answers.models), 'model')}. Such an image is hard, or its "
        "label is in doubt."
        + (f" {seen.note}" if seen.note else "")
        + _left_out(answers),
        Table(columns, rows),
        pictures=tuple(
            Picture(
                pictures[one.id],
                one.id,
                f"{seen.class_name(one.label)}, taken for {_taken_for(one, seen)}: "
                f"{one.num_wrong} of {counted(len(answers.models), 'model')}, "
                f"{one.confidence:.0%} confident",
            )
            for one in found
            if one.id in pictures
        ),
    )


def _taken_for(mistake: Mistake, seen: SeenImages) -> str:
    """The predicted classes, each with its models where there are several."""
    named = list(mistake.predictions.items())
    if len(named) == 1:
        return seen.class_name(named[0][0])
    texts = [f"{seen.class_name(label)} ({n})" for label, n in named[:_NUM_NAMED]]
    more = ", ..." if len(named) > _NUM_NAMED else ""
    return ", ".join(texts) + more


def _left_out(answers: Answers) -> str:
    if not answers.left_out:
        return ""
    count = counted(len(answers.left_out), "model")
    return f" Left out, since their images or labels are others: {count}."
