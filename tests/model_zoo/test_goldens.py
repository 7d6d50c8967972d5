"""Every family and option against tiny random models of its original.

The files were made by `scripts/make_goldens.py` from the originals themselves; nothing
of torch is needed to compare with them.
"""

import importlib
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from model_zoo.architecture import Settings
from model_zoo.classifier import NetworkClassifier
from model_zoo.input_spec import InputSpec
from model_zoo.registry import architectures
from model_zoo.weights.rules import convert

FOLDER = Path(__file__).parent / "goldens"
GOLDENS = {
    f"{p.parent.name}/{p.stem}": p for p in sorted(FOLDER.glob("*/*.safetensors"))
}
FAMILIES = sorted({entry.family for entry in architectures().values()})
# These networks are tiny: what counts is compiling, which is quickest unoptimised.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def frozen(value):
    return tuple(map(frozen, value)) if isinstance(value, list) else value


def load(path, dtype="float32"):
    """A golden's classifier, its converted variables, and all of its arrays."""
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    family = path.parent.name
    module = importlib.import_module(f"model_zoo.backbones.{family}")
    arguments = json.loads(metadata["architecture"])
    architecture = module.ARCHITECTURE(**{k: frozen(v) for k, v in arguments.items()})
    num_classes, size = (
        int(metadata["num_classes"]),
        frozen(json.loads(metadata["size"])),
    )
    settings = Settings(num_classes, size, np.dtype(dtype))
    spec = InputSpec(size=size)
    classifier = NetworkClassifier(path.stem, num_classes, spec, architecture, settings)
    arrays = load_file(path)
    rules = importlib.import_module(f"model_zoo.weights.{family}").RULES
    variables = convert(part(arrays, "weights/"), classifier, rules)
    return classifier, variables, arrays


def part(arrays, prefix):
    return {
        k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)
    }


def run(function, *arguments):
    compiled = jax.jit(function).lower(*arguments).compile(compiler_options=QUICK)
    return jax.device_get(compiled(*arguments))


def relative(got, want):
    return np.abs(got - want).max() / np.abs(want).max()


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_goldens_and_one_of_training(family):
    mine = [path for name, path in GOLDENS.items() if name.startswith(f"{family}/")]
    assert mine
    assert any("loss" in load_file(path) for path in mine)


def test_goldens_stay_small():
    assert sum(path.stat().st_size for path in GOLDENS.values()) < 20e6


@pytest.mark.parametrize("name", GOLDENS)
def test_logits_equal_the_originals(name):
    classifier, variables, arrays = load(GOLDENS[name])
    assert np.std(arrays["logits"]) > 1e-2  # the comparison has something to see
    outputs = run(classifier.apply, variables, arrays["images"])
    assert outputs.features.shape[1] == classifier.num_features
    assert relative(outputs.logits, arrays["logits"]) < 1e-5


@pytest.mark.parametrize(
    "name", [name for name, path in GOLDENS.items() if "loss" in load_file(path)]
)
def test_a_training_step_equals_the_originals(name):
    classifier, variables, arrays = load(GOLDENS[name])
    module = importlib.import_module(f"model_zoo.weights.{name.split('/')[0]}")
    parameters = {n: variables[n] for n in classifier.parameter_names}
    state = {n: variables[n] for n in classifier.state_names}

    def loss(parameters):
        outputs, updated = classifier.apply_train(
            {**parameters, **state}, arrays["images"], jax.random.key(0)
        )
        return jnp.square(outputs.logits).mean(), updated

    (value, updated), gradients = run(
        jax.value_and_grad(loss, has_aux=True), parameters
    )
    assert relative(value, arrays["loss"]) < 1e-5
    wanted = {**part(arrays, "weights/"), **part(arrays, "gradients/")}
    wanted |= part(arrays, "statistics/")
    # The original's tensors after the step, read as weights are.
    expected = convert(wanted, classifier, module.RULES)
    largest = max(np.abs(expected[n]).max() for n in gradients)
    for leaf, gradient in gradients.items():
        scale = max(np.abs(expected[leaf]).max(), 1e-3 * largest)
        # Batch statistics of few pixels amplify rounding.
        assert np.abs(gradient - expected[leaf]).max() < 2e-4 * scale, leaf
    assert updated.keys() == set(classifier.state_names)
    for leaf, statistic in updated.items():
        np.testing.assert_allclose(statistic, expected[leaf], rtol=1e-4, atol=1e-5)
