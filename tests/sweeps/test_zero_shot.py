"""A CLIP model in an experiment: classes by name, or a message before anything runs."""

import importlib.util

import numpy as np
import pytest

from jaxbench.config import SubjectConfig
from jaxbench.data import open_dataset
from jaxbench.errors import UserError
from jaxbench.sweeps import sweep
from jaxbench.sweeps.outputs import Outputs
from jaxbench.sweeps.plan import make_plan
from jaxbench.sweeps.subjects import make_subjects
from jaxbench.sweeps.zero_shot import expand_zero_shot
from model_zoo import registry
from model_zoo.clip import clip_checkpoints
from tests.model_zoo import clip_models
from tests.sweeps.experiment import experiment, subjects

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven")


@pytest.fixture
def weights(tmp_path, monkeypatch):
    entry = registry.ArchitectureEntry(
        "clip_micro", "vit", clip_models.MICRO, registry.input_spec({"size": [8, 8]})
    )
    monkeypatch.setitem(registry._registered, "clip_micro", entry)
    size = 512 + len(clip_models.MERGES) + 2
    clip_models.write_repository(tmp_path / "zoo" / "clip_micro.mine", size)
    return tmp_path / "zoo"


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "digits.txt"
    path.write_text("\n".join(NAMES))
    return path


def evaluate(tmp_path, **subject):
    table = experiment(tmp_path).evaluate.model_dump(mode="json")
    table |= {"models": [subject], "shifted": [], "ood": [], "calibration": None}
    table |= {"metrics": ["accuracy"], "num_resamples": 0}
    return experiment(tmp_path / "results", train=None, evaluate=table)


def test_a_clip_model_is_evaluated_by_the_names_of_classes(tmp_path, weights, prompts):
    subject = {"weights": str(weights), "zero_shot": str(prompts)}
    config = evaluate(tmp_path, name="clip_micro*", **subject)
    (run,) = sweep(config)
    assert run.status == "ok", run.error
    assert 0 <= run.metrics["accuracy"] <= 1
    assert not list(sweep(config))  # it is kept
    (held,) = subjects(make_plan(config))
    assert (held.name, held.num_classes) == ("clip_micro.mine", 8)
    classifier = held.classifier()
    kernel = held.variables(classifier)["head.kernel"]
    assert np.linalg.norm(kernel, axis=0) == pytest.approx(100, rel=1e-5)
    assert classifier.shapes["head.kernel"].shape == kernel.shape == (12, 8)


def test_what_decides_a_number_is_in_its_name(tmp_path, weights, prompts):
    def digest(source):
        entry = SubjectConfig(
            name="clip_micro.mine", weights=str(weights), zero_shot=str(source)
        )
        (subject,) = make_subjects(entry, open_dataset("digits@test"), "digits@test")
        return subject.digest

    first = digest(prompts)
    copy = prompts.with_name("copy.txt")
    copy.write_text(prompts.read_text())
    assert digest(copy) == first
    copy.write_text("\n".join(NAMES[::-1]))
    assert digest(copy) != first
    vocabulary = weights / "clip_micro.mine" / "merges.txt"
    vocabulary.write_text(vocabulary.read_text() + "x y\n")
    assert digest(prompts) != first


def test_models_that_are_none_keep_their_names():
    entry = SubjectConfig(name="resnet_micro", weights="random:0")
    (subject,) = make_subjects(entry, open_dataset("digits@test"), "digits@test")
    assert (subject.name, subject.weights) == ("resnet_micro", "random:0")
    assert (subject.num_classes, subject.outputs) == (8, Outputs(8))
    # Measured results are found again by it.
    assert subject.digest == "3002b4ed0e922a928b17e77f4aba3988"


def test_another_number_of_classes_than_the_dataset(tmp_path, weights, prompts):
    prompts.write_text("\n".join(NAMES[:7]))
    subject = {"weights": str(weights), "zero_shot": str(prompts)}
    with pytest.raises(UserError, match="names 7 classes, digits@test has 8"):
        make_plan(evaluate(tmp_path, name="clip_micro.mine", **subject))


def test_all_that_is_wrong_at_once(tmp_path, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n: None if n == "tokenizers" else real(n)
    )
    subject = {"weights": "random:0", "num_classes": 8, "zero_shot": "none.txt"}
    with pytest.raises(UserError) as error:
        make_plan(evaluate(tmp_path, name="vit_micro", **subject))
    for said in (
        "wanted a CLIP model of the zoo with trained weights",
        "num_classes is the number of class names",
        "pip install 'jaxbench[clip]'",
        "no prompts at none.txt",
    ):
        assert said in str(error.value)


def test_a_model_without_a_text_tower(tmp_path, prompts):
    subject = {"name": "resnet50.a1_in1k", "zero_shot": str(prompts)}
    with pytest.raises(UserError, match="no text tower"):
        make_plan(evaluate(tmp_path, **subject))


def test_a_pattern_means_the_models_with_text_towers():
    entry = SubjectConfig(name="*patch16_clip*", zero_shot="imagenet")
    names = expand_zero_shot(entry)
    assert set(names) == {n for n in clip_checkpoints() if "patch16_clip" in n}
    assert len(names) > 3
    with pytest.raises(UserError, match="unknown CLIP model"):
        expand_zero_shot(SubjectConfig(name="resnet18*", zero_shot="imagenet"))
