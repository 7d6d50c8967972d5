"""What the tables of results show: the runs and the metrics that were asked for."""

import dataclasses
import re
import shutil
import subprocess
import sys

import pytest

from jaxbench.results import ResultStore
from tests.cli.test_cli import call, write_photographs

MEASURE = (
    *("evaluate", "resnet_micro", "--weights", "random:0", "--num-classes", 8),
    *("--resamples", 0, "--batch-size", 32, "--limit", 32),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tables") / "out"


@pytest.fixture(scope="module")
def outputs(folder):
    """Two calls into one folder, with other data and other metrics."""
    common = (*MEASURE, "--results", folder)
    return (
        call(*common, "--data", "digits@test"),
        call(
            *(*common, "--data", "digits@validation", "--ood", "digits-ood"),
            *("--shifted", "digits-c/snow_3", "--metric", "nll", "--metric", "brier"),
        ),
        call(*common, "--data", "digits@test"),
    )


def store_of(folder):
    return ResultStore(f"{folder}-limit32")


def test_case_12_the_table_is_that_of_the_call(outputs):
    first, second, third = outputs
    assert "digits@test" in first
    assert "1 run in" in first
    table = second[second.index("runs in") :]
    assert "digits@validation" in table
    assert "digits@test" not in table
    # What was measured before is shown too when it is asked for again.
    assert "0 runs in" in third
    assert "digits@test" in third
    assert "digits@validation" not in third
    assert re.search(r"resnet_micro\s+\d", third)


def test_case_13_the_metrics_asked_for_are_the_columns(outputs, folder):
    second = outputs[1]
    for heading in ("Brier", "NLL", "Shift NLL", "OOD %"):
        assert heading in second
    for heading in ("Accuracy %", "ECE %", "AURC"):
        assert heading not in second
    rows = store_of(folder).summary().to_pylist()
    (row,) = [r for r in rows if r["dataset"] == "digits@validation"]
    assert f"{row['nll']:.3f}" in second
    assert f"{row['brier']:.3f}" in second


def test_case_13_results_show_each_dataset_and_the_metrics_asked_for(outputs, folder):
    del outputs
    path = store_of(folder).path
    text = call("results", path)
    # Without the usual three everywhere, a column names the dataset.
    assert "Dataset" in text
    assert "digits@test" in text
    assert "digits@validation" in text
    chosen = call("results", path, "--columns", "brier,ood_fpr95_energy")
    assert "Brier" in chosen
    assert "OOD FPR95, energy %" in chosen
    assert "Accuracy" not in chosen
    refused = call("results", path, "--columns", "bier", status=2)
    assert "did you mean 'brier'" in refused
    assert "--remeasure --metric bier" in refused
    assert "does not show" in call(
        "results", path, "--columns", "nll", "--failed", status=2
    )


def test_case_39_results_are_measured_anew_by_the_command(outputs, folder, tmp_path):
    del outputs
    path = store_of(folder).path
    (tmp_path / "my_metric.py").write_text(
        "import jax.numpy as jnp\n"
        "from jaxbench.metrics import register_metric\n"
        "register_metric('sharpness',\n"
        "    lambda sample: jnp.square(sample.scores.gap).mean(),\n"
        "    direction='lower', range=(0.0, 1.0), reference='https://example.org')\n"
    )
    code = "from jaxbench.cli.app import main; main()"
    command = (*("results", path), *("--remeasure", "--import", "my_metric"))
    # A process of its own: what it imports changes the table of metrics.
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, command), "--metric", "sharpness"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "3 runs measured anew; added: sharpness" in done.stdout
    assert re.search(r"Model.* sharpness", done.stdout)
    refused = call("results", path, "--import", "my_metric", status=2)
    assert "only with --remeasure" in refused


def test_case_39_a_run_says_which_metrics_stored_runs_lack(outputs, folder, tmp_path):
    del outputs
    copy = tmp_path / "out"
    shutil.copytree(store_of(folder).path, f"{copy}-limit32")
    store = store_of(copy)
    for run_id in store.completed():
        run = store.read(run_id)
        kept = {n: v for n, v in run.metrics.items() if not n.startswith("smooth_ece")}
        store.replace(dataclasses.replace(run, metrics=kept))
    command = (*MEASURE, "--results", copy, "--data", "digits@test")
    text = call(*command).replace("\n", "")
    assert "0 runs in" in text
    assert "Stored runs lack smooth_ece; computed from what is stored by" in text
    remedy = call("results", store.path, "--remeasure", "--metric", "smooth_ece")
    assert "added: smooth_ece" in remedy
    assert "lack" not in call(*command)


@pytest.mark.parametrize("where", ["folder", "missing/runs.csv", "file/runs.csv"])
def test_case_32_csv_goes_where_it_can_or_is_refused(outputs, folder, tmp_path, where):
    del outputs
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("in the way")
    path = tmp_path / where
    arguments = ("results", store_of(folder).path, "--csv", path)
    if where.startswith("missing"):
        assert "4 rows in" in call(*arguments)
        assert path.read_text().count("\n") == 5
        return
    text = call(*arguments, status=2)
    assert f"{str(path)!r} cannot be written" in text.replace("\n", "")


def test_case_32_csv_to_standard_output(outputs, folder, tmp_path, monkeypatch):
    del outputs
    monkeypatch.chdir(tmp_path)
    query = "select dataset, role from runs order by 1"
    text = call("results", store_of(folder).path, "--csv", "-", "--sql", query)
    assert text.splitlines()[0] == '"dataset","role"'
    assert len(text.splitlines()) == 5
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("report", "{runs}", "-o", "{folder}"),
        ("report", "{runs}", "-o", "{file}/page.html"),
        ("report", "{runs}", "--figures", "{file}"),
        ("study", "selective", "{runs}", "-o", "{folder}"),
        ("study", "selective", "{runs}", "--csv", "{file}"),
        (*MEASURE, "--data", "digits@test", "--results", "{file}"),
        (*MEASURE, "--data", "digits@test", "--results", "{file}/below"),
        ("convert", "{file}", "{folder}.safetensors"),
    ],
    ids=lambda arguments: f"{arguments[0]} {arguments[-2]}",
)
def test_case_32_outputs_that_cannot_be_written_are_refused(
    outputs, folder, tmp_path, arguments
):
    del outputs
    places = {
        "runs": store_of(folder).path,
        "folder": tmp_path / "folder",
        "file": tmp_path / "file",
    }
    places["folder"].mkdir()
    (tmp_path / "folder.safetensors").mkdir()
    # The second is where a trial run writes.
    for name in ("file", "file-limit32"):
        (tmp_path / name).write_text("in the way")
    texts = [
        part.format(**places) if isinstance(part, str) else part for part in arguments
    ]
    assert "Traceback" not in call(*texts, status=2)


def test_failures_alone_make_no_table_and_are_printed_once(tmp_path):
    images = write_photographs(tmp_path / "images")
    (images / "cat" / "1.jpg").write_bytes(b"no image")
    text = call(
        *("evaluate", "resnet_micro", "--weights", "random:0", "--image-size", 16),
        *("--data", f"folder:{images}", "--results", tmp_path / "out"),
        *("--resamples", 0, "--batch-size", 8),
        status=1,
    )
    assert "Accuracy" not in text
    assert text.count("cat/1.jpg") == 1
    assert "1 failed run, listed by: jaxbench results" in text
    assert "(s)" not in text


def test_a_path_without_its_kind_gets_a_suggestion(tmp_path):
    images = write_photographs(tmp_path / "images")
    text = call(
        *("evaluate", "resnet_micro", "--weights", "random:0", "--data", images),
        status=2,
    )
    assert f"did you mean folder:{images}?" in text.replace("\n", "")
    text = call("data", "info", "/no/such/place", status=2).replace("\n", "")
    assert "unknown dataset '/no/such/place'" in text
    text = call(
        *("evaluate", "resnet_micro", "--data", "digits", "--metric", "acc"), status=2
    )
    assert "did you mean 'accuracy'?" in text


def test_what_a_pipe_gets_is_not_cut():
    code = "from jaxbench.cli.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "metrics", "brier"],
        capture_output=True,
        text=True,
        env={"PATH": ""},
        timeout=120,
    )
    (line,) = [line for line in done.stdout.splitlines() if "brier" in line]
    assert "doi.org/10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2" in line
