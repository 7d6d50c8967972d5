"""A page with every kind of chart, of any number of models."""

import io

import numpy as np
from PIL import Image

from jaxbench.reports.cells import Cell, Column, Table, measured_cell, metric_column
from jaxbench.reports.metric_texts import METRIC_TEXTS
from jaxbench.reports.page import (
    Bars,
    Curves,
    Distributions,
    Finding,
    HeatMap,
    Page,
    Panels,
    Picture,
    Point,
    Ranks,
    Samples,
    Scatter,
    Section,
)

FAMILIES = ("ResNet", "ViT", "ConvNeXt", "EfficientNet", "MLP-Mixer", "Swin", "DeiT")
REGIMES = ("supervised", "distilled", "pretrained")
METRICS = tuple(METRIC_TEXTS)[:20]
DATASETS = ("imagenet", "imagenet-v2", "imagenet-a", "imagenet-r", "sketch", "real")
HOSTILE = "<b>x</b></script><script>alert(1)</script> & \"q\" 'a' ${1} {{ 2 }}"


def names(count):
    found = [f"{FAMILIES[i % 7].lower()}_{i:03d}.sample_in1k" for i in range(count)]
    found[-1] = HOSTILE
    return found


def values(count, metrics=METRICS):
    """Model by metric, of which one of seven has no AUROC."""
    rng = np.random.default_rng(0)
    found = rng.uniform(0.05, 0.95, (count, len(metrics)))
    found[:, 0] = 0.55 + 0.4 * rng.beta(4, 2, count)
    return found


def scatter(count):
    table = values(count)
    points = []
    for i, label in enumerate(names(count)):
        triples = {
            metric: (float(v), float(v) - 0.013, float(v) + 0.017)
            for metric, v in zip(METRICS, table[i], strict=True)
            if not (metric == "nll" and i % 7 == 0)
        }
        groups = {"family": FAMILIES[i % 7], "regime": REGIMES[i % 3]}
        details = {"parameters": f"{5 + i} M", "input": "224 x 224"}
        points.append(Point(label, triples, groups, details))
    return Scatter(
        "accuracy_calibration",
        tuple(points),
        x="accuracy",
        y="ece",
        group="family",
        headings={"brier": "Brier score"},
        heading="Accuracy and calibration",
        caption="Each point is a model; bars hold 95 % intervals.",
    )


def curves(count, kind="risk"):
    rng = np.random.default_rng(1)
    x = np.linspace(0.02, 1, 60)
    lines, bands = {}, {}
    for label in names(count):
        top = rng.uniform(0.1, 0.4)
        if kind == "reliability":
            y = np.clip(x ** rng.uniform(0.7, 1.6), 0, 1)
        else:
            y = top * x ** rng.uniform(1, 3)
        lines[label] = (x.tolist(), y.tolist())
        bands[label] = ((y * 0.93).tolist(), np.minimum(1, y * 1.06).tolist())
    return Curves(
        f"{kind}_curves",
        lines,
        x_title="Coverage" if kind == "risk" else "Confidence",
        y_title="Selective risk" if kind == "risk" else "Accuracy",
        kind=kind,
        shown=tuple(names(count)[: min(5, count - 1)]),
        bands=bands,
        percent=frozenset({"x", "y"}),
        heading="Risk and coverage" if kind == "risk" else "Reliability",
    )


def steps():
    """Curves over named positions, with a gap."""
    places = ("clean", "gaussian noise", "shift 10", "shift 30", "scale 1.5")
    lines = {
        "resnet": ((0, 1, 2, 3, 4), (0.9, 0.7, float("nan"), 0.5, 0.4)),
        "vit": ((0, 1, 2, 3, 4), (0.92, 0.8, 0.75, 0.6, 0.55)),
    }
    return Curves(
        "invariance",
        lines,
        x_title="Transformation",
        y_title="Accuracy",
        percent=frozenset({"y"}),
        x_labels=places,
        heading="Invariance",
    )


def panels():
    quantities = {"Loss": steps(), "Risk": curves(4)}
    return Panels("side_by_side", quantities, heading="Side by side")


def ranks(count, groups=False):
    rng = np.random.default_rng(2)
    skill = rng.normal(size=count)
    labels = names(count)
    columns = []
    for k in range(len(DATASETS)):
        order = np.argsort(-(skill + 0.3 * k * rng.normal(size=count)))
        rank = np.empty(count)
        rank[order] = np.arange(1, count + 1)
        columns.append(rank)
    table = np.stack(columns, 1)
    found = {
        label: tuple(map(float, row)) for label, row in zip(labels, table, strict=True)
    }
    first = labels[0]
    found[first] = (*found[first][:3], None, *found[first][4:])
    return Ranks(
        "ranks_grouped" if groups else "ranks",
        DATASETS,
        found,
        shown=tuple(sorted(labels, key=lambda label: found[label][0])[:5]),
        groups={n: FAMILIES[i % 7] for i, n in enumerate(labels)} if groups else {},
        heading="Ranks on each dataset",
    )


def heat_map(*, diverging=False, size=9):
    rng = np.random.default_rng(3)
    table = rng.uniform(-0.8 if diverging else 0.0, 1, (size, size)).tolist()
    table[0][1] = None
    return HeatMap(
        "drops" if diverging else "agreement",
        tuple(names(size)),
        tuple(f"dataset {k}" for k in range(size)),
        tuple(tuple(row) for row in table),
        title="Change of accuracy" if diverging else "Cohen's kappa",
        diverging=diverging,
        percent=diverging,
        heading="Differences" if diverging else "Agreement",
    )


def table(count, metrics=METRICS):
    columns = (Column("Model"), *(metric_column(name) for name in metrics))
    numbers = values(count, metrics)
    rows = []
    for i, label in enumerate(names(count)):
        cells = [
            measured_cell(v, v - 0.01, v + 0.01, metric)
            for v, metric in zip(map(float, numbers[i]), metrics, strict=True)
        ]
        if i == 2:
            cells[1] = Cell("-", None)
        rows.append((Cell(label, label), *cells))
    return Table(columns, tuple(rows))


def sample_page(count=40):
    return Page(
        name="sample",
        title="One accuracy on one test set",
        question="Does a more accurate model also know better when it is wrong?",
        reference="https://arxiv.org/abs/2302.11874",
        facts=(("Models", f"{count}"), ("Datasets", "6"), ("Images", "50,000")),
        findings=(
            Finding("Correlation", "0.71 [0.64, 0.78]", "Accuracy against AUROC."),
            Finding("Best calibrated", HOSTILE, "Lowest ECE of all."),
            Finding("Rank changes", "38 of 120", "Pairs that swap on -V2."),
        ),
        sections=(
            Section(
                "calibration",
                "Calibration",
                "Models by accuracy and calibration. Guo et al. (2017).",
                table=table(count),
                charts=(scatter(count),),
            ),
            Section(
                "selective",
                "Selective prediction",
                "Error rate among the answered images.",
                charts=(curves(count), curves(count, "reliability"), steps()),
            ),
            Section(
                "lottery",
                "Ranks",
                "1 is the best.",
                charts=(ranks(count), ranks(count, groups=True)),
            ),
            Section(
                "matrices",
                "Matrices",
                "Pairs of models and datasets.",
                charts=(heat_map(), heat_map(diverging=True)),
            ),
            Section(
                "training",
                "Training",
                "Quantities side by side, and what the settings do.",
                charts=(panels(), bars(), ridges(), boxes()),
            ),
            Section(
                "mistakes",
                "Mistakes",
                "A picture, and a table that is folded.",
                table=table(12),
                pictures=(Picture(png(), HOSTILE, "truth cat, answer dog"),),
                folded=True,
            ),
        ),
        notes=("Intervals are bootstrap intervals.", f"Left out: {HOSTILE}"),
        made=(("Command", "jaxbench study sample results"), ("Name", HOSTILE)),
        provenance=(
            ("jax_version", "Version of JAX", "0.7.2 (40)"),
            ("config_digest", "The configuration", HOSTILE),
        ),
    )


def png():
    """The bytes of a picture of 4 x 4 pixels."""
    content = io.BytesIO()
    Image.new("RGB", (4, 4), "#0072b2").save(content, "PNG")
    return content.getvalue()


def bars():
    rng = np.random.default_rng(4)
    labels = ("resnet50.a1_in1k", "vit_small_patch16", HOSTILE)
    values = rng.uniform(0.4, 0.95, (3, len(labels))).tolist()
    series = {
        name: tuple((v, v - 0.03, v + 0.02) for v in row)
        for name, row in zip(("energy", "max logit", "KNN"), values, strict=True)
    }
    # One without an interval, one without a number.
    first = series["energy"]
    series["energy"] = ((first[0][0], None, None), first[1], None)
    return Bars(
        "ood",
        labels,
        series,
        "AUROC",
        percent=True,
        reference=0.5,
        heading="Out-of-distribution detection",
    )


def ridges():
    rng = np.random.default_rng(5)
    notes = {"adamw": "failed", "lion": "3 diverged", "sgd": ""}
    sizes = {"adamw": 12, "lion": 3, "sgd": 20}
    panels = {
        backbone: tuple(
            Samples(name, rng.beta(4, 2, sizes[name]).round(3).tolist(), note=note)
            for name, note in notes.items()
        )
        for backbone in ("resnet", "vit", HOSTILE)
    }
    return Distributions(
        "ridges",
        panels,
        "ridge",
        "Validation accuracy",
        percent=True,
        heading="Accuracy over the hyper-parameters",
    )


def boxes():
    rng = np.random.default_rng(6)
    panels = {
        f"By {word}": tuple(
            Samples(name, rng.integers(0, 6, 9).tolist(), group=group)
            for name in ("sgd", "adamw", "lion")
            for group in ("own", "published")
        )
        for word in ("optimizer", "backbone")
    }
    return Distributions(
        "boxes", panels, "box", "Rank distance", heading="Robustness of the settings"
    )
