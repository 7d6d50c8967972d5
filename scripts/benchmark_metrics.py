"""What the metrics inside the pass cost, against a bare forward pass.

Both programs get the same images on the same devices, in turn, so that a slow moment
of the machine falls on both. The bare program normalises, runs the network and keeps
the logits on the device; the other is the engine's own step with every per-example
score, the running sums and the row buffers.

    uv run scripts/benchmark_metrics.py
    uv run scripts/benchmark_metrics.py --models resnet50 --batch-size 256 --rounds 30
"""

import argparse
import statistics
import time

import jax
import numpy as np

from jaxbench.data.preprocess import normalize
from jaxbench.engine import make_data_mesh, provenance
from jaxbench.engine.compilation import compile_ahead
from jaxbench.engine.mesh import put_replicated, put_rows
from jaxbench.engine.step import Stepper, StepPlan
from model_zoo import Classifier, create_model


def bare_program(model: Classifier, placed, images):
    """The forward pass and nothing else, sharded as the engine's step is."""
    spec = model.input_spec

    def forward(variables, batch):
        return model.apply(variables, normalize(batch, spec.mean, spec.std)).logits

    return compile_ahead(jax.jit(forward), placed, images)


def measure(name: str, batch_size: int, rounds: int, tempered: bool) -> dict:
    """Times both programs in turn.

    Returns:
        Medians in seconds, and the median over rounds of (step - bare) / bare.
    """
    mesh = make_data_mesh()
    batch_size = -(-batch_size // mesh.size) * mesh.size
    model = create_model(name)
    stepper = Stepper.build(
        StepPlan(model, mesh, batch_size, tempered=tempered),
        model.init(jax.random.key(0)),
        {},
    )
    height, width = model.input_spec.size
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (batch_size, height, width, 3), np.uint8)
    on_devices = put_rows(mesh, images)
    labels = put_rows(mesh, draw.integers(0, model.num_classes, batch_size, np.int32))
    mask = put_rows(mesh, np.ones(batch_size, bool))
    at, temperature = put_replicated(mesh, (np.int32(0), np.float32(1.5)))
    bare = bare_program(model, stepper.variables, on_devices).call
    carry, bare_times, step_times = stepper.empty_carry(), [], []
    for number in range(rounds + 2):
        started = time.perf_counter()
        jax.block_until_ready(bare(stepper.variables, on_devices))
        middle = time.perf_counter()
        carry, seen = stepper.program.call(
            stepper.variables, carry, on_devices, labels, mask, at, temperature
        )
        jax.block_until_ready((carry, seen))
        # The first rounds fill caches.
        if number >= 2:
            bare_times.append(middle - started)
            step_times.append(time.perf_counter() - middle)
    ratios = [(s - b) / b for s, b in zip(step_times, bare_times, strict=True)]
    return {
        "bare": statistics.median(bare_times),
        "step": statistics.median(step_times),
        "cost": statistics.median(ratios),
        "cost_of_minima": min(step_times) / min(bare_times) - 1,
        "batch_size": batch_size,
    }


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--models", nargs="+", default=["vit_tiny_patch16_224", "resnet50"]
    )
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    origin = provenance()
    print(
        f"{origin['num_devices']} x {origin['device']}, jax {origin['jax_version']}, "
        f"Python {origin['python_version']}"
    )
    print(
        f"{'model':24}{'scores at':>12}{'batch':>7}{'bare s':>10}{'step s':>10}"
        f"{'cost':>9}{'of minima':>11}"
    )
    for name in arguments.models:
        for tempered in (False, True):
            found = measure(name, arguments.batch_size, arguments.rounds, tempered)
            print(
                f"{name:24}{'T=1 and T*' if tempered else 'T=1':>12}"
                f"{found['batch_size']:>7}{found['bare']:>10.4f}{found['step']:>10.4f}"
                f"{found['cost']:>9.2%}{found['cost_of_minima']:>11.2%}"
            )


if __name__ == "__main__":
    main()
