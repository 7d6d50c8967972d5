"""Compile time of a deep ViT beside one of half its depth, on the present backend.

    python scripts/benchmark_compilation.py --rounds 5

ViT-S/16 with 12 and with 24 blocks: the forward pass as evaluation compiles it, and the
loss gradient as training does. Both depths are compiled in every round, in turn, each
from nothing, tracing included; figures are medians.
"""

import argparse
import dataclasses
import statistics
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxbench.engine import provenance
from jaxbench.engine.compilation import compile_ahead
from model_zoo import create_model
from model_zoo.backbones.vit import ViTArchitecture
from model_zoo.classifier import NetworkClassifier

DEPTHS = 12, 24


def vit(depth: int) -> NetworkClassifier:
    """ViT-S/16 of another depth."""
    model = create_model("vit_small_patch16_224")
    assert isinstance(model.architecture, ViTArchitecture)
    blocks = dataclasses.replace(model.architecture, depth=depth)
    return dataclasses.replace(model, architecture=blocks)


def forward(model: NetworkClassifier) -> Callable:
    """Logits and features of a batch."""
    return model.apply


def gradient(model: NetworkClassifier) -> Callable:
    """Gradient of the mean cross-entropy with class 0."""

    def loss(variables, images):
        outputs, _ = model.apply_train(variables, images, jax.random.key(0))
        return -jax.nn.log_softmax(outputs.logits)[:, 0].mean()

    return jax.grad(loss)


def seconds(make: Callable, depth: int, batch_size: int) -> float:
    """Of tracing, lowering and compiling, as the engine does."""
    model = vit(depth)
    jax.config.update("jax_enable_compilation_cache", False)
    images = jax.ShapeDtypeStruct((batch_size, *model.input_spec.size, 3), jnp.float32)
    jax.clear_caches()
    return compile_ahead(jax.jit(make(model)), model.shapes, images).compile_seconds


def table(rounds: int, batch_size: int = 16) -> None:
    """Measures and prints."""
    print("\n| ViT-S/16 | 12 blocks, s | 24 blocks, s | 24 / 12 |")
    print("| --- | ---: | ---: | ---: |")
    for make in (forward, gradient):
        seconds(make, DEPTHS[0], batch_size)  # imports, thread pools
        found = [
            [seconds(make, depth, batch_size) for depth in DEPTHS]
            for _ in range(rounds)
        ]
        half, deep = (statistics.median(column) for column in zip(*found, strict=True))
        ratio = statistics.median(b / a for a, b in found)
        print(
            f"| {make.__name__} | {half:.2f} | {deep:.2f} | {ratio:.2f} |", flush=True
        )


def main() -> None:
    """Reads the arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=16)
    arguments = parser.parse_args()
    origin = provenance()
    print(f"# {origin['device']}, jax {origin['jax_version']}")
    table(arguments.rounds, arguments.batch_size)


if __name__ == "__main__":
    main()
