"""The command about the benchmark lottery."""

import csv
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from jaxbench.cli.study_lottery import lottery
from jaxbench.errors import UserError
from jaxbench.results import ResultStore
from tests.results.sample_runs import evaluation

TABLES = Path(__file__).parents[1] / "studies" / "lottery_tables"
FILES = ("results-imagenet.csv", "results-imagenet-r.csv")


@pytest.fixture
def run():
    app = typer.Typer()
    app.command()(lottery)

    def run(*arguments):
        result = CliRunner().invoke(app, [str(word) for word in arguments])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


def tables():
    return [word for name in FILES for word in ("--table", TABLES / name)]


def test_tables_are_printed_and_written(run, tmp_path):
    result = run(*tables(), "--num-resamples", 50, "--csv", tmp_path / "csv")
    assert result.exit_code == 0, result.output
    assert "Leads over the next model that are more than chance" in result.output
    assert "conservative" in result.output
    with open(tmp_path / "csv" / "improvements.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    # All of them, where the terminal has the first.
    assert len(rows) > 50
    assert set(rows[0]) >= {"ahead", "behind", "difference", "p", "p_holm", "p_bh"}
    assert 0 < float(rows[0]["difference"]) < 1
    with open(tmp_path / "csv" / "datasets.csv", newline="") as file:
        row = list(csv.DictReader(file))[1]
    ends = [float(row[f"kendall_tau{end}"]) for end in ("_low", "", "_high")]
    assert ends == sorted(ends)
    with open(tmp_path / "csv" / "kept.csv", newline="") as file:
        row = next(csv.DictReader(file))
    share = float(row["kept"]) / (float(row["number"]) - float(row["missing"]))
    assert float(row["kept_share"]) == pytest.approx(share)
    with open(tmp_path / "csv" / "models.csv", newline="") as file:
        models = list(csv.DictReader(file))
    assert len(models) == 60
    assert all(0 < float(row["imagenet"]) < 1 for row in models)


def test_a_folder_and_its_page(run, tmp_path):
    store = ResultStore(tmp_path / "results", create=True)
    for model, skill in (("weak", 2.0), ("strong", 4.0)):
        for dataset, role in (("digits@test", "clean"), ("digits-c/blur_3", "shifted")):
            store.write(evaluation({"model": model}, dataset, role, skill=skill, n=60))
    page = tmp_path / "page.html"
    options = ("--own", "digits-c/blur_3", "--num-resamples", 10, "--output", page)
    options += ("--figures", tmp_path / "figures", "--format", "png")
    result = run(tmp_path / "results", *options)
    assert result.exit_code == 0, result.output
    assert "Which models 60 images of digits-c/blur_3 separate" in result.output
    assert "The benchmark lottery" in page.read_text("utf-8")
    assert {path.suffix for path in (tmp_path / "figures").iterdir()} == {".png"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "either a folder of results or --table"),
        (["folder", *tables()], "either a folder of results or --table"),
        (["folder", "--percent"], "--percent/--fraction: only for --table"),
        (["folder", "--images", "a=1"], "--images: only for --table"),
        ([*tables(), "--own", "imagenet"], "--own needs a folder"),
        ([*tables(), "--figures", "figures"], "give --output FILE.html too"),
        ([*tables(), "--images", "imagenet"], "--images 'imagenet': wanted NAME=N"),
        ([*tables(), "--images", "imagenet=0"], "wanted NAME=N"),
        (["no-such-folder"], "does not exist"),
    ],
)
def test_mistakes(run, words, message):
    with pytest.raises(UserError, match=message):
        run(*words)
