"""Options about what a model sees, and what a dry run says of it."""

import json

import numpy as np
import pytest

from jaxbench.results import ResultStore
from model_zoo import create_model, find_pretrained, load_pretrained, save_variables
from tests.cli.test_cli import call, write_photographs
from tests.model_zoo import twins
from tests.model_zoo.originals import write_repository

IDS = ("n01440764", "n01443537", "n01494475")


@pytest.fixture
def images(tmp_path):
    return f"folder:{write_photographs(tmp_path / 'images', IDS)}"


def said(text: str) -> str:
    return " ".join(text.replace("│", " ").split())


def test_case_07_the_list_says_where_an_accuracy_was_measured():
    lines = call("models", "resnet50.a[13]_in1k", "--pretrained").splitlines()
    rows = {line.split()[0]: line.split() for line in lines if "_in1k" in line}
    # Name, size, parameters, GMACs, classes, top-1 and the size that it is of.
    assert rows["resnet50.a3_in1k"][1] == "160"
    assert rows["resnet50.a3_in1k"][5:7] == ["78.05", "224"]
    assert rows["resnet50.a1_in1k"][1] == "224"
    assert rows["resnet50.a1_in1k"][5:7] == ["81.24", "288"]


def test_case_07_a_published_accuracys_size_can_be_run(tmp_path, images):
    command = ["evaluate", "resnet50.a3_in1k", "--data", images, "--dry-run"]
    plain = said(call(*command, "-o", tmp_path / "out"))
    assert "160x160, crop 0.95" in plain
    assert "the zoo's table" in plain
    tested = said(call(*command, "--test-size", "-o", tmp_path / "out"))
    assert "224x224, crop 0.95" in tested
    assert "size as asked" in tested
    both = call(*command, "--test-size", "--image-size", 224, status=2)
    assert "give one" in said(both)
    # The same in Python.
    spec = find_pretrained("resnet50.a1_in1k", image_size="test").classifier.input_spec
    assert (spec.size, spec.crop_fraction) == ((288, 288), 1.0)
    # timm's rows without a test size are tested at their own.
    name = "vit_base_patch16_224.augreg_in21k_ft_in1k"
    spec = find_pretrained(name, image_size="test").classifier.input_spec
    assert (spec.size, spec.crop_fraction) == ((224, 224), 0.9)


def test_case_37_wordnet_folders_need_no_option(tmp_path, images):
    text = said(
        call("evaluate", "resnet18.a1_in1k", "--data", images, "--dry-run", "-o", "x")
    )
    assert "1000: ImageNet's classes; the dataset has 3, no logit is masked" in text
    larger = ["evaluate", "vit_base_patch16_224.augreg_in21k", "--data", images]
    assert "those of a larger ImageNet" in said(call(*larger, "--dry-run", status=2))


@pytest.fixture
def weights(tmp_path):
    classifier = create_model("resnet_micro", num_classes=12)
    variables = twins.random_variables(classifier)
    path = write_repository(tmp_path / "resnet_micro", classifier, variables)
    config = json.loads((path.parent / "config.json").read_text())
    config["pretrained_cfg"]["tag"] = "mine"
    (path.parent / "config.json").write_text(json.dumps(config))
    return path


def test_case_18_crop_filter_and_order_are_options(tmp_path, weights):
    names = tuple(map(str, range(1, 13)))
    data = f"folder:{write_photographs(tmp_path / 'numbers', names, each=1)}"
    command = ["evaluate", "resnet_micro", "--weights", weights, "--data", data]
    command += ["-o", tmp_path / "out", "--resamples", 0]
    assert "--class-order" in said(call(*command, "--dry-run", status=2))
    command += ["--class-order", "timm"]
    text = said(
        call(
            *command, "--crop-fraction", 0.5, "--interpolation", "nearest", "--dry-run"
        )
    )
    assert "8x8, crop 0.5, nearest, mean 0.5/0.4/0.3" in text
    assert "config.json; crop as asked; filter as asked" in text
    assert "12: the dataset's in timm's order" in text
    assert not (tmp_path / "out").exists()
    call(*command, "--crop-fraction", 0.5)
    (row,) = ResultStore(tmp_path / "out").summary().to_pylist()
    seen = row["crop_fraction"], row["interpolation"], row["class_order"]
    assert seen == (0.5, "bilinear", "timm")


def test_case_37_a_dry_run_refuses_what_a_run_would(tmp_path, images):
    pickle = tmp_path / "resnet18.pth"
    pickle.write_bytes(b"\x80\x02}q\x00.")
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"no weights at all")
    other = tmp_path / "other.safetensors"
    save_variables(other, {"w.kernel": np.zeros((2, 2), np.float32)})
    for path in (pickle, damaged, other):
        command = ["evaluate", "resnet18", "--weights", path, "--data", images]
        text = said(call(*command, "--dry-run", "-o", tmp_path / "out", status=2))
        assert path.name in text.replace(" ", "")
    assert not (tmp_path / "out").exists()


def test_case_18_python_takes_the_same(weights):
    found, _ = load_pretrained(
        "resnet_micro", source=weights, crop_fraction=0.5, interpolation="lanczos"
    )
    spec = found.input_spec
    assert (spec.crop_fraction, spec.interpolation) == (0.5, "lanczos")
