"""Experiment files: every mistake is told, all of them at once."""

import tomllib
from pathlib import Path

import pytest

from jaxbench.config import config_digest, load_config, parse_config
from jaxbench.errors import UserError

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs").rglob("*.toml"))

MINIMAL = """
name = "small"
results = "out"
[train]
models = ["resnet_micro"]
dataset = "digits@train"
validation = "digits@validation"
[train.grid.sgd]
learning_rate = [0.1, 1e-2]
[evaluate]
clean = ["digits@test"]
"""


def parse(text: str):
    return parse_config(tomllib.loads(text), origin="test.toml")


def test_defaults():
    config = parse(MINIMAL)
    assert config.train[0].grid["sgd"].learning_rate == (0.1, 0.01)
    assert config.train[0].grid["sgd"].weight_decay == (0.0,)
    assert config.evaluate.calibration is None


def test_frozen():
    with pytest.raises(Exception, match="frozen"):
        parse(MINIMAL).name = "other"


@pytest.mark.parametrize(
    ("find", "replace", "message"),
    [
        ('name = "small"', 'nam = "small"', "'nam'; did you mean 'name'"),
        ("learning_rate", "learning_rates", "did you mean 'learning_rate'"),
        ("[evaluate]", "[evaluate]\nood_sets = []", "evaluate: unknown key 'ood_sets'"),
        ("[0.1, 1e-2]", '["1e-3"]', "valid number, got '1e-3'"),
        ("[0.1, 1e-2]", "[-0.1]", "greater than 0, got -0.1"),
        ("[0.1, 1e-2]", "[]", "at least 1 item"),
        ("[0.1, 1e-2]", "[nan]", "finite"),
        ('clean = ["digits@test"]', "clean = []", "evaluate.clean"),
        ("[evaluate]", "[evaluate]\ncalibration = 0", "1 or more, got 0"),
        ("[evaluate]", "[evaluate]\ncalibration = true", "an address, or a number"),
        ("[train]", "[train]\nepochs = 0", "greater than or equal to 1, got 0"),
        ("[train]", "[train]\nepochs = 1.5", "epochs"),
        ("[train]", "[train]\nstrategy = 'fast'", "'auto', 'vmap', 'unroll' or 'loop'"),
    ],
)
def test_refused(find, replace, message):
    text = MINIMAL.replace(find, replace)
    assert text != MINIMAL
    with pytest.raises(UserError, match=r"test\.toml") as error:
        parse(text)
    assert message in str(error.value)


def test_all_problems_at_once():
    text = MINIMAL.replace("name =", "nmae =").replace("[0.1, 1e-2]", "[0]")
    with pytest.raises(UserError) as error:
        parse(text)
    for part in ("'nmae'", "name: required", "greater than 0"):
        assert part in str(error.value)


def test_unknown_key_of_a_listed_model():
    text = MINIMAL + "[[evaluate.models]]\nname = 'vit_micro'\nweigths = 'random:0'\n"
    with pytest.raises(UserError, match="did you mean 'weights'"):
        parse(text)


def test_nothing_to_do():
    with pytest.raises(UserError, match=r"\[train\].*evaluate.models"):
        parse("name = 'x'\nresults = 'y'\n[evaluate]\nclean = ['digits']")


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*nowhere.toml"):
        load_config(tmp_path / "nowhere.toml")


def test_not_toml(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text("name = ")
    with pytest.raises(UserError, match="not a TOML file"):
        load_config(path)


def test_digest_follows_values():
    assert config_digest(parse(MINIMAL)) == config_digest(parse(MINIMAL))
    other = parse(MINIMAL.replace("0.1", "0.2"))
    assert config_digest(parse(MINIMAL)) != config_digest(other)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_are_valid_and_say_how_to_run_them(path):
    load_config(path)
    header = path.read_text().split("\n\n")[0]
    for word in ("command", "time", "expect"):
        assert word in header
