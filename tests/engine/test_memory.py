"""Batches that are too large: cut to what fits, or refused with a message."""

import subprocess
import sys

import jax
import numpy as np
import pytest

import jaxbench.engine.memory as memory_module
from jaxbench.data import ImageArrays
from jaxbench.engine import evaluate, make_data_mesh
from jaxbench.engine.passes import step_rows
from jaxbench.engine.step import Stepper
from model_zoo import InputSpec, classifier_from_function

SIDE, ROWS = 32, 300
# What an image takes at least in a step: bytes, and as float32.
LEAST = SIDE * SIDE * 3 * (1 + 4)
SPEC = InputSpec(size=(SIDE, SIDE), crop_fraction=1.0, mean=(0.5,) * 3, std=(0.25,) * 3)
MODEL = classifier_from_function(
    lambda variables, images: images.reshape(len(images), -1) @ variables["kernel"],
    name="linear",
    num_classes=8,
    input_spec=SPEC,
)


def measured(batch_size):
    draw = np.random.default_rng(0)
    kernel = draw.normal(size=(SIDE * SIDE * 3, 8)).astype(np.float32)
    images = ImageArrays(
        draw.integers(0, 256, (ROWS, SIDE, SIDE, 3), np.uint8),
        (np.arange(ROWS) % 8).astype(np.int32),
        tuple(map(str, range(ROWS))),
        (),
    )
    return evaluate(
        MODEL,
        {"kernel": kernel},
        images,
        batch_size=batch_size,
        mesh=make_data_mesh(1),
        num_resamples=0,
    )


def test_case_30_a_batch_is_at_most_the_dataset():
    found, whole = measured(1_000_000), measured(ROWS)
    assert found.batch_size == whole.batch_size == ROWS
    assert found.metrics == whole.metrics
    # Small datasets share a program with larger ones: up to 256 rows are padded.
    assert step_rows(256, 40, make_data_mesh(1)) == 256
    assert step_rows(10**9, 40, make_data_mesh(1)) == 256
    assert step_rows(10**9, 1001, make_data_mesh(8)) == 1008


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        jax.errors.JaxRuntimeError("INTERNAL: std::bad_alloc"),
        jax.errors.JaxRuntimeError("INTERNAL: Out of memory allocating 8 bytes"),
    ],
    ids=repr,
)
def test_case_30_whatever_says_out_of_memory_halves_the_batch(monkeypatch, error):
    call = Stepper.__call__

    def failing(self, *arguments):
        if self.plan.batch_size > 32:
            raise error
        return call(self, *arguments)

    monkeypatch.setattr(Stepper, "__call__", failing)
    assert measured(64).batch_size == 32


def test_case_30_what_cannot_fit_is_not_tried(monkeypatch):
    tried = []
    build = Stepper.build.__func__

    def counting(cls, plan, variables, rules):
        tried.append(plan.batch_size)
        return build(cls, plan, variables, rules)

    monkeypatch.setattr(Stepper, "build", classmethod(counting))
    monkeypatch.setattr(memory_module, "available_bytes", lambda _: 40 * LEAST)
    found = measured(10**9)
    assert tried[0] == 37
    assert tried[-1] == found.batch_size
    assert len(tried) <= 3
    monkeypatch.setattr(memory_module, "available_bytes", lambda _: LEAST - 1)
    with pytest.raises(MemoryError, match=r"are left; choose a smaller batch_size"):
        measured(64)


LIMITED = """
import resource
import numpy as np
import jax
from jaxbench.data import ImageArrays
from jaxbench.engine import evaluate, make_data_mesh
from model_zoo import create_model

model = create_model("resnet_micro", num_classes=3, image_size=224)
variables = model.init(jax.random.key(0))
rows = 257
images = ImageArrays(
    np.zeros((rows, 224, 224, 3), np.uint8), np.zeros(rows, np.int32),
    tuple(map(str, range(rows))), ())
options = {"mesh": make_data_mesh(1), "num_resamples": 0, "metrics": ("accuracy",)}
evaluate(model, variables, images, batch_size=1, **options)
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + 400 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
print(evaluate(model, variables, images, batch_size=10**6, **options).batch_size)
"""


def test_case_30_under_a_limit_of_memory_a_smaller_batch_is_measured():
    done = subprocess.run(
        [sys.executable, "-c", LIMITED], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert 0 < int(done.stdout) < 257
    assert "out of memory with batch size 257" in done.stderr
