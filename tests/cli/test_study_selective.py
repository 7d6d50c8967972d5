"""`jaxbench study selective`: tables on the screen, files, page."""

import csv

import pytest
import typer
from typer.testing import CliRunner

from jaxbench.cli.study_selective import selective
from jaxbench.errors import UserError
from jaxbench.results import ResultStore
from tests.results.sample_runs import evaluation

NAMES = ("pit_b_distilled_224.in1k", "pit_b_224.in1k")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    store = ResultStore(folder, create=True)
    for name, skill in zip(NAMES, (4.0, 3.0), strict=True):
        settings = {"model": name, "weights": "pretrained"}
        store.write(evaluation(settings, "digits@test", "clean", skill=skill, n=200))
    return folder


def run(*arguments):
    app = typer.Typer()
    app.command()(selective)
    return CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=True)


def test_tables_files_and_page(folder, tmp_path):
    page = tmp_path / "page.html"
    result = run(
        *(folder, "--num-resamples", "20", "--csv", tmp_path / "tables"),
        *("--output", page, "--rank-by", "aurc"),
    )
    assert result.exit_code == 0, result.output
    assert "Distilled twins: AUROC better in 1 of 1 pairs" in result.output
    assert "Correlations need 4 models" in result.output
    assert page.read_text("utf-8").count("pit_b_224.in1k") > 1
    text = (tmp_path / "tables" / "models.csv").read_text("utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    assert [row["model"] for row in rows] == list(NAMES)
    assert [row["regime"] for row in rows] == ["distilled", "plain"]
    # Fractions, both sides of the temperature.
    assert 0 < float(rows[0]["ece"]) < 1
    assert float(rows[0]["aurc_ts"]) < float(rows[1]["aurc_ts"])
    assert "twin-pairs.csv" in {p.name for p in (tmp_path / "tables").iterdir()}


def test_own_regimes_from_a_file(folder, tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("model,regime\npit_b_224.in1k,curated\n", "utf-8")
    result = run(
        *(folder, "--regimes", path, "--num-resamples", "0"),
        *("--output", tmp_path / "page.html"),
    )
    assert result.exit_code == 0, result.output
    assert "curated" in result.output


def test_mistakes_reach_the_user(folder):
    result = run(folder, "--reference", "digits@tset")
    assert isinstance(result.exception, UserError)
    assert "digits@test" in str(result.exception)
