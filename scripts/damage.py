"""Flips single bits in every kind of stored file and looks at what comes out.

    uv run python scripts/damage.py

Writes a small results folder, a cache of decoded images, features, checkpoints and
compiled programs, then damages one file at a time, by a fixed key, and reads the whole
through the package. Each flip is refused (an error or a problem that names the file),
repaired (the numbers are equal and the file was made anew), harmless (the numbers are
equal) or changed (another number came out, which must not happen). Needs no network and
takes a few minutes on two cores. The table is that of docs/results.md.
"""

import contextlib
import dataclasses
import logging
import os
import shutil
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

SEED = 20
ROOT = Path(__file__).parents[1]
OLD = ROOT / "tests" / "results" / "written" / "format-1"
OUTCOMES = ("refused", "repaired", "harmless", "changed")
QUERIES = (
    "SELECT * FROM examples ORDER BY run_id, id",
    "SELECT * FROM curves ORDER BY run_id, epoch",
)


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of stored file.

    Attributes:
        name: In the table.
        files: The files of it.
        read: Everything that is computed from them, as text; an error if refused.
        span: Bytes of a file that are damaged, from and to; all of them if None.
        flips: How many bits are flipped, one at a time.
    """

    name: str
    files: list[Path]
    read: Callable[[], str]
    span: Callable[[Path], tuple[int, int]] | None = None
    flips: int = 40


class Refused(Exception):
    """The damage was reported."""


def flip(path: Path, bit: int) -> None:
    """Changes one bit of a file."""
    with path.open("rb+") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))


def outcomes(kind: Kind) -> Counter[str]:
    """Damages the files of a kind, one bit at a time."""
    whole, found = kind.read(), Counter()
    draw = np.random.default_rng(SEED)
    for _ in range(kind.flips):
        path = kind.files[draw.integers(len(kind.files))]
        first, last = kind.span(path) if kind.span else (0, path.stat().st_size)
        bit = int(draw.integers(first * 8, last * 8))
        with kept(path.parent):
            flip(path, bit)
            damaged = path.read_bytes()
            try:
                same = kind.read() == whole
            except Refused:
                found["refused"] += 1
                continue
            mended = not path.exists() or path.read_bytes() != damaged
            found[("repaired" if mended else "harmless") if same else "changed"] += 1
    return found


@contextlib.contextmanager
def kept(folder: Path) -> Iterator[None]:
    """Puts a folder back as it was."""
    with tempfile.TemporaryDirectory() as copy:
        shutil.copytree(folder, copy, dirs_exist_ok=True)
        yield
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(copy, folder)


# -- parts and weights ---------------------------------------------------------------


def read_store(folder: Path) -> str:
    """Every route to a store's numbers."""
    from jaxbench.errors import UserError
    from jaxbench.results import ResultStore

    store = ResultStore(folder)
    try:
        if store.problems:
            raise Refused(store.problems[0].reason)
        rows = store.summary().to_pylist()
        runs = [store.read(row["run_id"]) for row in rows]
        lists = [
            {name: values.tolist() for name, values in (r.examples | r.curves).items()}
            for r in runs
        ]
        queried = [store.sql(query).to_pylist() for query in QUERIES]
    except UserError as error:
        raise Refused(str(error)) from error
    return repr((rows, runs and lists, queried))


def part_kinds(results: Path) -> Iterator[Kind]:
    """Parts of this version by the two halves of the file, and of an earlier one."""
    from jaxbench.results.sealing import read_footer

    def footer(path: Path) -> tuple[int, int]:
        size = path.stat().st_size
        return size - len(read_footer(path)), size

    def pages(path: Path) -> tuple[int, int]:
        return 0, footer(path)[0]

    read = lambda: read_store(results)  # noqa: E731
    parts = sorted((results / "runs").glob("*.parquet"))
    yield Kind("part, data pages", parts, read, pages)
    yield Kind("part, footer", parts, read, footer)
    old = results.parent / "old"
    shutil.copytree(OLD, old)
    parts = sorted((old / "runs").glob("*.parquet"))
    old_read = lambda: read_store(old)  # noqa: E731
    yield Kind("part of format 1, data pages", parts, old_read, pages)
    yield Kind("part of format 1, footer", parts, old_read, footer)


def weights_kind(results: Path) -> Kind:
    """The weights of trials, used for one more dataset as a sweep does."""
    from jaxbench.engine.trial_weights import trained_weights
    from jaxbench.errors import UserError
    from jaxbench.results import ResultStore

    def read() -> str:
        store = ResultStore(results)
        try:
            return repr(
                [
                    {n: v.tobytes() for n, v in trained_weights(store, t).items()}
                    for t in (path.stem for path in files)
                ]
            )
        except UserError as error:
            raise Refused(str(error)) from error

    files = sorted((results / "weights").glob("*.safetensors"))
    return Kind("weights", files, read)


# -- caches --------------------------------------------------------------------------


def decoded_kind(folder: Path) -> Kind:
    """An entry of the cache of decoded images."""
    from PIL import Image

    from jaxbench.data import load_images, open_dataset
    from jaxbench.data.decoded import decoded_source
    from model_zoo import InputSpec

    draw, spec = np.random.default_rng(SEED), InputSpec(size=(160, 160))
    for number in range(60):
        path = folder / "images" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = draw.integers(0, 256, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    source = open_dataset(f"folder:{folder / 'images'}")

    def read() -> str:
        cached = decoded_source(source, spec)
        load_images(cached, spec)
        return load_images(cached, spec).images.tobytes().hex()

    read()
    files = [p for p in (folder / "cache" / "decoded").rglob("*.uint*")]
    return Kind("decoded images", files, read)


def features_kind(folder: Path) -> Kind:
    """Kept features of a probe."""
    from jaxbench.probing import FeatureCache, Features

    draw = np.random.default_rng(SEED)
    values = draw.normal(size=(50, 20)).astype(np.float32)
    ids = np.array([f"{i}" for i in range(50)])
    made = Features(values, np.arange(50, dtype=np.int32) % 3, ids, 0)

    def read() -> str:
        found = FeatureCache(folder / "features").get("key", lambda: made)
        return repr((found.values.tolist(), found.labels.tolist(), found.ids.tolist()))

    read()
    return Kind("features", sorted((folder / "features").iterdir()), read)


# -- training ------------------------------------------------------------------------


def checkpoints_kind(folder: Path) -> Kind:
    """All files of a folder of checkpoints, read as a resumed population does."""
    from jaxbench.training.checkpoints import PopulationCheckpoints, Progress

    draw = np.random.default_rng(SEED)
    state = {"w": draw.normal(size=(40, 30)).astype(np.float32), "step": np.int32(7)}
    place, settings = folder / "checkpoints", {"optimizer": "sgd", "seed": 3}
    curves = {"loss": draw.normal(size=(2, 5))}

    def progress(point: int) -> Progress:
        return Progress(point, state, curves, {"train": 1.5}, [0, 2])

    with PopulationCheckpoints(place, settings, seconds=0.0) as checkpoints:
        checkpoints.save_if_due(lambda: progress(1))

    def read() -> str:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with PopulationCheckpoints(place, settings) as checkpoints:
                found = checkpoints.latest(state)
        if found is None and any("passed over" in str(w.message) for w in caught):
            raise Refused("training starts anew")
        if found is None:
            return "nothing"
        leaves = [np.asarray(found.state[name]).tolist() for name in state]
        named = {name: curve.tolist() for name, curve in found.curves.items()}
        return repr((found.point, leaves, named, found.seconds, list(found.stopped)))

    files = [path for path in place.rglob("*") if path.is_file()]
    return Kind("checkpoint", files, read)


PROGRAM = """
import sys
import jax, jax.numpy as jnp
from jaxbench.engine import enable_persistent_cache
enable_persistent_cache(sys.argv[1])
values = jnp.arange(1.0, 9.0)
print(float(jax.jit(lambda x: jnp.sum(jnp.sin(x) / x))(values)).hex())
"""


def programs_kind(folder: Path) -> Kind:
    """The compilation cache, used by a new process."""
    import subprocess

    place = folder / "xla"

    def read() -> str:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(place)],
            capture_output=True,
            text=True,
            cwd=ROOT,
        )
        if done.returncode:
            return f"ended with {done.returncode}"
        return done.stdout

    read()
    for path in place.glob("*-cache"):
        # Not as if another process were still writing it.
        os.utime(path, (1e9, 1e9))
    read()
    # Each takes a new process.
    return Kind("compilation cache", sorted(place.iterdir()), read, flips=20)


def small_results(folder: Path) -> Path:
    """Trials, a contrastive run, a probe and their evaluations."""
    from jaxbench.config import load_config
    from jaxbench.sweeps import sweep

    config = load_config(OLD.parent / "experiment.toml")
    results = folder / "results"
    runs = list(sweep(config.model_copy(update={"results": str(results)})))
    failed = [run.error for run in runs if run.error]
    if failed:
        raise SystemExit(f"the results to damage could not be made: {failed[0]}")
    return results


def main() -> None:
    """Prints the table."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    # Each repair is said once; a thousand such lines would bury the table.
    warnings.simplefilter("ignore")
    logging.disable()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["JAXBENCH_CACHE"] = str(folder / "cache")
        results = small_results(folder)
        kinds = [
            *part_kinds(results),
            weights_kind(results),
            decoded_kind(folder),
            features_kind(folder),
            checkpoints_kind(folder),
            programs_kind(folder),
        ]
        print(f"| stored file | flips | {' | '.join(OUTCOMES)} |")
        print("| --- |" + " ---: |" * 5)
        total: Counter[str] = Counter()
        for kind in kinds:
            found = outcomes(kind)
            total += found
            shown = " | ".join(str(found[name]) for name in OUTCOMES)
            print(f"| {kind.name} | {kind.flips} | {shown} |", flush=True)
        shown = " | ".join(str(total[name]) for name in OUTCOMES)
        print(f"| all | {total.total()} | {shown} |")
    if total["changed"]:
        raise SystemExit("a damaged file changed a number")


if __name__ == "__main__":
    main()
