"""What the documentation says about timm's whole tables, and plain loops that agree."""

import csv
import gzip
import math
from itertools import pairwise
from pathlib import Path

import jax
import pytest

from jaxbench import studies
from jaxbench.metrics import wilson_interval

ROOT = Path(__file__).parents[2]
TABLE = Path(__file__).parent / "lottery_tables" / "all_models.csv.gz"
FILES = {
    "imagenet": "imagenet",
    "imagenet-real": "imagenet-real",
    "imagenet-v2/matched-frequency": "imagenetv2-matched-frequency",
    "imagenet-a": "imagenet-a",
    "imagenet-r": "imagenet-r",
    "imagenet-sketch": "sketch",
}
KEPT = {
    "imagenet-real": 7,
    "imagenet-v2/matched-frequency": 7,
    "imagenet-a": 2,
    "imagenet-r": 6,
    "imagenet-sketch": 6,
}


@pytest.fixture(scope="module")
def scores():
    """Dataset to {(model, size): percent}."""
    found = {name: {} for name in FILES}
    with gzip.open(TABLE, "rt", newline="") as file:
        for row in csv.DictReader(file):
            key = (row["model"], row["img_size"])
            for name, held in found.items():
                if row[name]:
                    held[key] = float(row[name])
    return found


@pytest.fixture(scope="module")
def table(scores, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    paths = []
    for name, stem in FILES.items():
        lines = [f"{m},{size},{v:.3f}" for (m, size), v in scores[name].items()]
        paths.append(folder / f"results-{stem}.csv")
        paths[-1].write_text("model,img_size,top1\n" + "\n".join(lines) + "\n")
    return studies.read_result_tables(paths)


def test_leads_by_plain_loops(scores):
    """The counts again, from the files alone: no code of the package."""
    ranking = sorted(scores["imagenet"], key=lambda model: -scores["imagenet"][model])
    leads = []
    for ahead, behind in pairwise(ranking):
        a, b = (scores["imagenet"][model] / 100 for model in (ahead, behind))
        if a > b:
            mean = (a + b) / 2
            z = (a - b) / math.sqrt(2 * mean * (1 - mean) / 50_000)
            leads.append((math.erfc(z / math.sqrt(2)), ahead, behind))
    assert (len(ranking), len(leads)) == (1556, 1380)
    assert sum(p <= 0.05 for p, *_ in leads) == 14
    # Holm's correction is over all adjacent pairs: those that are level have p = 1.
    leads.sort()
    tested = len(ranking) - 1
    holm = 0
    while (tested - holm) * leads[holm][0] <= 0.05:
        holm += 1
    bh = max(k for k in range(len(leads)) if tested * leads[k][0] <= 0.05 * (k + 1)) + 1
    assert (holm, bh) == (7, 7)
    for name, wanted in KEPT.items():
        held = scores[name]
        pairs = [(held.get(a), held.get(b)) for _, a, b in leads[:holm]]
        assert (
            sum(a is not None and b is not None and a > b for a, b in pairs) == wanted
        )


def test_the_package_counts_the_same(table):
    found = studies.improvements(table)
    assert (len(table.models), len(found.ahead), found.num_level) == (1556, 1380, 175)
    counts = [int(found.significant(rule).sum()) for rule in ("none", "holm", "bh")]
    assert counts == [14, 7, 7]
    chosen = found.significant("holm")
    kept = {row.variant: row.kept for row in studies.kept_signs(table, found, chosen)}
    assert kept == KEPT


def test_the_documentation_says_so(table):
    text = (ROOT / "docs" / "studies" / "lottery.md").read_text()
    found = studies.improvements(table)
    rows = {
        "all (175 more pairs are level)": None,
        "p ≤ 0.05, uncorrected": found.significant("none"),
        "significant after Benjamini and Hochberg": found.significant("bh"),
        "significant after Holm": found.significant("holm"),
    }
    for title, chosen in rows.items():
        count = len(found.ahead) if chosen is None else int(chosen.sum())
        cells = [
            str(row.kept) if not row.missing else f"{row.kept} of {known:,}"
            for row in studies.kept_signs(table, found, chosen)
            for known in [row.chosen - row.missing]
        ]
        assert f"| {title} | {count:,} | {' | '.join(cells)} |" in text
    leads = len(found.ahead)
    ends = [
        100 * float(end)
        for row in studies.kept_signs(table, found, None)
        for end in wilson_interval(row.kept, leads - row.missing, level=0.95)
    ]
    assert f"from\n{min(ends):.0f} to {max(ends):.0f} %" in text
    assert "of 1,380 leads" in (ROOT / "README.md").read_text()


def test_intervals_of_tau_are_those_of_the_command(table):
    """As `analyse` draws them without options."""
    text = (ROOT / "docs" / "studies" / "lottery.md").read_text()
    key = jax.random.split(jax.random.key(0), 3)[1]
    found = studies.rank_agreement(table, key=key, num_resamples=1000, level=0.95)
    assert len(found) == 5
    for row in found:
        assert f"{row.tau:.3f} [{row.low:.3f}, {row.high:.3f}]" in text
