"""Options that commands share: names of timm, groups, threads, the table as a file."""

import csv
import re

import pytest
import typer
from typer.testing import CliRunner

import jaxbench.data.batches as batches
from jaxbench.cli.app import app
from jaxbench.results import ResultStore
from tests.cli.test_cli import call, write_photographs


def commands(group, words=()):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))
        else:
            yield " ".join((*words, name)), command


def texts():
    for name, command in commands(typer.main.get_command(app)):
        known = {flag for param in command.params for flag in param.opts}
        known |= {flag for param in command.params for flag in param.secondary_opts}
        for param in command.params:
            yield name, known, f"{param.name}: {getattr(param, 'help', None)}"


def test_a_help_text_names_only_options_of_its_command():
    wrong = [
        f"{name} {text}: {flag}"
        for name, known, text in texts()
        for flag in re.findall(r"--[a-z][a-z-]*", text)
        if flag not in known
    ]
    assert not wrong


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("evaluate", {"-b", "-j", "-o", "--img-size", "--crop-pct", "--amp-dtype"}),
        ("evaluate", {"--model-list", "--class-map", "--workers", "--results-file"}),
        ("probe", {"-b", "-j", "-o", "--img-size", "--crop-pct", "--amp-dtype"}),
        ("probe", {"--model-list", "--class-map", "--workers", "--results-file"}),
        ("sweep", {"-j", "-o", "--img-size", "--crop-pct", "--amp-dtype", "--lr"}),
        ("sweep", {"--model-list", "--workers", "--results-file", "--wd"}),
        ("pretrain", {"-b", "-j", "-o", "--img-size", "--amp-dtype", "--model-list"}),
        ("run", {"-j", "--workers", "--results-file"}),
    ],
)
def test_names_that_timm_has(command, names):
    found = dict(commands(typer.main.get_command(app)))[command]
    assert names <= {flag for param in found.params for flag in param.opts}


@pytest.fixture
def folder(tmp_path):
    return write_photographs(tmp_path / "images")


def evaluate(folder, *options):
    return (
        *["evaluate", "--weights", "random:0", "--data", f"folder:{folder}"],
        *["--resamples", 0, "-o", folder.parent / "out", *options],
    )


def test_names_of_timm_do_what_they_say(folder, tmp_path):
    models, classes = tmp_path / "models.txt", tmp_path / "classes.txt"
    models.write_text("# small ones\nresnet_micro\n\nmixer_micro  # of patches\n")
    classes.write_text("owl\ncat\ndog\n")
    options = ["--model-list", models, "--class-map", classes, "--num-classes", 3]
    options += ["--img-size", 16, "--crop-pct", 0.5, "--amp-dtype", "bfloat16"]
    call(*evaluate(folder, *options, "-b", 8))
    rows = ResultStore(tmp_path / "out").summary().to_pylist()
    assert {row["model"] for row in rows} == {"resnet_micro", "mixer_micro"}
    for row in rows:
        seen = row["image_size"], row["crop_fraction"], row["dtype"], row["class_order"]
        assert seen == (16, 0.5, "bfloat16", str(classes))


def test_workers_decode_and_change_no_run(folder, monkeypatch):
    threads, read = [], batches._read

    def recorded(source, spec, positions, num_threads):
        threads.append(num_threads)
        return read(source, spec, positions, num_threads)

    monkeypatch.setattr(batches, "_read", recorded)
    assert "1 run in" in call(*evaluate(folder, "mixer_micro", "--workers", 3))
    assert set(threads) == {3}
    assert "0 runs in" in call(*evaluate(folder, "mixer_micro", "-j", 1))


def test_the_table_is_also_a_file(folder, tmp_path):
    file = tmp_path / "tables" / "results.csv"
    metrics = ["--metric", "accuracy", "--metric", "nll"]
    arguments = evaluate(folder, "mixer_micro", *metrics, "--results-file", file)
    call(*arguments)
    (row,) = ResultStore(tmp_path / "out").summary().to_pylist()
    with file.open(newline="") as lines:
        (written,) = csv.DictReader(lines)
    assert written["model"] == "mixer_micro"
    assert float(written["accuracy"]) == pytest.approx(row["accuracy"])
    assert float(written["nll"]) == pytest.approx(row["nll"])
    # Alone on standard output, and of this call's runs alone.
    call(*evaluate(folder, "resnet_micro", *metrics))
    words = [str(word) for word in (*arguments[:-1], "-")]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.stdout == file.read_text()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no model is named; give names or --model-list FILE"),
        (b"# none\n\n", "no model is named"),
        (b"\xff\xfe", "cannot be read"),
        (b"resnet_mikro\n", "did you mean 'resnet_micro'"),
    ],
)
def test_mistakes_in_a_list_of_models(folder, tmp_path, content, message):
    path = tmp_path / "models.txt"
    path.write_bytes(content)
    text = call(*evaluate(folder, "--model-list", path), status=2)
    assert message in " ".join(text.split())
