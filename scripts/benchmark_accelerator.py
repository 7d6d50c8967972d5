"""Everything that is to be known of an accelerator, in one call.

    uv run --extra cuda13 scripts/benchmark_accelerator.py > accelerator.md

Prints Markdown: the cost of the metrics inside the pass, evaluation throughput in
float32 and bfloat16, a population under every strategy (and whether they agree) and
beside torch.compile, whether numbers depend on the batch size, the zoo's forward passes
in bfloat16 and compile time by depth. What is beside PyTorch needs torch and timm, and
is left out without them. Needs no files and no network.
"""

import argparse
import statistics
import time

import benchmark_backbones  # first: it keeps JAX from taking all of the memory
import benchmark_compilation
import benchmark_populations
import jax
import numpy as np
from benchmark_metrics import measure

from jaxbench.data import ImageArrays
from jaxbench.engine import evaluate, make_data_mesh, provenance
from jaxbench.metrics import (
    ClassificationState,
    bootstrap_intervals,
    classwise_calibration_error,
    score_examples,
    summarize,
)
from jaxbench.training import HyperParameters, Recipe, train_population
from model_zoo import create_model


def noise(count: int, size: tuple[int, int], classes: int) -> ImageArrays:
    """Random images in memory: what is timed does not look at them."""
    draw = np.random.default_rng(0)
    return ImageArrays(
        draw.integers(0, 256, (count, *size, 3), np.uint8),
        draw.integers(0, classes, count).astype(np.int32),
        tuple(str(i) for i in range(count)),
        (),
    )


def metrics_cost(models: list[str], batch_size: int, rounds: int) -> None:
    """Cost of the scores as a fraction of a bare forward pass."""
    print("\n## Metrics inside the pass\n")
    print(
        "| model | batch | bare forward, ms | with metrics, ms | cost | cost with T* |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for name in models:
        plain = measure(name, batch_size, rounds, tempered=False)
        tempered = measure(name, batch_size, rounds, tempered=True)
        print(
            f"| {name} | {batch_size} | {plain['bare'] * 1e3:.2f} | "
            f"{plain['step'] * 1e3:.2f} | {plain['cost']:.2%} | "
            f"{tempered['cost']:.2%} |"
        )


def metric_kernels(rounds: int, rows: int = 50_000, classes: int = 1000) -> None:
    """The metrics alone, on logits that are on the device already."""
    print(f"\n## Metrics of {rows} x {classes} logits\n")
    print("| what | median, ms |")
    print("| --- | --- |")
    key = jax.random.key(0)
    logits = 3 * jax.random.normal(key, (rows, classes))
    labels = jax.random.randint(key, (rows,), 0, classes)
    scores = jax.jit(score_examples)(logits, labels)
    state = ClassificationState.empty(num_classes=classes)
    kernels = {
        "log_softmax, for comparison": lambda: softmax(logits),
        "score_examples": lambda: score(logits, labels),
        "summarize, every metric": lambda: summary(scores),
        "classwise_calibration_error": lambda: classwise(logits, labels),
        "ClassificationState.update_from_logits": lambda: update(state, logits, labels),
        "1,000 resamples of every metric": lambda: resample(scores, key),
    }
    softmax, score = jax.jit(jax.nn.log_softmax), jax.jit(score_examples)
    summary, classwise = jax.jit(summarize), jax.jit(classwise_calibration_error)
    update = jax.jit(ClassificationState.update_from_logits)
    resample = jax.jit(lambda scores, key: bootstrap_intervals(scores, key=key))
    for name, kernel in kernels.items():
        jax.block_until_ready(kernel())
        times = []
        for _ in range(rounds):
            started = time.perf_counter()
            jax.block_until_ready(kernel())
            times.append(time.perf_counter() - started)
        print(f"| {name} | {1e3 * statistics.median(times):.2f} |")


def throughput(models: list[str], batch_size: int, batches: int) -> None:
    """Steady-state images per second, and what compiling took."""
    print("\n## Evaluation\n")
    print("| model | dtype | images/s | median step, ms | p95, ms | compile, s | GB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in models:
        for dtype in (np.float32, jax.numpy.bfloat16):
            model = create_model(name, dtype=np.dtype(dtype))
            images = noise(batch_size * batches, model.input_spec.size, 1000)
            timing = evaluate(
                model,
                model.init(jax.random.key(0)),
                images,
                batch_size=batch_size,
                num_resamples=0,
            ).timing
            print(
                f"| {name} | {np.dtype(dtype).name} | "
                f"{timing.steady_images_per_second:.0f} | "
                f"{timing.step_median_seconds * 1e3:.2f} | "
                f"{timing.step_p95_seconds * 1e3:.2f} | "
                f"{timing.compile_seconds:.1f} | {timing.peak_memory_bytes / 1e9:.2f} |"
            )


def populations(models: list[str], members: int) -> None:
    """One program for all members against one program called for each."""
    print("\n## Populations\n")
    print(
        "| model | members | strategy | compile, s | train, s | images/s | gap of "
        "losses |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    rates = np.geomspace(1e-4, 1e-2, members)
    hypers = [
        HyperParameters(float(rate), 0.05, seed) for seed, rate in enumerate(rates)
    ]
    recipe = Recipe(epochs=2, batch_size=128, warmup_epochs=1.0)
    for name in models:
        model = create_model(name, num_classes=10)
        images = noise(2048, model.input_spec.size, 10)
        losses = {}
        for strategy in ("loop", "vmap", "unroll"):
            result = train_population(
                model,
                "adamw",
                hypers,
                images,
                recipe,
                strategy=strategy,
            )
            losses[strategy] = result.curves["train_loss"]
            gap = np.abs(losses[strategy] - losses["loop"]).max()
            timing = result.timing
            print(
                f"| {name} | {members} | {strategy} | "
                f"{timing['compile_seconds']:.1f} | {timing['train_seconds']:.2f} | "
                f"{timing['images_per_second']:.0f} | {gap:.1e} |"
            )


def invariance(name: str) -> None:
    """The same numbers for every batch size, and for every device count there is."""
    print("\n## Invariance\n")
    model = create_model(name)
    variables = model.init(jax.random.key(0))
    images = noise(200, model.input_spec.size, 1000)
    whole = None
    for devices in sorted({1, jax.device_count()}):
        for batch_size in (7, 64, 200):
            found = evaluate(
                model,
                variables,
                images,
                batch_size=batch_size,
                mesh=make_data_mesh(devices),
                num_resamples=0,
            )
            whole = whole or found
            same = (found.columns["prediction"] == whole.columns["prediction"]).mean()
            gap = np.abs(found.columns["nll"] - whole.columns["nll"]).max()
            print(
                f"- {name}, {devices} device(s), batch {batch_size}: {same:.1%} of "
                f"predictions the same, largest difference of an NLL {gap:.1e}"
            )


def main() -> None:
    """Runs everything."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--models", nargs="+", default=["resnet50", "vit_base_patch16_224"]
    )
    parser.add_argument(
        "--small", nargs="+", default=["vit_micro", "resnet_mini", "vit_mini"]
    )
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--batches", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--members", type=int, default=16)
    arguments = parser.parse_args()
    started = time.perf_counter()
    origin = provenance()
    print(
        f"# {origin['num_devices']} x {origin['device']}\n\n"
        f"jax {origin['jax_version']}, Python {origin['python_version']}, "
        f"{origin['created_at'][:10]}"
    )
    metrics_cost(arguments.models, arguments.batch_size, arguments.rounds)
    metric_kernels(arguments.rounds)
    throughput(arguments.models, arguments.batch_size, arguments.batches)
    populations(arguments.small, arguments.members)
    print("\n## Populations beside PyTorch\n")
    benchmark_populations.table(
        ["resnet18_cifar", "vit_tiny4"],
        ["vmap", "unroll", "loop"],
        members=arguments.members,
    )
    invariance(arguments.models[0])
    print("\n## The zoo")
    benchmark_backbones.table(benchmark_backbones.MODELS, None, arguments.rounds)
    print("\n## Compile time by depth")
    benchmark_compilation.table(rounds=3)
    print(f"\nAll of it took {time.perf_counter() - started:.0f} s.")


if __name__ == "__main__":
    main()
