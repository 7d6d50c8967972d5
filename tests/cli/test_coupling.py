"""jaxbench coupling, as a person types it."""

import csv
import dataclasses
import re

import jax
import numpy as np
import pytest

from jaxbench import studies
from jaxbench.cli.coupling import DETAILS
from jaxbench.cli.tables import fitting
from jaxbench.engine import weights_digest
from jaxbench.reports.coupling_tables import pair_table
from jaxbench.results import ResultStore
from jaxbench.studies.entries import load_results
from jaxbench.studies.grids import load_sweeps
from model_zoo import create_model, save_variables
from tests.cli.test_cli import call
from tests.reports.coupling_runs import coupling_runs, coupling_trial, write_store
from tests.results.sample_runs import evaluation, failed


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("coupling")
    write_store(path, *coupling_runs())
    return path


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_help_shows_an_example():
    text = re.sub(r"\s+", " ", call("coupling", "--help"))
    assert "Example: jaxbench coupling results/digits-grid" in text
    assert "fitted|eq1" in text


def test_every_table_is_printed(folder):
    output = call("coupling", folder)
    for heading in (
        "Trained on digits@train",
        "Failed pairs",
        "Spread over the optimizers",
        "Ranking of the optimizers",
        "Robustness of the hyper-parameters",
        "Best setting of every pair",
        "Cost of every pair",
    ):
        assert heading in output
    assert "Rule fitted" in output
    assert "published" not in output
    assert "Layers" not in output


def test_the_study_writes_its_tables_too(folder, tmp_path):
    output = call("study", "coupling", folder, "--csv", tmp_path, "-o", tmp_path / "p")
    assert "Failed pairs" not in output
    table = rows_of(tmp_path / "ranking.csv")
    assert {row["optimizer"]: row["failed_on"] for row in table}["LION"] == "resnet8"


def test_a_narrow_terminal_does_without_details(folder):
    (sweep,) = load_sweeps(load_results(ResultStore(folder)))
    table = pair_table(sweep)
    assert fitting(table, 300, DETAILS) == table
    narrow = fitting(table, 80, DETAILS)
    headings = [column.heading for column in narrow.columns]
    assert "Score %" in headings
    assert "Usable" not in headings
    place = [column.heading for column in table.columns].index("Score %")
    scores = [row[place] for row in table.rows]
    assert [row[headings.index("Score %")] for row in narrow.rows] == scores


def test_rules_mark_other_pairs_and_say_which_they_are(folder, tmp_path):
    for rule in ("fitted", "eq1"):
        output = call("coupling", folder, "--rule", rule, "--csv", tmp_path / rule)
        assert f"Rule {rule}" in output
    fitted, eq1 = (
        len(rows_of(tmp_path / r / "failures.csv")) for r in ("fitted", "eq1")
    )
    table = studies.score_table(
        studies.best_pairs(ResultStore(folder).summary("trial").to_pylist())
    )
    assert fitted == len(studies.failed_pairs(table).pairs()) == 3
    assert eq1 == len(studies.failed_pairs(table, rule="eq1").pairs()) != fitted
    assert "fitted, eq1" in call("coupling", folder, "--rule", "no", status=2).replace(
        "'", ""
    )


def test_files_hold_fractions(folder, tmp_path):
    call("coupling", folder, "--csv", tmp_path)
    spread = {row["backbone"]: row for row in rows_of(tmp_path / "spread.csv")}
    scores = np.array([0.80, 0.82, 0.81, 0.83, 0.40])
    assert float(spread["resnet8"]["mean"]) == pytest.approx(scores.mean())
    assert float(spread["resnet8"]["std"]) == pytest.approx(scores.std())
    costs = rows_of(tmp_path / "cost.csv")
    assert len(costs) == 10
    assert {row["seconds_to_target"] for row in costs} == {"4.0", "8.0", ""}
    assert not (tmp_path / "layers.csv").exists()


def test_two_datasets_have_files_of_their_own(tmp_path):
    store = tmp_path / "store"
    write_store(store, *coupling_runs(), coupling_trial(dataset="other/x@train"))
    output = call("coupling", store, "--csv", tmp_path / "out")
    assert "Trained on other/x@train" in output
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"pairs.csv", "pairs-other-x-train.csv"} <= names


def test_weights_of_the_best_trials(tmp_path):
    runs = [coupling_trial("resnet_micro", "sgd", rate) for rate in (0.1, 0.2)]
    runs.append(coupling_trial("resnet_micro", "adamw"))
    variables = create_model("resnet_micro", num_classes=3, image_size=8).init(
        jax.random.key(0)
    )
    origin = runs[0].provenance | {"weights_digest": weights_digest(variables)}
    runs[0] = dataclasses.replace(runs[0], provenance=origin)
    write_store(tmp_path, *runs)
    (tmp_path / "weights").mkdir()
    # Equal accuracies: the smaller rate is the chosen one.
    save_variables(tmp_path / "weights" / f"{runs[0].run_id}.safetensors", variables)
    output = call("coupling", tmp_path, "--weights", "--csv", tmp_path / "out")
    missing = "The weights of 1 pair are missing (AdamW on resnet_micro)"
    assert missing in re.sub(r"\s+", " ", output)
    (row,) = rows_of(tmp_path / "out" / "weights.csv")
    wanted = studies.weight_statistics(variables, top_k=8)
    assert (row["optimizer"], int(row["layers"])) == ("SGD-M", len(wanted))
    norms = [layer.norm for layer in wanted.values()]
    assert float(row["l2_norm"]) == pytest.approx(np.mean(norms))
    layers = rows_of(tmp_path / "out" / "layers.csv")
    assert {row["layer"] for row in layers} == set(wanted)


def test_weights_that_are_gone_are_an_error(folder):
    output = re.sub(r"\s+", " ", call("coupling", folder, "--weights", status=2))
    assert "The weights of 9 pairs are missing (SGD-M on resnet8" in output


@pytest.mark.parametrize(
    "runs",
    [
        [],
        [evaluation({"model": "m"}, "d@test", "clean", skill=3.0, n=20)],
        [failed({"model": "m", "optimizer": "sgd"})],
    ],
    ids=["empty", "evaluations", "failures"],
)
def test_a_folder_without_trials_is_an_error(tmp_path, runs):
    write_store(tmp_path, *runs)
    output = re.sub(r"\s+", " ", call("coupling", tmp_path, status=2))
    assert "has no finished trials" in output
    assert "jaxbench run" in output


def test_a_place_that_cannot_be_written_is_an_error(folder, tmp_path):
    (tmp_path / "file").write_text("")
    output = call("coupling", folder, "--csv", tmp_path / "file", status=2)
    assert "choose another place" in re.sub(r"\s+", " ", output)
