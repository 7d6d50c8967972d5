"""Forward passes of the zoo beside timm's, on the present backend.

    python scripts/benchmark_backbones.py > backbones.md
    python scripts/benchmark_backbones.py --models resnet50 'convnext_*' --batch-size 64

Prints a Markdown table. On CPUs: float32, timm eagerly in both of torch's memory
formats, both libraries limited to the same cores; the ratio is that of timm's better
format to this zoo, above one where this zoo is faster. On GPUs: bfloat16, timm through
torch.compile in channels-last format, with the fraction of the device's peak that the
multiply-accumulates come to. Every round calls each side once, in turn; a ratio is the
median of the rounds' ratios, so that a load that comes and goes does not decide it.

Weights and images are random. Needs torch and timm beside the project; without them
the zoo's own columns are printed.
"""

# torch and timm are not dependencies of the project.
# pyright: reportMissingImports=false

import argparse
import fnmatch
import importlib.metadata
import importlib.util
import os
import statistics
import time
from collections.abc import Callable, Sequence

# Both libraries share one device here: neither may take all of its memory at once.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import jax.numpy as jnp
import numpy as np

from jaxbench.engine import provenance
from jaxbench.engine.compilation import Program, compile_ahead
from model_zoo import create_model, list_models
from model_zoo.counting import count_macs

HAVE_TIMM = all(importlib.util.find_spec(name) for name in ("timm", "torch"))
MODELS = (
    "resnet50",
    "convnext_tiny",
    "vit_small_patch16_224",
    "efficientnet_b0",
    "regnety_016",
    "xcit_tiny_12_p16_224",
    "mixer_s16_224",
    "swin_tiny_patch4_window7_224",
)
# Dense bfloat16 operations a second, by a word of the device's name, from data sheets.
PEAKS = {
    "H100": 989e12,
    "H200": 989e12,
    "B200": 2250e12,
    "A100": 312e12,
    "L40S": 362e12,
    "A10": 125e12,
    "L4": 121e12,
    "V100": 125e12,
}
Call = Callable[[], object]
Seconds = dict[str, list[float]]


def zoo_side(name: str, images: np.ndarray, dtype) -> tuple[Call, Program]:
    """This zoo's forward pass as evaluation compiles it."""
    model = create_model(name, dtype=dtype)
    variables = jax.device_put(model.init(jax.random.key(0)))
    batch = jax.device_put(images)
    program = compile_ahead(jax.jit(model.apply), variables, batch)
    return lambda: jax.block_until_ready(program.call(variables, batch)), program


def has_timm(name: str) -> bool:
    """Whether timm is installed and has this model."""
    if not HAVE_TIMM:
        return False
    import timm

    return timm.is_model(name)


def timm_side(name: str, images: np.ndarray, layout: str, device: str) -> Call:
    """The forward pass of timm's model, compiled on GPUs."""
    import timm
    import torch

    formats = {"first": torch.contiguous_format, "last": torch.channels_last}
    options = {"device": device, "memory_format": formats[layout]}
    if device == "cuda":
        options["dtype"] = torch.bfloat16
    model = timm.create_model(name).eval().to(**options)
    batch = torch.from_numpy(images).permute(0, 3, 1, 2).to(**options)
    forward = torch.compile(model) if device == "cuda" else model

    def call() -> None:
        with torch.inference_mode():
            forward(batch)
        if device == "cuda":
            torch.cuda.synchronize()

    return call


def measure(sides: dict[str, Call], rounds: int) -> tuple[Seconds, Seconds]:
    """Seconds of each side in each round, by the clock and of the processor.

    A first call of each is not counted.
    """
    for call in sides.values():
        call()
    wall: Seconds = {side: [] for side in sides}
    busy: Seconds = {side: [] for side in sides}
    for _ in range(rounds):
        for side, call in sides.items():
            before = time.perf_counter(), time.process_time()
            call()
            wall[side].append(time.perf_counter() - before[0])
            busy[side].append(time.process_time() - before[1])
    return wall, busy


def ratio(seconds: Seconds) -> float:
    """How many times as long timm's better side takes; NaN without one."""
    others = [side for side in seconds if side != "zoo"]
    if not others:
        return float("nan")
    best = min(others, key=lambda side: statistics.median(seconds[side]))
    pairs = zip(seconds[best], seconds["zoo"], strict=True)
    return statistics.median(other / own for other, own in pairs)


def timm_memory() -> int:
    """Most bytes that torch held on the device since the last call of this."""
    import torch

    held = torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    return held


def noise(name: str, batch_size: int) -> np.ndarray:
    """Random images of the model's size."""
    shape = batch_size, *create_model(name).input_spec.size, 3
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def on_cpus(names: Sequence[str], batch_size: int, rounds: int) -> None:
    """The table of float32 on the cores that this process may use."""
    cores = len(os.sched_getaffinity(0))
    if HAVE_TIMM:
        import torch

        torch.set_num_threads(cores)
    print(f"\nfloat32, batch {batch_size}, {cores} cores, medians of {rounds} rounds\n")
    print(
        "| model | timm, channels first, ms | timm, channels last, ms | zoo, ms | "
        "timm / zoo, time | timm / zoo, CPU time | compile, s | memory, MB |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    )
    for name in names:
        images = noise(name, batch_size)
        zoo, program = zoo_side(name, images, jnp.float32)
        sides = {"zoo": zoo}
        if has_timm(name):
            for layout in ("first", "last"):
                sides[layout] = timm_side(name, images, layout, "cpu")
        wall, busy = measure(sides, rounds)
        columns = (
            f"{1e3 * statistics.median(wall[side]):.0f}" if side in wall else "-"
            for side in ("first", "last", "zoo")
        )
        print(
            f"| {name} | {' | '.join(columns)} | {ratio(wall):.2f} | "
            f"{ratio(busy):.2f} | {program.compile_seconds:.1f} | "
            f"{program.memory_bytes / 1e6:.0f} |",
            flush=True,
        )


def on_gpus(names: Sequence[str], batch_size: int, rounds: int) -> None:
    """The table of bfloat16 on one accelerator."""
    kind = jax.devices()[0].device_kind
    peak = next((p for word, p in PEAKS.items() if word in kind), float("nan"))
    print(f"\nbfloat16, batch {batch_size}, peak {peak / 1e12:.0f} TFLOP/s\n")
    print(
        "| model | timm, images/s | zoo, images/s | timm / zoo, time | of the peak | "
        "compile, s | memory, GB | timm's memory, GB |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    )
    for name in names:
        images = noise(name, batch_size)
        zoo, program = zoo_side(name, images, jnp.bfloat16)
        sides = {"zoo": zoo}
        if has_timm(name):
            sides["timm"] = timm_side(name, images, "last", "cuda")
        wall, _ = measure(sides, rounds)
        speeds = {s: batch_size / statistics.median(t) for s, t in wall.items()}
        memory = timm_memory() if "timm" in sides else float("nan")
        used = 2 * count_macs(create_model(name)) * speeds["zoo"] / peak
        print(
            f"| {name} | {speeds.get('timm', float('nan')):.0f} | "
            f"{speeds['zoo']:.0f} | {ratio(wall):.2f} | {used:.1%} | "
            f"{program.compile_seconds:.1f} | {program.memory_bytes / 1e9:.2f} | "
            f"{memory / 1e9:.2f} |",
            flush=True,
        )
        jax.clear_caches()


def table(names: Sequence[str], batch_size: int | None, rounds: int) -> None:
    """The table of the present backend."""
    cpus = jax.default_backend() == "cpu"
    (on_cpus if cpus else on_gpus)(names, batch_size or (16 if cpus else 256), rounds)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--models", nargs="+", default=MODELS, help="names or shell patterns"
    )
    parser.add_argument(
        "--batch-size", type=int, help="default: 16 on CPUs, 256 on accelerators"
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument(
        "--cores", type=int, default=2, help="CPU cores that both sides may use"
    )
    arguments = parser.parse_args()
    # Before either library starts its threads.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.cores])
    names = [
        name
        for pattern in arguments.models
        for name in fnmatch.filter(list_models(), pattern)
    ]
    if not names:
        parser.error(f"no model is called {' or '.join(arguments.models)}")
    origin = provenance()
    peers = ("timm", "torch") if HAVE_TIMM else ()
    versions = "".join(f", {p} {importlib.metadata.version(p)}" for p in peers)
    print(
        f"# {origin['num_devices']} x {origin['device']}\n\n"
        f"jax {origin['jax_version']}{versions}, Python {origin['python_version']}, "
        f"{origin['created_at'][:10]}"
    )
    table(names, arguments.batch_size, arguments.rounds)


if __name__ == "__main__":
    main()
