"""Experiment files: every mistake is reported, all of them at once."""

import tomllib
from pathlib import Path

import pytest

from jaxbench.config import ExperimentConfig, config_digest, load_config, parse_config
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
    assert config.train[0].grid["sgd"].weight_decay is None
    assert config.evaluate.calibration is None


def test_frozen():
    with pytest.raises(Exception, match="frozen"):
        parse(MINIMAL).name = "other"


@pytest.mark.parametrize(
    ("find", "replace", "message"),
    [
        ('name = "small"', 'nam = "small"', "'nam'; did you mean 'name'"),
        ("[evaluate]", "[evaluate]\nood_sets = []", "evaluate: unknown key 'ood_sets'"),
        ("[0.1, 1e-2]", '["1e-3"]', "valid number, got '1e-3'"),
        ("[0.1, 1e-2]", "[-0.1]", "wanted 1e-15 to 1e+15, got -0.1"),
        ("[0.1, 1e-2]", "[]", "at least 1 item"),
        ("[0.1, 1e-2]", "[nan]", "finite"),
        ('clean = ["digits@test"]', "clean = []", "evaluate.clean"),
        ("[evaluate]", "[evaluate]\ncalibration = 0", "1 to 2,147,483,647, got 0"),
        ("[evaluate]", "[evaluate]\ncalibration = true", "an address, or a number"),
        ("[train]", "[train]\nepochs = 0", "wanted 1 to 1,000,000, got 0"),
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
    for part in ("'nmae'", "name: required", "wanted 1e-15 to"):
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
    # No number depends on it.
    threads = parse(f"workers = 3\n{MINIMAL}")
    assert threads.workers == 3
    assert config_digest(parse(MINIMAL)) == config_digest(threads)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_are_valid_and_say_how_to_run_them(path):
    load_config(path)
    header = path.read_text().split("\n\n")[0]
    for word in ("command", "time", "expect"):
        assert word in header


def numbers_without_a_range(node, path="", seen=()):
    """Places in a JSON schema where any number would do."""
    if isinstance(node, list):
        for item in node:
            yield from numbers_without_a_range(item, path, seen)
    elif isinstance(node, dict):
        if node.get("type") in ("integer", "number") and not (
            {"minimum", "maximum"} <= node.keys() or "const" in node
        ):
            yield path
        for key, value in node.items():
            if key not in ("default", "enum"):
                yield from numbers_without_a_range(value, f"{path}/{key}", seen)


def test_case_33_every_number_of_a_file_has_a_range():
    schema = ExperimentConfig.model_json_schema()
    assert list(numbers_without_a_range(schema)) == []
    # Keys of a grid that are the optimizer's own stand outside the schema's properties.
    assert schema["$defs"]["GridConfig"]["additionalProperties"]["items"]["maximum"]


@pytest.mark.parametrize(
    ("find", "replace", "message"),
    [
        ("[train]", f"[train]\nepochs = {2**70}", "wanted 1 to 1,000,000, got 11805"),
        (
            "[train]",
            f"[train]\nseeds = [{2**80}]",
            "seeds.0: wanted 0 to 4,294,967,295",
        ),
        ("[train]", "[train]\nimage_size = 1000000", "image_size: wanted 1 to 16,384"),
        ("[train]", "[train]\nmax_members = 0", "wanted 1 to 2,147,483,647, got 0"),
        ("[train]", "[train]\nlayer_decay = 0", "more than 0 to 1, got 0"),
        ("[0.1, 1e-2]", "[inf]", "finite"),
        ("[0.1, 1e-2]", "[1e300]", "learning_rate.0: wanted 1e-15 to 1e+15"),
        ("[0.1, 1e-2]", "[0.1]\nmomentum = [1e300]", "momentum.0: wanted -1e+15 to"),
        ("[evaluate]", f"[evaluate]\nnum_resamples = {10**12}", "0 to 1,000,000"),
        ("[evaluate]", f"[evaluate]\nbatch_size = {2**40}", "1 to 1,073,741,824"),
        ("[evaluate]", f"[evaluate]\ncalibration = {2**70}", "1 to 2,147,483,647"),
        ('results = "out"', f'results = "out"\nseed = {2**80}', "seed: wanted 0 to"),
        ('"out"', '"o\\u0000ut"', "no path holds a NUL character"),
    ],
)
def test_case_33_values_out_of_range_are_refused_with_the_range(find, replace, message):
    with pytest.raises(UserError, match=r"test\.toml: 1 problem\n") as caught:
        parse(MINIMAL.replace(find, replace, 1))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("encode", "message"),
    [
        (lambda text: b"\xef\xbb\xbf" + text.encode(), None),
        (lambda text: text.replace("\n", "\r\n").encode(), None),
        (
            lambda text: text.encode("utf-16"),
            "its encoding is UTF-16; save it as UTF-8",
        ),
        (lambda text: text.encode("utf-16-le"), "NUL characters, as UTF-16 does"),
        (
            lambda text: text.replace("small", "größer").encode("latin-1"),
            "line 2 has the byte 0xf6, which is not UTF-8",
        ),
        (lambda text: f"{text}\nx = {'9' * 5000}".encode(), "is not a TOML file"),
        (lambda text: f"{text}\nx = {'[' * 9000}".encode(), "nested too deeply"),
    ],
)
def test_case_33_a_file_of_another_encoding_is_read_or_named(tmp_path, encode, message):
    path = tmp_path / "file.toml"
    path.write_bytes(encode(MINIMAL))
    if message is None:
        assert load_config(path) == parse(MINIMAL)
        return
    with pytest.raises(UserError, match=r"file.toml is not a TOML file") as caught:
        load_config(path)
    assert message in str(caught.value)
