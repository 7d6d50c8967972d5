"""What docs/metrics.md and the first page say of the metrics is so."""

import doctest
import inspect
import json
import re
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from jaxbench import metrics
from jaxbench.metrics import METRICS
from tests.metrics.test_peers import DEVIATIONS

ROOT = Path(__file__).parents[2]
TEXT = ROOT.joinpath("docs", "metrics.md").read_text()
README = ROOT.joinpath("README.md").read_text()
PEERS = Path(__file__).parent / "peers"
FENCE = re.compile(r"```(?:python|pycon)\n(.*?)```", re.DOTALL)
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS

# A new section brings its own.
LEAST_BLOCKS, LEAST_EXAMPLES = 16, 75


def documented_blocks():
    """The examples of the document, which share their names as in one session."""
    for block in FENCE.finditer(TEXT):
        line = TEXT.count("\n", 0, block.start(1))
        yield doctest.DocTestParser().get_doctest(
            block[1], {}, f"docs/metrics.md:{line + 1}", "docs/metrics.md", line
        )


def test_examples_of_the_document():
    names, failures, blocks, examples = {}, [], 0, 0
    for block in documented_blocks():
        block.globs = names
        runner = doctest.DocTestRunner(optionflags=OPTIONS)
        runner.run(block, out=failures.append, clear_globs=False)
        names = block.globs
        blocks, examples = blocks + 1, examples + len(block.examples)
    assert not failures, "".join(failures)
    assert blocks >= LEAST_BLOCKS
    assert examples >= LEAST_EXAMPLES


def test_examples_of_the_first_page(capsys):
    blocks = [b for b in FENCE.findall(README) if "jaxbench.metrics" in b]
    assert blocks
    for block in blocks:
        exec(block, {})
    printed = capsys.readouterr().out
    assert "aurc" in printed
    assert "nan" not in printed


def end_of_row(name):
    """Range, direction and source: a definition may have bars of its own."""
    (row,) = (r for r in TEXT.splitlines() if r.startswith(f"| `{name}` |"))
    return [cell.strip() for cell in row[1:-1].split(" | ")][-3:]


@pytest.mark.parametrize("name", METRICS)
def test_range_direction_and_source_are_those_of_the_table(name):
    metric = METRICS[name]
    low, high = metric.range
    interval = f"[{low:g}, inf)" if np.isinf(high) else f"[{low:g}, {high:g}]"
    better = "neither" if metric.direction == "none" else metric.direction
    found_range, found_better, source = end_of_row(name)
    assert (found_range, found_better) == (interval, better)
    assert unquote(source.split("](")[1].rstrip(")")) == metric.reference


def test_every_public_function_is_mentioned():
    functions = [
        name
        for name in metrics.__all__
        if inspect.isfunction(inspect.unwrap(getattr(metrics, name)))
    ]
    assert len(functions) > 50
    missing = [name for name in functions if not re.search(rf"\b{name}\b", TEXT)]
    assert not missing


def test_links_within_the_document_lead_somewhere():
    headings = re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}
    links = re.findall(r"\]\(#([^)]*)\)", TEXT)
    assert links
    assert set(links) <= anchors


# The words of the table of differences for the names in test_peers.py.
MEASURED = {
    "top-1 accuracy": ("top_1_accuracy",),
    "top-2 accuracy": ("top_2_accuracy",),
    "top-5 accuracy": ("top_5_accuracy",),
    "NLL": ("nll",),
    "ECE": ("ece",),
    "MCE": ("mce",),
    "RMS error": ("rms_ce",),
    "ECE, equal mass": ("ece_equal_mass",),
    "smooth ECE": ("smooth_ece",),
    "classwise ECE": ("classwise_ece",),
    "AURC": ("aurc",),
    "E-AURC": ("excess_aurc",),
    "AUGRC": ("augrc",),
    "coverage at 0.95": ("coverage_at_95_accuracy",),
    "risk at 0.8": ("risk_at_80_coverage",),
    "FPR95": ("fpr_at_95_tpr",),
    "AUROC": ("auroc",),
    "average precision": ("average_precision_error", "average_precision_correct"),
}
# Other forms of a number that the table has.
NOT_SHOWN = {
    ("fd-shifts", "aurc_of_cache"),
    ("relplot", "smooth_ece_at_0.05"),
    ("relplot", "smooth_ece_at_0.1"),
}


def rows_of_differences():
    """(library, metric, what the last cell says) of the table of differences."""
    table = TEXT.split("| differs by |\n")[1].split("\n\n")[0]
    heading = ""
    for line in table.splitlines()[1:]:
        metric, libraries, _, said = (c.strip() for c in line[1:-1].split(" | "))
        heading = metric or heading
        for library in libraries.split(", "):
            for name in MEASURED[heading]:
                yield library, name, said


def test_differences_are_those_that_are_tested():
    shown = set()
    for library, name, said in rows_of_differences():
        _, sizes = DEVIATIONS[library, name]
        shown.add((library, name))
        if said == "NaN here":
            assert np.isnan(sizes["all_right"])
            continue
        for size, data in re.findall(r"(\S+) \((\w+(?: \w+)?)\)", said):
            recorded = sizes[data.replace(" ", "_")]
            digits = len(size.split("e")[0].replace(".", "").lstrip("0"))
            stated = np.inf if size == "infinite" else float(size)
            assert stated == float(f"{recorded:.{digits}g}"), (library, name, said)
    assert shown == DEVIATIONS.keys() - NOT_SHOWN


def test_versions_are_those_that_were_measured():
    versions = json.loads(PEERS.joinpath("references.json").read_text())["versions"]
    flat = " ".join(TEXT.split())
    for name in ("torchmetrics", "torch-uncertainty", "scikit-learn", "netcal"):
        assert f"{name} {versions[name]}" in flat
    assert f"relplot {versions['relplot']}" in flat
    for commit in re.findall(r" at (\w{7})", versions["fd-shifts"]):
        assert commit in flat
