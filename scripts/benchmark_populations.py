"""A population of trials beside the same trials in PyTorch, on the present backend.

    python scripts/benchmark_populations.py
    python scripts/benchmark_populations.py --data folder:cifar10_jpeg_train.tar.gz

Trials that differ in learning rate and seed train one network with AdamW on images in
memory: here as one population, under each strategy named, and in PyTorch one after the
other: eagerly on CPUs, in both memory formats, and through torch.compile on GPUs. Both
sides have the same cores, images, batches and number of steps. Every round runs each
side once, in turn; the time is that of the steps, after a first run of each side that
compiles and is not counted. The ratio is the median over the rounds of PyTorch's better
time to this project's: above one where this project is faster.

Needs torch and timm beside the project; without them the project's own columns remain.
"""

# torch and timm are not dependencies of the project.
# pyright: reportMissingImports=false

import argparse
import dataclasses
import importlib.util
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

# Both libraries share one device here: neither may take all of its memory at once.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import numpy as np

from jaxbench.data import load_images, open_dataset, take
from jaxbench.engine import provenance
from jaxbench.training import (
    HyperParameters,
    Recipe,
    TrainingImages,
    train_population,
)
from model_zoo import Classifier, create_model
from model_zoo.backbones.vit import ViTArchitecture
from model_zoo.classifier import NetworkClassifier

HAVE_TIMM = all(importlib.util.find_spec(name) for name in ("timm", "torch"))
NUM_CLASSES = 10
SHORT = Recipe(epochs=1, batch_size=64, warmup_epochs=0.0)
Seconds = dict[str, list[float]]


def network(name: str) -> Classifier:
    """A network for ten classes of 32 x 32 pixels; "vit_tiny4" is ViT-Ti/4."""
    if name != "vit_tiny4":
        return create_model(name, num_classes=NUM_CLASSES)
    made = create_model("vit_tiny_patch16_224", num_classes=NUM_CLASSES)
    assert isinstance(made, NetworkClassifier)
    assert isinstance(made.architecture, ViTArchitecture)
    return dataclasses.replace(
        made,
        architecture=dataclasses.replace(made.architecture, patch_size=4),
        input_spec=dataclasses.replace(made.input_spec, size=(32, 32)),
    )


def torch_network(name: str) -> Any:
    """The network of the same layers as timm has it."""
    import timm.models as models
    import torch

    def resnet(**arguments):
        from timm.models.resnet import BasicBlock

        made = models.ResNet(BasicBlock, num_classes=NUM_CLASSES, **arguments)
        width = made.conv1.out_channels
        stem = torch.nn.Conv2d(3, width, 3, padding=1, bias=False)
        made.conv1, made.maxpool = stem, torch.nn.Identity()
        return made

    def vit(**arguments):
        return models.VisionTransformer(
            img_size=32, patch_size=4, num_classes=NUM_CLASSES, **arguments
        )

    def resnet_mini():
        made = resnet(layers=(1, 1, 1, 1), channels=(16, 32, 64, 128))
        stem = torch.nn.Conv2d(3, 16, 3, padding=1, bias=False)
        made.conv1, made.bn1 = stem, torch.nn.BatchNorm2d(16)
        block = made.layer1[0]
        block.conv1 = torch.nn.Conv2d(16, 16, 3, padding=1, bias=False)
        block.downsample = None
        return made

    twins: dict[str, Callable[[], Any]] = {
        "resnet_mini": resnet_mini,
        "resnet18_cifar": lambda: resnet(layers=(2, 2, 2, 2)),
        "vit_mini": lambda: vit(embed_dim=128, depth=4, num_heads=4, mlp_ratio=2),
        "vit_tiny4": lambda: vit(embed_dim=192, depth=12, num_heads=3),
    }
    made = twins[name]()
    theirs = sum(leaf.numel() for leaf in made.parameters())
    ours = network(name).num_parameters
    if theirs != ours:
        raise SystemExit(f"{name}: timm's has {theirs} parameters, the zoo's {ours}")
    return made


@dataclasses.dataclass(frozen=True)
class Work:
    """What both sides do."""

    name: str
    images: TrainingImages
    recipe: Recipe
    members: int

    @property
    def hypers(self) -> list[HyperParameters]:
        """Learning rates from 1e-4 to 1e-2, a seed each."""
        rates = np.geomspace(1e-4, 1e-2, self.members)
        return [HyperParameters(float(r), 0.05, seed) for seed, r in enumerate(rates)]

    @property
    def num_images(self) -> int:
        """That all trials together see."""
        batch = self.recipe.batch_size
        return (
            self.members * self.recipe.epochs * len(self.images.labels) // batch * batch
        )


def our_side(work: Work, strategy: Any) -> tuple[float, float]:
    """Seconds of the steps of a population, and of compiling."""
    model = network(work.name)
    result = train_population(
        model, "adamw", work.hypers, work.images, work.recipe, strategy=strategy
    )
    return result.timing["train_seconds"], result.timing["compile_seconds"]


def torch_side(work: Work, way: str) -> float:
    """Seconds of the steps of the same trials, one after the other."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    layout = torch.channels_last if "last" in way else torch.contiguous_format
    spec = network(work.name).input_spec
    pixels = torch.from_numpy(work.images.images).to(device)
    labels = torch.from_numpy(work.images.labels.astype(np.int64)).to(device)
    mean = torch.tensor(spec.mean, device=device) * 255
    std = torch.tensor(spec.std, device=device) * 255
    seconds = 0.0
    for hyper in work.hypers:
        torch.manual_seed(hyper.seed)
        model = torch_network(work.name).to(device, memory_format=layout)
        rate, decay = hyper.learning_rate, hyper.weight_decay
        optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=decay)

        def step(rows, model=model, optimizer=optimizer):
            batch = (pixels[rows].float() - mean) / std
            batch = batch.permute(0, 3, 1, 2).contiguous(memory_format=layout)
            loss = torch.nn.functional.cross_entropy(model(batch), labels[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

        if "compile" in way:
            model.compile()
        order = torch.randperm(len(labels), device=device)
        batches = order.split(work.recipe.batch_size)[
            : len(labels) // work.recipe.batch_size
        ]
        if "compile" in way:
            step(batches[0])
        if device == "cuda":
            torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(work.recipe.epochs):
            for rows in batches:
                step(rows)
        if device == "cuda":
            torch.cuda.synchronize()
        seconds += time.perf_counter() - started
    return seconds


def measure(work: Work, strategies: list[str], rounds: int) -> None:
    """Runs both sides in turn and prints the table's rows."""
    on_cpu = jax.default_backend() == "cpu"
    ways = []
    if HAVE_TIMM:
        ways = (
            ["eager", "eager, channels last"] if on_cpu else ["compile, channels last"]
        )
    times: Seconds = {name: [] for name in (*strategies, *ways)}
    compiling = {}
    for number in range(rounds + 1):
        for strategy in strategies:
            seconds, spent = our_side(work, strategy)
            compiling.setdefault(strategy, spent)
            times[strategy] += [seconds] if number else []
        for way in ways:
            seconds = torch_side(work, way)
            times[way] += [seconds] if number else []
    theirs = [min(times[w][i] for w in ways) for i in range(rounds)] if ways else None
    for side, seconds in times.items():
        median = statistics.median(seconds)
        ratio = ""
        if theirs is not None and side in strategies:
            pairs = zip(theirs, seconds, strict=True)
            ratio = f"{statistics.median(t / s for t, s in pairs):.2f}"
        name = side if side in strategies else f"PyTorch, {side}"
        spent = f"{compiling[side]:.1f}" if side in compiling else ""
        rate = work.num_images / median
        print(
            f"| {work.name} | {name} | {median:.2f} | {rate:.0f} | {spent} | {ratio} |"
        )


def images_for(name: str, count: int, address: str | None) -> TrainingImages:
    """Those of a dataset, or noise of the same shape."""
    spec = network(name).input_spec
    if address is None:
        draw = np.random.default_rng(0)
        pixels = draw.integers(0, 256, (count, *spec.size, 3), np.uint8)
        return TrainingImages(pixels, draw.integers(0, NUM_CLASSES, count, np.int32))
    found = load_images(take(open_dataset(address), count), spec)
    return TrainingImages(found.images, found.labels)


def table(
    models: list[str],
    strategies: list[str],
    *,
    members: int = 16,
    recipe: Recipe = SHORT,
    steps: int = 10,
    rounds: int = 3,
    data: str | None = None,
) -> None:
    """Measures and prints."""
    print("| network | side | steps, s | images/s | compiling, s | PyTorch / here |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for name in models:
        images = images_for(name, steps * recipe.batch_size, data)
        measure(Work(name, images, recipe, members), strategies, rounds)


def main() -> None:
    """Parses, measures, prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    on_cpu = jax.default_backend() == "cpu"
    models = ["resnet_mini", "vit_mini"] if on_cpu else ["resnet18_cifar", "vit_tiny4"]
    strategies = ["loop"] if on_cpu else ["vmap", "unroll", "loop"]
    parser.add_argument("--models", nargs="+", default=models)
    parser.add_argument("--strategies", nargs="+", default=strategies)
    parser.add_argument("--data", help="address of 32 x 32 images; noise without")
    parser.add_argument("--members", type=int, default=16)
    parser.add_argument("--steps", type=int, default=10, help="an epoch's")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if HAVE_TIMM:
        import torch

        torch.set_num_threads(len(os.sched_getaffinity(0)))
    origin = provenance()
    print(f"{origin['device']}, jax {origin['jax_version']}; {arguments}\n")
    table(
        arguments.models,
        arguments.strategies,
        members=arguments.members,
        recipe=Recipe(arguments.epochs, arguments.batch_size, warmup_epochs=0.0),
        steps=arguments.steps,
        rounds=arguments.rounds,
        data=arguments.data,
    )


if __name__ == "__main__":
    main()
