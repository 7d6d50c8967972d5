"""`jaxbench probe` says what an experiment file would say."""

import pytest
from typer.testing import CliRunner

from jaxbench.cli import app as app_module
from jaxbench.cli import probe as probe_module

CALL = ["probe", "mixer_micro", "vit_micro", "--weights", "random:0"]
CALL += ["--train", "digits@train", "--test", "digits@test"]


@pytest.fixture
def executed(monkeypatch):
    configs = []

    def execute(config, how):
        configs.append((config, how.limit, how.dry_run))

    monkeypatch.setattr(probe_module, "execute", execute)
    return configs


def test_options_become_a_probe_table(executed):
    options = ["--knn", "5, 20", "--lr", "0.1", "--lr", "1", "--wd", "1e-4"]
    options += ["--protocol", "knn", "--protocol", "linear_probe", "--epochs", "3"]
    options += ["--feature-norm", "l2", "--optimizer", "lars", "--penalty", "0.1"]
    options += ["--votes", "uniform", "--validation", "digits@validation"]
    options += ["--calibration", "50", "--keep-features", "--train-batch-size", "7"]
    result = CliRunner().invoke(app_module.app, [*CALL, *options, "--limit", "9"])
    assert result.exit_code == 0, result.output
    ((config, limit, dry_run),) = executed
    assert (limit, dry_run) == (9, False)
    (table,) = config.probe
    assert [model.name for model in table.models] == ["mixer_micro", "vit_micro"]
    assert {model.weights for model in table.models} == {"random:0"}
    assert (table.train, table.validation) == ("digits@train", "digits@validation")
    assert table.neighbors == (5, 20)
    assert table.learning_rates == (0.1, 1.0)
    assert table.weight_decays == (1e-4,)
    assert table.penalties == (0.1,)
    assert table.protocols == ("knn", "linear_probe")
    assert (table.epochs, table.batch_size) == (3, 7)
    assert (table.optimizer, table.feature_norm) == ("lars", "l2")
    assert (table.votes, table.keep_features) == ("uniform", True)
    assert config.evaluate.clean == ("digits@test",)
    assert config.evaluate.calibration == 50


def test_what_is_not_given_is_the_tables_default(executed):
    result = CliRunner().invoke(app_module.app, CALL)
    assert result.exit_code == 0, result.output
    (table,) = executed[0][0].probe
    assert table.neighbors == (10, 20, 100, 200)
    assert table.protocols == ("linear_probe", "knn")
    assert len(table.learning_rates) == 8
    assert table.epochs == 100


def test_mistakes_are_worded(executed):
    result = CliRunner().invoke(app_module.app, [*CALL, "--knn", "5,many"])
    assert result.exit_code == 2
    assert "not a whole number: many" in " ".join(result.output.split())
    result = CliRunner().invoke(app_module.app, [*CALL, "--protocol", "svm"])
    assert result.exit_code == 2
    assert "linear_probe" in result.output
    assert not executed
