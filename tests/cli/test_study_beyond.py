"""The command about what accuracy does not say."""

import csv

import pytest
import typer
from typer.testing import CliRunner

from jaxbench.cli.study_beyond import beyond
from jaxbench.errors import UserError
from jaxbench.results import ResultStore
from tests.reports.studies.beyond_runs import CLIP, SUPERVISED, evaluation


@pytest.fixture
def run():
    app = typer.Typer()
    app.command()(beyond)

    def run(*arguments):
        result = CliRunner().invoke(app, [str(word) for word in arguments])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def folder(tmp_path):
    store = ResultStore(tmp_path / "results", create=True)
    for model, skill in ((SUPERVISED, 3.0), (CLIP, 2.0)):
        for dataset in ("imagenet", "imagenet-r", "imagenet+scale_2"):
            store.write(evaluation(model, dataset, skill))
    return tmp_path / "results"


def test_tables_are_printed_and_written(run, folder, tmp_path):
    options = ("--group", f"{CLIP}=mine", "--num-resamples", 50)
    result = run(folder, *options, "--csv", tmp_path / "csv")
    assert result.exit_code == 0, result.output
    for words in ("Best calibrated", "Robustness", "No shape bias", "mine"):
        assert words in result.output
    assert "Beyond accuracy" in (folder / "study-beyond.html").read_text("utf-8")
    with open(tmp_path / "csv" / "calibration.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["dataset"] for row in rows} == {"imagenet", "imagenet-r"}
    assert all(0 < float(row["accuracy"]) < 1 for row in rows)
    assert {row["group"] for row in rows} == {"mine", "ConvNet supervised"}


def test_mistakes(run, folder):
    with pytest.raises(UserError, match="--group 'a', 'b=': wanted MODEL=GROUP"):
        run(folder, "--group", "a", "--group", "b=")
    with pytest.raises(UserError, match="no-such-folder"):
        run("no-such-folder")
