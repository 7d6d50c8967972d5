"""Programs compiled ahead are the ones that the work then uses."""

import threading

import jax
import pytest

from jaxbench.data import load_images, open_dataset
from jaxbench.engine import calibrate, compile_evaluation, evaluate, make_data_mesh
from jaxbench.sweeps.ahead import compiling_ahead
from jaxbench.training import (
    HyperParameters,
    Recipe,
    compile_population,
    train_population,
)
from model_zoo import create_model


@pytest.mark.parametrize("devices", [1, 4])
def test_evaluation_finds_its_programs(devices):
    # A head of its own size: no other test has compiled this model.
    model, mesh = create_model("mixer_micro", num_classes=11), make_data_mesh(devices)
    images = load_images(open_dataset("digits@test"), model.input_spec)
    options = {"batch_size": 90, "num_examples": len(images.labels), "mesh": mesh}
    compile_evaluation(model, keep_logits=True, **options)
    compile_evaluation(model, calibrated=True, **options)
    variables = model.init(jax.random.key(0))
    temperature = calibrate(model, variables, images, batch_size=90, mesh=mesh)
    found = evaluate(
        model,
        variables,
        images,
        temperature=temperature,
        batch_size=90,
        mesh=mesh,
        num_resamples=0,
    )
    assert found.timing.compile_seconds == 0.0
    other = evaluate(model, variables, images, mesh=mesh, num_resamples=0)
    assert other.timing.compile_seconds > 0.0


def test_training_finds_its_programs():
    model = create_model("mixer_micro", num_classes=9)
    images = load_images(open_dataset("digits@train"), model.input_spec)
    recipe = Recipe(epochs=1, batch_size=64, warmup_epochs=0.0)
    data = (images, recipe)
    compile_population(model, "lion", *data)
    members = [HyperParameters(1e-3, 0.1, 0), HyperParameters(3e-3, 0.0, 1)]
    result = train_population(model, "lion", members, *data)
    assert result.timing["compile_seconds"] == 0.0
    other = train_population(model, "sgd", members, *data)
    assert other.timing["compile_seconds"] > 0.0


def test_background_failure_is_ignored():
    done, names = threading.Event(), []

    def fail():
        raise RuntimeError("this comes again when its turn comes")

    def work():
        names.append(threading.current_thread().name)
        done.set()

    with compiling_ahead() as ahead:
        ahead(fail)
        ahead(work)
        assert done.wait(10)
    assert names[0].startswith("compile-ahead")
