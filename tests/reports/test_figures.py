import re
import xml.etree.ElementTree as ElementTree

import matplotlib as mpl
import numpy as np
import pytest

from jaxbench.reports import figures
from jaxbench.reports.figures import Curve, Point, Reliability
from jaxbench.reports.scatter_legend import marker_look
from jaxbench.reports.style import PALETTE, inline_svg, label_text, line_style, render


def reliability(label="m", num_bins=15):
    counts = np.arange(num_bins)
    middle = (np.arange(num_bins) + 0.5) / num_bins
    empty = np.where(counts > 0, middle, np.nan)
    return Reliability(
        label, counts, empty, empty**2, empty**2 - 0.02, empty**2 + 0.1, 0.1
    )


def curve(label="m", n=50, value=0.1):
    return Curve(label, np.linspace(0, 1, n), np.full(n, value))


NAN = float("nan")
HARD_LABELS = ("$x_1$ costs $5", "_hidden", "x" * 200, "<b>&\"'", "模型")
FIGURES = {
    "reliability": lambda: figures.reliability_diagrams([reliability()] * 6),
    "reliability of one": lambda: figures.reliability_diagrams([reliability()]),
    "reliability of none": lambda: figures.reliability_diagrams([]),
    "reliability, ECE NaN": lambda: figures.reliability_diagrams(
        [reliability()._replace(ece=NAN, counts=np.zeros(15, int))]
    ),
    "risk": lambda: figures.risk_coverage([curve(x) for x in HARD_LABELS]),
    "risk of none": lambda: figures.risk_coverage([]),
    "risk of 40": lambda: figures.risk_coverage(
        [curve(f"m{i}", 5000) for i in range(40)], left_out=160
    ),
    "risk NaN": lambda: figures.risk_coverage([curve(value=NAN)]),
    "heat": lambda: figures.heat_map(
        np.array([[0.5, NAN], [0.9, 0.7]]),
        HARD_LABELS[:2],
        ["sgd", "a rather long optimizer name"],
        marks={(0, 1): "failed", (1, 1): "diverged"},
    ),
    "heat of one": lambda: figures.heat_map(np.array([[0.5]]), ["a"], ["b"]),
    "heat of NaN": lambda: figures.heat_map(
        np.full((2, 2), NAN), ["a", "b"], ["c", "d"]
    ),
    "heat of none": lambda: figures.heat_map(np.zeros((0, 0)), [], []),
    "heat of 12 x 15": lambda: figures.heat_map(
        np.random.default_rng(0).random((12, 15)),
        [f"backbone {i}" for i in range(12)],
        [f"optimizer {i}" for i in range(15)],
    ),
    "scatter": lambda: figures.scatter(
        [Point(f"m{i % 3}", f"o{i % 2}", 0.1 * i, 0.02 * i) for i in range(8)]
    ),
    "scatter of one": lambda: figures.scatter([Point("m", "", 0.5, 0.1)]),
    "scatter of none": lambda: figures.scatter([]),
    "scatter NaN": lambda: figures.scatter([Point("m", "o", NAN, 0.1)]),
    "scatter of 200": lambda: figures.scatter(
        [Point(f"m{i}", f"o{i % 20}", i / 200, i / 400) for i in range(200)]
    ),
    "severity": lambda: figures.severity_curves(
        {f"c{i}": [curve(x, 6) for x in HARD_LABELS] for i in range(9)}, left_out=3
    ),
    "severity of one": lambda: figures.severity_curves({"fog": [curve(n=1)]}),
    "severity of none": lambda: figures.severity_curves({}),
    "ood": lambda: figures.ood_bars(
        list(HARD_LABELS), {"energy": np.full(5, 0.7), "logit": np.full(5, NAN)}
    ),
    "ood of none": lambda: figures.ood_bars([], {}),
    "learning": lambda: figures.learning_curves(
        {"train_loss": [curve(), curve("x", value=NAN)], "val_accuracy": [curve()]},
        percent=["val_accuracy"],
        left_out=2,
    ),
    "learning of none": lambda: figures.learning_curves({}),
    "learning, one epoch": lambda: figures.learning_curves({"x": [curve(n=1)]}),
}


@pytest.mark.parametrize("name", FIGURES)
def test_renders_the_same_each_time_and_small(name):
    before = dict(mpl.rcParams)
    one = render(FIGURES[name](), "svg")
    two = render(FIGURES[name](), "svg")
    assert one == two
    ElementTree.fromstring(one)
    assert len(one) < 600_000
    assert dict(mpl.rcParams) == before  # no style leaks into the user's own plots


def test_png():
    figure = FIGURES["heat"]()
    assert render(figure, "png").startswith(b"\x89PNG")
    assert render(figure, "png") == render(figure, "png")


def test_inline_svg_is_a_themed_element_with_its_own_ids():
    text = inline_svg(render(FIGURES["heat"](), "svg"), "name")
    root = ElementTree.fromstring(text)
    assert root.tag == "svg"
    ids = {element.get("id") for element in root.iter() if element.get("id")}
    assert ids
    assert all(name.startswith("name-") for name in ids)
    used = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text))
    assert {a or b for a, b in used} <= ids
    assert "http" not in text
    assert "var(--ink)" in text
    assert "#1f2933" not in text


def test_texts_are_escaped_and_not_read_as_mathematics():
    text = render(FIGURES["risk"](), "svg").decode()
    shown = [e.text or "" for e in ElementTree.fromstring(text).iter()]
    for label in ("$x_1$ costs $5", "_hidden", "<b>&\"'", "模型"):
        assert any(label in one for one in shown), label


def test_reliability_bars_have_the_bins_heights():
    axis = FIGURES["reliability of one"]().axes[0]
    bars = axis.containers[0].patches
    panel = reliability()
    heights = [bar.get_height() for bar in bars]
    np.testing.assert_allclose(heights, np.nan_to_num(panel.accuracy))
    assert [text.get_text() for text in axis.texts] == ["ECE 10.0%"]


def test_long_curves_keep_their_ends():
    x = np.linspace(0.0001, 1, 10_000)
    (line,) = figures.risk_coverage([Curve("m", x, x**2)]).axes[0].lines
    drawn = line.get_xdata()
    assert len(drawn) == 200
    assert (drawn[0], drawn[-1]) == (x[0], 1.0)


def test_heat_map_writes_percent_and_marks():
    texts = [text.get_text() for text in FIGURES["heat"]().axes[0].texts]
    assert texts == ["50.0", "failed", "90.0", "70.0\ndiverged"]


def test_what_is_left_out_is_said():
    legend = FIGURES["risk of 40"]().legends[0]
    assert legend.get_title().get_text() == "160 more not shown"


def test_a_long_legend_has_room():
    figure = FIGURES["scatter of 200"]()
    render(figure, "svg")
    box = figure.legends[0].get_window_extent()
    assert box.y0 >= 0
    assert box.y1 <= figure.bbox.height
    looks = {str(marker_look(index, "red")) for index in range(24)}
    assert len(looks) == 24


def test_first_32_curves_look_different():
    looks = {tuple(line_style(index).values()) for index in range(32)}
    assert len(looks) == 4 * len(PALETTE) == 32


# Names of runs that differ in the middle, and in the last character, alone.
ARMS = [
    f"resnet_micro adamw curation=quantile curation_window={window} "
    f"curation_warmup=2 curation_on_reject=redraw curation_max_redraws={redraws}"
    for window in (50, 100)
    for redraws in (1, 3)
]


def test_case_16_long_names_stay_apart_in_figures():
    assert len({label_text(name) for name in ARMS}) == len(ARMS)
    endless = [f"{'x' * 400}{middle}{'y' * 400}" for middle in "ab"]
    assert len({label_text(name) for name in endless}) == 2
    assert max(map(len, label_text(endless[0]).split("\n"))) <= 44
    figure = figures.learning_curves({"Loss": [curve(name) for name in ARMS]})
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert [text.replace("\n", " ") for text in texts] == ARMS


@pytest.mark.parametrize("width", [1, 2, 8])
def test_a_heat_map_has_room_for_long_names(width):
    # Warnings are errors: matplotlib warns of axes that collapse.
    values = np.linspace(0, 1, 4 * width).reshape(4, width)
    columns = [f"{ARMS[0]} {number}" for number in range(width)]
    figure = figures.heat_map(values, ARMS, columns)
    render(figure, "png")
    box = figure.axes[0].get_window_extent()
    assert box.width > 40 * width
    assert box.height > 100
