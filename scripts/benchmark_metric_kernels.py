r"""What the metrics cost, beside torchmetrics, torch-uncertainty and fd-shifts.

    groups      accuracy, proper scores, calibration and selective prediction from the
                logits of 50,000 examples x 1,000 classes: one jitted call of ours,
                against torchmetrics and torch-uncertainty, by batches and at once; with
                the classwise error, and without
    bootstrap   1,000 resamples of ten metrics on 50,000 examples, against a few of
                fd-shifts' resamples, scaled linearly: of the probabilities, as
                fd-shifts does it, and of columns computed once, in its favour
    streaming   one update of a ClassificationState with a batch of logits, against a
                jitted log_softmax of the same batch

Both sides run in processes of their own, kept to --threads cores, and take turns round
by round, so that a slow moment of the machine falls on both. Compiling is not timed;
memory is the peak of a fresh process after its first round, compiling included.

The peers need an environment of their own: scripts/peers/environment.py --help.

    uv run scripts/benchmark_metric_kernels.py --peers-python peers/bin/python \
        --fd-shifts fd-shifts
    uv run scripts/benchmark_metric_kernels.py --parts streaming
"""

import argparse
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

import jax
import jax.numpy as jnp
import numpy as np

from jaxbench import metrics as m

HERE = Path(__file__).parent
PARTS = ("groups", "bootstrap", "streaming")
CLASSWISE = "classwise_ece"
BOTH_BOOTSTRAP = (
    *("accuracy", "nll", "brier", "ece", "mce", "auroc", "aurc"),
    *("excess_aurc", "augrc", "excess_augrc"),
)


def draw_inputs(rows: int, classes: int, folder: Path) -> list[str]:
    """Writes logits of a classifier of about 63 % accuracy (1,000 classes).

    Returns:
        The arguments by which a worker finds them.
    """
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, rows).astype(np.int32)
    logits = rng.standard_normal((rows, classes), dtype=np.float32) * 1.5
    logits[np.arange(rows), labels] += rng.normal(6.0, 3.0, rows).astype(np.float32)
    paths = {"logits": folder / "logits.npy", "labels": folder / "labels.npy"}
    np.save(paths["logits"], logits)
    np.save(paths["labels"], labels)
    return [text for name, path in paths.items() for text in (f"--{name}", str(path))]


@jax.jit
def columns(logits, labels):
    """The per-example columns, which a bootstrap starts from."""
    return m.score_examples(logits, labels)


def group_task(logits, labels, classwise: bool) -> Callable[[], dict]:
    """One jitted call from logits to every metric of groups 1 to 4."""
    num_classes = logits.shape[1]

    @jax.jit
    def measure(logits, labels):
        scores = m.score_examples(logits, labels)
        doubt, correct = scores.log_one_minus_confidence, scores.correct
        found = m.summarize(scores) | {
            "average_precision": m.average_precision(-doubt, correct),
            "fpr_at_95_tpr": m.fpr_at_tpr(-doubt, correct),
            "per_class_accuracy": m.per_class_accuracy(
                labels, correct, num_classes=num_classes
            ),
            "balanced_accuracy": m.balanced_accuracy(
                labels, correct, num_classes=num_classes
            ),
            "confusion_matrix": m.confusion_matrix(
                labels, scores.prediction, num_classes=num_classes
            ),
        }
        if classwise:
            found[CLASSWISE] = m.classwise_calibration_error(logits, labels)
        return found

    return lambda: jax.block_until_ready(measure(logits, labels))


def bootstrap_task(logits, labels, num_resamples: int) -> Callable[[], dict]:
    """Intervals of the ten metrics from columns on the device."""
    scores = jax.block_until_ready(columns(logits, labels))
    key = jax.random.key(0)

    def run():
        intervals = m.bootstrap_intervals(
            scores, BOTH_BOOTSTRAP, key=key, num_resamples=num_resamples
        )
        jax.block_until_ready(intervals)
        return {}  # a few resamples of other keys cannot be compared

    return run


def serve(arguments: argparse.Namespace) -> None:
    """A worker of our side: one round for every line of input."""
    # Mapped rather than read, so that the array is in memory once.
    logits = jax.device_put(np.load(arguments.logits, mmap_mode="r"))
    labels = jax.device_put(np.load(arguments.labels))
    if arguments.serve == "bootstrap":
        run = bootstrap_task(logits, labels, arguments.num_resamples)
    else:
        run = group_task(logits, labels, CLASSWISE not in arguments.leave_out)
    answer({"ready": True})
    for _ in sys.stdin:
        started = time.perf_counter()
        values = run()
        seconds = time.perf_counter() - started
        scalars = {k: float(v) for k, v in values.items() if np.ndim(v) == 0}
        answer({"seconds": seconds, "peak": peak_memory(), "values": scalars})


def answer(message: dict) -> None:
    """One line of JSON to the process that asked."""
    print(json.dumps(message), flush=True)


def peak_memory() -> int:
    """Largest resident size of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Worker:
    """A process that does a round whenever it is asked to."""

    def __init__(self, command: list[str]):
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.requests = cast(IO[str], self.process.stdin)
        self.answers = cast(IO[str], self.process.stdout)
        self.seconds: list[float] = []
        self.peak = 0
        self.values: dict[str, float] = {}
        self._read()  # ready

    def round(self, *, timed: bool) -> None:
        """Runs the task once; the first round shows the memory that it takes."""
        self.requests.write("\n")
        self.requests.flush()
        found = self._read()
        self.peak = self.peak or found["peak"]
        self.values = found["values"]
        if timed:
            self.seconds.append(found["seconds"])

    def _read(self) -> dict:
        line = self.answers.readline()
        if not line:
            raise SystemExit(f"{self.process.args} ended early; see its message above")
        return json.loads(line)

    def close(self) -> None:
        """Ends the process."""
        self.process.communicate()

    @property
    def median(self) -> float:
        """Median seconds of a timed round."""
        return statistics.median(self.seconds)


def compare(ours: list[str], peers: dict[str, list[str]], rounds: int, scale: float):
    """Takes turns, and prints a table of medians, ratios and memory.

    Args:
        ours: Command of our worker.
        peers: Commands of the peers' workers by name.
        rounds: Timed rounds, after one that warms up.
        scale: Factor on the peers' seconds, where they do a part of the work.
    """
    workers = {"jaxbench": Worker(ours)}
    workers |= {name: Worker(command) for name, command in peers.items()}
    for number in range(rounds + 1):
        for worker in workers.values():
            worker.round(timed=number > 0)
    mine = workers["jaxbench"]
    print(f"{'':34}{'median s':>10}{'least s':>10}{'ratio':>9}{'peak MB':>10}")
    for name, worker in workers.items():
        worker.close()
        factor = 1.0 if worker is mine else scale
        median, least = worker.median * factor, min(worker.seconds) * factor
        print(
            f"{name:34}{median:>10.3f}{least:>10.3f}{median / mine.median:>9.1f}"
            f"{worker.peak / 1e6:>10.0f}",
            flush=True,
        )
    print_differences(workers)


def print_differences(workers: dict[str, Worker]) -> None:
    """The largest difference of a number that both sides have under one name."""
    mine = workers["jaxbench"].values
    for name, worker in workers.items():
        shared = sorted(mine.keys() & worker.values.keys())
        if worker.values is mine or not shared:
            continue
        gaps = {key: abs(mine[key] - worker.values[key]) for key in shared}
        worst = max(gaps, key=lambda key: gaps[key])
        print(f"{len(shared)} numbers of {name}: within {gaps[worst]:.1e} ({worst})")


def peer_command(arguments: argparse.Namespace, task: str, *more: str) -> list[str]:
    """A worker of the peers' side."""
    script = str(HERE / "peers" / "measure_kernels.py")
    python = [arguments.peers_python, "-W", "ignore", script, "--serve"]
    return [*python, "--task", task, "--threads", str(arguments.threads), *more]


def groups(arguments: argparse.Namespace, inputs: list[str]) -> None:
    """Part one, with the classwise error and without."""
    ours = [sys.executable, __file__, "--serve", "groups", *inputs]
    for title, left in (("all", []), ("without the classwise error", [CLASSWISE])):
        print(f"\n## Groups 1 to 4, {title}\n")
        omit = ["--leave-out", *left] if left else []
        peers = {
            f"torch, {way}": peer_command(arguments, f"groups-{way}", *inputs, *omit)
            for way in ("whole", "batches")
        }
        compare([*ours, *omit], peers, arguments.rounds, 1.0)


def bootstrap(arguments: argparse.Namespace, inputs: list[str]) -> None:
    """Part two; a few resamples of fd-shifts are scaled to all."""
    count, few = arguments.num_resamples, arguments.peer_resamples
    print(f"\n## Bootstrap, {count} resamples of {', '.join(BOTH_BOOTSTRAP)}\n")
    print(f"fd-shifts: {few} resamples a round, times {count / few:g}\n")
    ours = [sys.executable, __file__, "--serve", "bootstrap", *inputs]
    more = [*inputs, "--fd-shifts", str(arguments.fd_shifts), "--resamples", str(few)]
    peers = {
        f"fd-shifts, {what} resampled": peer_command(
            arguments, f"bootstrap-{what}", *more
        )
        for what in ("matrix", "columns")
    }
    ours += ["--num-resamples", str(count)]
    compare(ours, peers, arguments.rounds, count / few)


def streaming(arguments: argparse.Namespace) -> None:
    """Part three: an update against a softmax, in turn in one process."""
    print("\n## Streaming: an update from logits against jax.nn.log_softmax\n")
    print(f"{'':34}{'update ms':>10}{'softmax ms':>11}{'ratio':>9}{'bytes':>10}")
    softmax = jax.jit(jax.nn.log_softmax)
    classes = arguments.classes
    sizes = {"no classes": 0, "balanced accuracy": classes}
    rng = np.random.default_rng(0)
    for batch in arguments.batches:
        draw = rng.normal(size=(batch, classes)) * 3
        logits = jnp.asarray(draw, jnp.float32)
        labels = jnp.asarray(rng.integers(0, classes, batch), jnp.int32)
        for name, num_classes in sizes.items():
            state = m.ClassificationState.empty(num_classes=num_classes)
            # The state's buffers are given to the step, as a training loop does.
            step = jax.jit(m.ClassificationState.update_from_logits, donate_argnums=0)
            times: tuple[list[float], list[float]] = ([], [])
            for number in range(arguments.stream_rounds + 5):
                started = time.perf_counter()
                state = jax.block_until_ready(step(state, logits, labels))
                middle = time.perf_counter()
                jax.block_until_ready(softmax(logits))
                ended = time.perf_counter()
                if number >= 5:
                    times[0].append(middle - started)
                    times[1].append(ended - middle)
            ours, bare = (1e3 * statistics.median(column) for column in times)
            size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
            print(
                f"{f'{batch} x {classes}, {name}':34}{ours:>10.3f}{bare:>11.3f}"
                f"{ours / bare:>9.2f}{size:>10}",
                flush=True,
            )


def describe(arguments: argparse.Namespace) -> None:
    """Hardware and versions."""
    model = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":")[1].strip()
            break
    print(f"{model}, {arguments.threads} of {os.cpu_count()} cores, {jax.devices()[0]}")
    packages = ("jax", "jaxlib", "numpy")
    ours = {name: importlib.metadata.version(name) for name in packages}
    print(f"ours:  Python {platform.python_version()}, {ours}")
    if arguments.peers_python:
        script = str(HERE / "peers" / "environment.py")
        command = [arguments.peers_python, script]
        peers = subprocess.run(command, check=True, capture_output=True, text=True)
        found = [" ".join(line.split()) for line in peers.stdout.splitlines()]
        print("peers: " + ", ".join(found))


def parse() -> argparse.Namespace:
    """The command line; a worker's arguments are not shown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add, hidden = parser.add_argument, argparse.SUPPRESS
    add("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    add("--peers-python", help="interpreter of the peers' environment")
    add("--fd-shifts", type=Path, help="clone of IML-DKFZ/fd-shifts")
    add("--rows", type=int, default=50_000)
    add("--classes", type=int, default=1_000)
    add("--rounds", type=int, default=3, help="timed rounds of groups and bootstrap")
    add("--num-resamples", type=int, default=1_000)
    add("--peer-resamples", type=int, default=3, help="of fd-shifts, in a round")
    add("--batches", nargs="+", type=int, default=[256, 1024], help="of streaming")
    add("--stream-rounds", type=int, default=200)
    add("--threads", type=int, default=2, help="cores for both sides")
    add("--serve", choices=["groups", "bootstrap"], help=hidden)
    add("--logits", help=hidden)
    add("--labels", help=hidden)
    add("--leave-out", nargs="*", default=[], help=hidden)
    arguments = parser.parse_args()
    wanted = {"groups", "bootstrap"} & set(arguments.parts)
    if wanted and not arguments.serve and not arguments.peers_python:
        parser.error(f"--parts {' '.join(sorted(wanted))} needs --peers-python")
    if "bootstrap" in wanted and not arguments.serve and not arguments.fd_shifts:
        parser.error("--parts bootstrap needs --fd-shifts")
    return arguments


def main() -> None:
    """Runs the parts asked for."""
    arguments = parse()
    if arguments.serve:
        serve(arguments)
        return
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.threads])
    describe(arguments)
    with tempfile.TemporaryDirectory() as folder:
        inputs: list[str] = []
        if {"groups", "bootstrap"} & set(arguments.parts):
            inputs = draw_inputs(arguments.rows, arguments.classes, Path(folder))
        if "groups" in arguments.parts:
            groups(arguments, inputs)
        if "bootstrap" in arguments.parts:
            bootstrap(arguments, inputs)
    if "streaming" in arguments.parts:
        streaming(arguments)


if __name__ == "__main__":
    main()
