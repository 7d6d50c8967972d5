"""Two connected processes give what one gives, each of them everything."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np

from jaxbench.data import open_dataset
from jaxbench.engine import evaluate, make_data_mesh
from jaxbench.metrics import score_examples, summarize
from model_zoo import create_model

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_two_processes_of_two_devices(tmp_path):
    port, outputs = free_port(), [tmp_path / f"{index}.npz" for index in range(2)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("JAX_NUM_CPU_DEVICES", None)
    workers = [
        subprocess.Popen(
            [
                sys.executable,
                str(ROOT / "tests/engine/worker.py"),
                str(port),
                "2",
                str(index),
                str(output),
            ],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index, output in enumerate(outputs)
    ]
    try:
        messages = [worker.communicate(timeout=240)[1] for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert [worker.returncode for worker in workers] == [0, 0], messages

    model = create_model("resnet_micro", num_classes=8)
    alone = evaluate(
        model,
        model.init(jax.random.key(3)),
        open_dataset("digits@test"),
        calibration=open_dataset("digits@validation"),
        batch_size=60,
        mesh=make_data_mesh(1),
        num_resamples=0,
        keep_logits=True,
    )
    for output in outputs:
        found = np.load(output)
        assert found["devices"] == 4
        assert found["id"].tolist() == alone.columns["id"].tolist()
        np.testing.assert_array_equal(found["correct"], alone.columns["correct"])
        np.testing.assert_allclose(found["logits"], alone.logits, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found["temperature"], alone.temperature, rtol=1e-4)
        for name, value in alone.metrics.items():
            np.testing.assert_allclose(
                found[f"metric_{name}"], value, atol=1e-5, err_msg=name
            )
        scores = score_examples(found["logits"][:240], found["label"][:240])
        measured = summarize(scores, ["accuracy", "aurc"])
        np.testing.assert_allclose(
            found["measured"], list(measured.values()), rtol=1e-6
        )
    # An image that one process cannot read ends the pass on both, by name.
    first, second = (str(np.load(output)["message"]) for output in outputs)
    assert "cannot read image" in first
    assert "of the processes, [0] could not read an image" in second
