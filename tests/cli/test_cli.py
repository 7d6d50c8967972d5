"""The commands as a person types them."""

import re
import tarfile

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from jaxbench.cli.app import app
from jaxbench.metrics import METRICS
from jaxbench.results import ResultStore
from tests.sweeps.experiment import as_toml, experiment

COMMANDS = (
    ["run"],
    ["models"],
    ["metrics"],
    ["evaluate"],
    ["convert"],
    ["sweep"],
    ["probe"],
    ["pretrain"],
    ["results"],
    ["report"],
    ["compare"],
    ["coupling"],
    ["data", "list"],
    ["data", "info"],
    ["data", "prepare"],
)


def call(*arguments: object, status: int = 0) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    text = done.output
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == status, text
    return text


def write_photographs(folder, classes=("cat", "dog", "owl"), each: int = 4):
    draw = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(each):
            pixels = draw.integers(0, 256, (24, 32, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.jpg")
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder of results, made by the command itself."""
    folder = tmp_path_factory.mktemp("cli")
    config = folder / "small.toml"
    config.write_text(as_toml(experiment(folder / "results")))
    output = call("run", config)
    return folder / "results", config, output


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_shows_an_example(command):
    text = re.sub(r"\s+", " ", call(*command, "--help"))
    assert f"Example: jaxbench {' '.join(command)}" in text


def test_run_ends_with_a_table_and_a_report(finished):
    folder, _, output = finished
    assert "mixer_micro" in output
    assert "Accuracy %" in output
    assert (folder / "report.html").is_file()
    assert "report.html" in output.replace("\n", "")


def test_run_again_does_nothing(finished):
    _, config, _ = finished
    assert "0 runs in" in call("run", config)


def test_dry_run_computes_nothing(tmp_path):
    config = tmp_path / "small.toml"
    config.write_text(as_toml(experiment(tmp_path / "results")))
    text = call("run", config, "--dry-run")
    assert "3 training runs, 9 evaluations" in text
    assert "digits-c/contrast_5" in text
    assert not (tmp_path / "results").exists()


def test_limit_goes_to_a_folder_of_its_own(tmp_path):
    config = tmp_path / "small.toml"
    config.write_text(as_toml(experiment(tmp_path / "results")))
    text = call("run", config, "--limit", 40, "--dry-run")
    assert "results-limit40" in text.replace("\n", "")
    assert "digits@test (40)" in text


def test_results_take_sql(finished):
    folder, _, _ = finished
    query = (
        "select optimizer, count(*) as n from runs where kind = 'trial' "
        "group by all order by all"
    )
    text = call("results", folder, "--sql", query)
    assert re.search(r"adamw\s*│\s*1", text)
    assert re.search(r"sgd\s*│\s*2", text)
    assert "mixer_micro" in call("results", folder)


def test_bad_sql_is_a_message(finished):
    folder, _, _ = finished
    assert "no_such" in call(
        "results", folder, "--sql", "select no_such from runs", status=2
    )


def test_results_as_csv(finished, tmp_path):
    folder, _, _ = finished
    path = tmp_path / "runs.csv"
    assert "12 rows" in call("results", folder, "--csv", path)
    assert path.read_text().count("\n") == 13


def test_report_and_figures(finished, tmp_path):
    folder, _, _ = finished
    page, figures = tmp_path / "page.html", tmp_path / "figures"
    call("report", folder, "-o", page, "--figures", figures, "--format", "png")
    assert page.stat().st_size > 10_000
    pictures = sorted(figures.glob("*.png"))
    assert len(pictures) >= 4
    for picture in pictures:
        with Image.open(picture) as image:
            assert min(image.size) > 100


def test_compare_two_models(finished):
    folder, _, _ = finished
    table = ResultStore(folder).sql(
        "select run_id from runs where role = 'clean' order by run_id"
    )
    first, second = table.column("run_id").to_pylist()[:2]
    text = call("compare", folder, first[:12], second[:12], "--resamples", 100)
    assert "Accuracy" in text
    assert "NLL" in text


def test_compare_with_an_unknown_run(finished):
    folder, _, _ = finished
    text = call("compare", folder, "nosuchrun", "neither", status=2)
    assert "nosuchrun" in text


def test_evaluate_a_folder(tmp_path):
    images = write_photographs(tmp_path / "images")
    arguments = (
        *["evaluate", "resnet_micro", "--weights", "random:0", "--image-size", 16],
        *["--data", f"folder:{images}", "--results", tmp_path / "out"],
        *["--resamples", 20, "--batch-size", 8],
    )
    assert "resnet_micro" in call(*arguments)
    row = ResultStore(tmp_path / "out").summary().to_pylist()[0]
    assert row["num_examples"] == 12
    assert row["num_classes"] == 3


def test_a_failed_run_is_printed_and_sets_the_status(tmp_path):
    images = write_photographs(tmp_path / "images")
    (images / "cat" / "1.jpg").write_bytes(b"no image")
    arguments = (
        *["evaluate", "resnet_micro", "--weights", "random:0", "--image-size", 16],
        *["--data", f"folder:{images}", "--results", tmp_path / "out"],
        *["--resamples", 0, "--batch-size", 8],
    )
    text = call(*arguments, status=1).replace("\n", "")
    assert "cat/1.jpg" in text
    row = ResultStore(tmp_path / "out").summary().to_pylist()[0]
    assert row["status"] == "failed"
    call(*arguments, "--on-error", "skip")
    rows = ResultStore(tmp_path / "out").summary().to_pylist()
    skipped = [row for row in rows if row["status"] == "ok"]
    assert [row["num_skipped"] for row in skipped] == [1]
    assert [row["num_examples"] for row in skipped] == [11]


def test_prepare_then_evaluate(tmp_path, monkeypatch):
    images = write_photographs(tmp_path / "images")
    archive = tmp_path / "images.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(images, arcname=".")
    data_dir = tmp_path / "tfds"
    call("data", "prepare", "pets", "--from", archive, "--data-dir", data_dir)
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))
    text = call("data", "info", "tfds:pets")
    assert re.search(r"images\s*│\s*12", text)


def test_sweep_from_flags_dry(tmp_path):
    text = call(
        *["sweep", "resnet_micro", "vit_micro", "--train", "digits@train"],
        *["--validation", "digits@validation", "--test", "digits@test"],
        *["--optimizer", "adamw", "--optimizer", "sgd", "--lr", 1e-3, "--lr", 1e-2],
        *["--results", tmp_path / "out", "--dry-run"],
    )
    assert "8 training runs, 8 evaluations" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["models", "resnt50"], "did you mean 'resnet50'"),
        (["metrics", "smoth_ece"], "did you mean 'smooth_ece'"),
        (["data", "info", "digit"], "digits"),
        (["results", "nowhere"], "nowhere"),
        (["report", "nowhere"], "nowhere"),
        (["run", "nowhere.toml"], "cannot read nowhere.toml"),
        (
            ["evaluate", "resnet50", "--data", "digits", "--weights", "random"],
            "no weights at 'random'",
        ),
    ],
)
def test_mistakes_end_with_status_two_and_a_hint(arguments, message):
    assert message in call(*arguments, status=2).replace("\n", "")


def test_results_folder_that_cannot_be_written(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    config = tmp_path / "small.toml"
    config.write_text(as_toml(experiment(blocked / "results")))
    assert "file" in call("run", config, status=2)


def test_models_lists_parameters():
    text = call("models", "resnet50")
    assert "25.56" in text
    assert "224" in text


def test_metrics_lists_the_one_table():
    text = call("metrics")
    for name in METRICS:
        assert name in text
    chosen = call("metrics", "ood_fpr95_*")
    assert "ood_fpr95_energy" in chosen
    assert "lower" in chosen
    assert "smooth_ece" not in chosen


def test_interrupt_says_how_to_go_on(tmp_path, monkeypatch):
    import jaxbench.sweeps.run as run_module

    config = tmp_path / "small.toml"
    config.write_text(as_toml(experiment(tmp_path / "results")))
    kept = []

    def keep(self, run):
        kept.append(self.store.write(run))
        if len(kept) == 3:
            raise KeyboardInterrupt
        return run

    monkeypatch.setattr(run_module._Sweep, "_keep", keep)
    text = call("run", config, status=130)
    assert ": 3 runs. The same command again does only what is missing" in text
    assert "again" in text
    monkeypatch.undo()
    assert "9 runs in" in call("run", config)
