"""Resuming: bit for bit, from whatever a killed run left behind."""

import dataclasses
import gc
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from jaxbench.errors import UserError
from jaxbench.training import Halving, HyperParameters, Recipe
from tests.training import conftest
from tests.training.conftest import MEMBERS
from tests.training.doubles import DenseNet, make_images

# Augmented, with dropout and clipping: all that a resumed run has to draw again.
RECIPE = dataclasses.replace(conftest.RECIPE, epochs=4)
# Programs that other tests of this folder need, too.
PLAIN = Recipe(epochs=4, batch_size=16, warmup_epochs=0.5)
# The second diverges in the first epoch: a resumed run must know.
WITH_WILD = (MEMBERS[0], HyperParameters(1e30, 0.0, seed=5))
FIVE = (*WITH_WILD, *(HyperParameters(0.01 * i, seed=i) for i in (1, 2, 3)))


class Stop(Exception):
    """Ends a run from its callback."""


def accuracy(variables):
    return {"accuracy": float(np.abs(variables["head.kernel"]).mean())}


@pytest.fixture
def run(train, tmp_path):
    """Trains with a checkpoint after every epoch, until `stop` if given."""

    def call(stop=None, folder=tmp_path / "population", **options):
        def on_point(epoch, _):
            if epoch == stop:
                raise Stop

        options = {
            "optimizer": "adamw",
            "recipe": RECIPE,
            "members": WITH_WILD,
            "validate": accuracy,
        } | options
        return train(
            checkpoint_dir=folder,
            checkpoint_seconds=0.0,
            on_point=on_point,
            **options,
        )

    return call


def steps_in(folder):
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit())


# Each with something that a resumed run must have kept: a moving average, a curvature
# of some steps ago, who was stopped, where a packed population's members are.
KEPT = {
    "loop": {"strategy": "loop"},
    "average": {"recipe": dataclasses.replace(RECIPE, ema_decay=0.9)},
    "curvature": {"optimizer": "sophia", "recipe": PLAIN, "validate_every": 3},
    "halving": {"halving": Halving(), "recipe": PLAIN, "members": FIVE},
    "vmap": {"strategy": "vmap", "recipe": PLAIN},
    "packed": {
        "strategy": "vmap",
        "halving": Halving(),
        "recipe": PLAIN,
        "members": FIVE,
        "classifier": DenseNet("dense"),
    },
}


@pytest.mark.parametrize("options", KEPT.values(), ids=KEPT)
def test_an_interrupted_run_resumes_bit_for_bit(run, assert_same, tmp_path, options):
    whole = run(folder=tmp_path / "whole", **options)
    assert whole.diverged_step[1] is not None
    with pytest.raises(Stop):
        run(stop=1, **options)
    assert steps_in(tmp_path / "population") == [1, 2]
    resumed = run(**options)
    assert_same(whole, resumed)
    assert resumed.timing["train_seconds"] > 0
    assert resumed.timing["steps"] == whole.timing["steps"]


def test_a_finished_run_is_read_and_not_run_again(run, assert_same, monkeypatch):
    whole = run()
    monkeypatch.setattr(
        "jaxbench.training.loop.LoopRunner.run",
        lambda *_: pytest.fail("trained again"),
    )
    assert_same(whole, run())


def test_a_damaged_checkpoint_is_passed_over(run, assert_same, tmp_path):
    whole = run(folder=tmp_path / "whole")
    with pytest.raises(Stop):
        run(stop=2)
    folder = tmp_path / "population"
    assert steps_in(folder) == [2, 3]
    data = [p for p in (folder / "3").rglob("*") if p.is_file()]
    for path in data:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.warns(RuntimeWarning, match=r"population/3 cannot be read"):
        assert_same(whole, run())


@pytest.mark.parametrize("content", ["", "{", "[1]", "flip"])
def test_case_31_unreadable_settings_are_moved_aside(
    run, assert_same, tmp_path, monkeypatch, content
):
    """What a power failure leaves, or one flipped bit, does not stop resuming."""
    whole = run(folder=tmp_path / "whole")
    with pytest.raises(Stop):
        run(stop=2)
    path = tmp_path / "population" / "population.json"
    text = path.read_text()
    path.write_text(text.replace("adamw", "adamv") if content == "flip" else content)
    with pytest.warns(RuntimeWarning, match=r"json is damaged.*json\.corrupt"):
        resumed = run()
    assert_same(whole, resumed)
    assert steps_in(path.parent) == [3, 4]
    assert path.read_text() == text
    # From the checkpoint, not from the start.
    monkeypatch.setattr(
        "jaxbench.training.loop.LoopRunner.run",
        lambda *_: pytest.fail("trained again"),
    )
    assert_same(whole, run())


def test_case_31_another_populations_checkpoints_are_passed_over(
    run, assert_same, tmp_path
):
    """Without its settings a folder does not lend its state to other settings."""
    other = {"recipe": dataclasses.replace(PLAIN, epochs=5)}
    whole = run(folder=tmp_path / "whole", recipe=PLAIN)
    with pytest.raises(Stop):
        run(stop=2, **other)
    (tmp_path / "population" / "population.json").unlink()
    with pytest.warns(RuntimeWarning, match="it is of another population"):
        assert_same(whole, run(recipe=PLAIN))


# Orbax leaves what a failed read had begun to the garbage collector, whose complaint
# (a closed event loop) would end this test or whichever comes next.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_case_31_one_bit_of_a_checkpoint(run, assert_same, tmp_path):
    """Every file of a checkpoint: passed over, or of no meaning to the numbers."""
    whole = run(folder=tmp_path / "whole", recipe=PLAIN)
    with pytest.raises(Stop):
        run(stop=2, recipe=PLAIN)
    kept = tmp_path / "kept"
    shutil.copytree(tmp_path / "population", kept)
    files = [p.relative_to(kept) for p in (kept / "3").rglob("*") if p.is_file()]
    draw, passed_over = np.random.default_rng(31), 0
    for name in files:
        folder = tmp_path / f"flipped-{passed_over}-{name.name}"
        shutil.copytree(kept, folder)
        content = bytearray((folder / name).read_bytes())
        bit = int(draw.integers(len(content) * 8))
        content[bit // 8] ^= 1 << bit % 8
        (folder / name).write_bytes(bytes(content))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert_same(whole, run(folder=folder, recipe=PLAIN))
        passed_over += any("passed over" in str(w.message) for w in caught)
        shutil.rmtree(folder)
    gc.collect()
    assert passed_over > 0


def test_a_half_written_checkpoint_is_ignored(run, assert_same, tmp_path):
    whole = run(folder=tmp_path / "whole")
    with pytest.raises(Stop):
        run(stop=0)
    folder = tmp_path / "population"
    (folder / "2.orbax-checkpoint-tmp-17").mkdir()
    (folder / "2.orbax-checkpoint-tmp-17" / "state").write_bytes(b"half")
    assert_same(whole, run())


@pytest.mark.parametrize(
    "other",
    [
        {"optimizer": "lion"},
        {"members": MEMBERS[:2]},
        {"recipe": dataclasses.replace(PLAIN, epochs=5)},
        {"data": make_images(71)},
        {"classifier": DenseNet("net")},
        {"strategy": "vmap"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_another_population_is_refused(run, other):
    options = {"classifier": DenseNet("dense"), "members": MEMBERS, "recipe": PLAIN}
    with pytest.raises(Stop):
        run(stop=0, **options)
    (changed,) = other
    name = "training_set" if changed == "data" else changed
    with pytest.raises(UserError, match=rf"another population: .*{name} is .* there"):
        run(**(options | other))


def test_a_folder_that_cannot_be_made_is_a_users_error(run, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be used"):
        run(folder=tmp_path / "file" / "below")


def test_short_runs_neither_save_nor_import_orbax(train, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "jaxbench.training.checkpoints.PopulationCheckpoints._checkpointer",
        lambda _: pytest.fail("Orbax was asked for"),
    )
    train(checkpoint_dir=tmp_path / "short")
    assert steps_in(tmp_path / "short") == []


SCRIPT = """
from tests.training.doubles import DenseNet, make_images
from jaxbench.training import HyperParameters, Recipe, TrainingImages, train_population
train_population(
    DenseNet("dense", drop_rate=0.2), "adamw",
    (HyperParameters(0.01, 0.01, seed=1), HyperParameters(0.02, seed=2)),
    TrainingImages(*make_images()),
    Recipe(epochs={epochs}, batch_size=16, warmup_epochs=0.5),
    checkpoint_dir={folder!r}, checkpoint_seconds=0.0,
    on_point=lambda epoch, _: print(epoch, flush=True),
)
"""


def test_a_killed_process_leaves_something_to_resume(train, assert_same, tmp_path):
    epochs, folder = 100, tmp_path / "killed"
    options = {
        "classifier": DenseNet("dense", drop_rate=0.2),
        "optimizer": "adamw",
        "members": (
            HyperParameters(0.01, 0.01, seed=1),
            HyperParameters(0.02, seed=2),
        ),
        "recipe": Recipe(epochs=epochs, batch_size=16, warmup_epochs=0.5),
    }
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(epochs=epochs, folder=str(folder))],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"JAX_NUM_CPU_DEVICES": "8", "JAX_PLATFORMS": "cpu"},
    )
    assert process.stdout is not None
    with process:
        for _ in range(3):
            process.stdout.readline()
        # Anywhere within an epoch or a save, both of which take milliseconds.
        time.sleep(np.random.default_rng().uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    left = steps_in(folder)
    assert left
    assert left[-1] < epochs
    whole = train(**options)
    resumed = train(**options, checkpoint_dir=folder, checkpoint_seconds=60.0)
    assert_same(whole, resumed)
