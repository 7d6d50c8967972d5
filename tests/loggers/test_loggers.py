"""What trackers have on disk after a sweep, a resumed one, and a failure."""

import dataclasses
import logging
import shutil
import socket
import sys
import time

import numpy as np
import pytest

from jaxbench.errors import UserError
from jaxbench.loggers import Logger, make_loggers
from jaxbench.loggers.logger import _MAX_OPEN
from jaxbench.loggers.tracker import plain
from jaxbench.results import Run, RunError, run_digest
from tests.loggers.tracked import KINDS, place, read

TRIAL = {
    "model": "vit_micro",
    "optimizer": "adamw",
    "trial_id": "a" * 32,
    "learning_rate": 0.001,
    "weight_decay": 0.05,
    "seed": 0,
}
NAME = "vit_micro_adamw_lr0.001_wd0.05_seed0"
CURVES = {
    "step": np.array([3.0, 6.0, 9.0]),
    "train_loss": np.array([2.0, 1.5, 1.25]),
    "val_accuracy": np.array([0.25, 0.5, 0.75]),
    "seconds": np.array([1.0, 2.0, 3.0]),
}


def trial(run_id: str = "a" * 32, **changes) -> Run:
    given = {
        "settings": TRIAL | {"trial_id": run_id, "experiment": "small", "epochs": 3},
        "metrics": {"val_accuracy": 0.75},
        "timing": {"train_seconds": 3.0},
        "curves": CURVES,
        **changes,
    }
    return Run(run_id=run_id, kind="trial", status="ok", **given)


def evaluation(dataset: str, run_id: str, **changes) -> Run:
    owner = TRIAL | {"experiment": "small", "num_classes": 10}
    given = {
        "settings": owner | {"dataset": dataset, "role": "clean", "num_examples": 96},
        "metrics": {"accuracy": 0.5, "accuracy_low": 0.375, "accuracy_high": 0.625},
        **changes,
    }
    return Run(run_id=run_id, kind="evaluation", status="ok", **given)


def failed(run: Run) -> Run:
    error = RunError("ValueError", "no gradient\ntoday | here")
    return dataclasses.replace(
        run, status="failed", error=error, metrics={}, timing={}, curves={}
    )


def until(point: int) -> dict[str, np.ndarray]:
    return {name: curve[:point] for name, curve in CURVES.items()}


def pairs(name: str) -> list[tuple[int, float]]:
    return list(zip(CURVES["step"].tolist(), CURVES[name].tolist(), strict=True))


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def log(kind, tmp_path):
    """Loggers as one command makes them, started."""
    return lambda: make_loggers([place(kind, tmp_path)], "small").__enter__()


def test_a_model_is_one_run_with_curves_metrics_and_settings(kind, log, tmp_path):
    with log() as loggers:
        (listener,) = loggers.listeners
        listener.finished(trial())
        listener.finished(evaluation("digits@test", "b" * 32))
        listener.finished(evaluation("folder:/data/a b@test", "c" * 32))
    found = read(kind, tmp_path)
    assert list(found) == [NAME]
    run = found[NAME]
    for name in ("train_loss", "val_accuracy", "seconds"):
        assert run.points[name] == pairs(name)
    for dataset in ("digits_test", "folder_data_a_b_test"):
        for name, value in {"": 0.5, "_low": 0.375, "_high": 0.625}.items():
            assert run.metrics[f"{dataset}/accuracy{name}"] == value
    assert run.metrics["final/val_accuracy"] == 0.75
    assert run.metrics["timing/train_seconds"] == 3.0
    wanted = {
        **{name: str(value) for name, value in TRIAL.items()},
        "experiment": "small",
        "epochs": "3",
        "num_classes": "10",
        "run_id": "a" * 32,
        "status": "ok",
        "digits_test/run_id": "b" * 32,
        "digits_test/num_examples": "96",
        "folder_data_a_b_test/dataset": "folder:/data/a b@test",
    }
    assert run.settings.items() >= wanted.items()
    assert run.status == {"tensorboard": "hparams"}.get(kind, "finished")


def test_a_resumed_run_goes_on_where_it_was(kind, log, tmp_path):
    """Killed after two points, trained again from the first one."""
    loggers = log()
    loggers.listeners[0].curves("a" * 32, TRIAL, until(1))
    loggers.listeners[0].curves("a" * 32, TRIAL, until(2))
    loggers.__exit__()
    assert read(kind, tmp_path)[NAME].points["train_loss"] == pairs("train_loss")[:2]
    if kind != "tensorboard":
        assert read(kind, tmp_path)[NAME].status == "killed"
    with log() as loggers:
        for point in (1, 2, 3):
            loggers.listeners[0].curves("a" * 32, TRIAL, until(point))
        loggers.listeners[0].finished(trial())
    # After its training was interrupted again.
    with log() as loggers:
        loggers.listeners[0].finished(evaluation("digits@test", "b" * 32))
    found = read(kind, tmp_path)
    assert list(found) == [NAME]
    assert found[NAME].points["train_loss"] == pairs("train_loss")
    assert found[NAME].metrics["digits_test/accuracy"] == 0.5
    assert found[NAME].status == {"tensorboard": "hparams"}.get(kind, "finished")


def test_a_finished_trial_that_trains_again_stays_finished(kind, log, tmp_path):
    with log() as loggers:
        loggers.listeners[0].finished(trial())
    with log() as loggers:
        for point in (1, 2):
            loggers.listeners[0].curves("a" * 32, TRIAL, until(point))
    run = read(kind, tmp_path)[NAME]
    assert run.points["train_loss"] == pairs("train_loss")
    assert kind == "tensorboard" or run.status == "finished"


def test_a_truncated_event_is_left_out(tmp_path):
    with make_loggers([place("tensorboard", tmp_path)], "small") as loggers:
        loggers.listeners[0].curves("a" * 32, TRIAL, until(2))
    (path,) = (tmp_path / "tb").glob("*/events*")
    path.write_bytes(path.read_bytes()[:-3])
    assert read("tensorboard", tmp_path)[NAME].points["seconds"] == [(3, 1.0)]
    with make_loggers([place("tensorboard", tmp_path)], "small") as loggers:
        loggers.listeners[0].finished(trial())
    assert read("tensorboard", tmp_path)[NAME].points["seconds"] == pairs("seconds")


def test_points_without_a_number_are_left_out(kind, log, tmp_path):
    curves = {name: curve.copy() for name, curve in CURVES.items()}
    for name in curves.keys() - {"step"}:
        curves[name][1:] = np.nan
    curves["seconds"][1] = 2.0
    with log() as loggers:
        loggers.listeners[0].finished(trial(curves=curves, metrics={}))
    run = read(kind, tmp_path)[NAME]
    assert run.points["train_loss"] == [(3, 2.0)]
    assert run.points["seconds"] == [(3, 1.0), (6, 2.0)]


def test_a_failure_is_logged_and_mended(kind, log, tmp_path):
    with log() as loggers:
        loggers.listeners[0].finished(failed(trial()))
    run = read(kind, tmp_path)[NAME]
    assert run.settings["status"].startswith("failed: ValueError: no gradient")
    assert kind == "tensorboard" or run.status == "failed"
    with log() as loggers:
        loggers.listeners[0].finished(trial())
        loggers.listeners[0].finished(failed(evaluation("digits@test", "b" * 32)))
        loggers.listeners[0].finished(evaluation("digits@test", "b" * 32))
    run = read(kind, tmp_path)[NAME]
    assert run.settings["status"] == run.settings["digits_test/status"] == "ok"
    assert run.points["train_loss"] == pairs("train_loss")
    assert kind == "tensorboard" or run.status == "finished"


def test_the_report_belongs_to_the_experiment(kind, log, tmp_path):
    report = tmp_path / "report.html"
    report.write_text("<p>Report</p>")
    with log() as loggers:
        loggers.file(report)
    assert read(kind, tmp_path)["small"].files == [
        "report" if kind == "tensorboard" else "report.html"
    ]


def test_models_as_they_come_are_distinguished(kind, log, tmp_path):
    def of(model: str, run_id: str, **settings) -> Run:
        base = {"model": model, "experiment": "small", "dataset": "d", "role": "clean"}
        return evaluation("d", run_id * 32, settings=base | settings)

    with log() as loggers:
        for run in (
            of("resnet18", "a", weights="pretrained"),
            of("resnet18", "b", weights="/weights/own.safetensors"),
            of("vit", "c", probe_id="d" * 32, protocol="knn", num_neighbors=20),
        ):
            loggers.listeners[0].finished(run)
    names = {"resnet18", "resnet18_own.safetensors", "vit_knn_k20"}
    assert read(kind, tmp_path).keys() == names


def test_many_members_of_a_population(tmp_path):
    """More than are held open: the others get their curves when they finish."""
    ids = [run_digest({"number": number}) for number in range(_MAX_OPEN + 3)]
    settings = {id: TRIAL | {"seed": n} for n, id in enumerate(ids)}
    with make_loggers([place("tensorboard", tmp_path)], "small") as loggers:
        (listener,) = loggers.listeners
        for id in ids:
            listener.curves(id, settings[id], until(2))
        assert len(list((tmp_path / "tb").iterdir())) == _MAX_OPEN
        for id in ids:
            row = settings[id] | {"trial_id": id, "experiment": "small"}
            listener.finished(trial(id, settings=row))
        # The next population, while those of this one are still open.
        new = run_digest({"number": -1})
        listener.curves(new, TRIAL | {"seed": -1}, until(2))
        assert len(list((tmp_path / "tb").iterdir())) == len(ids) + 1
        listener.curves(new, TRIAL | {"seed": -1}, CURVES)
    found = read("tensorboard", tmp_path)
    assert len(found) == len(ids) + 1
    for run in found.values():
        assert run.points["train_loss"] == pairs("train_loss")


def test_long_curves(kind, log, tmp_path):
    """A contrastive run has a point for every draw, and no steps."""
    values = np.arange(2500) / 8.0
    with log() as loggers:
        curves = {"loss": values, "used": np.ones(2500)}
        loggers.listeners[0].finished(trial(curves=curves))
    points = read(kind, tmp_path)[NAME].points["loss"]
    assert points == [(i + 1, value) for i, value in enumerate(values.tolist())]


# -- mistakes and failures -----------------------------------------------------------


def test_all_wrong_places_are_named_at_once():
    with pytest.raises(UserError) as caught:
        make_loggers(["tensorbord:runs", "wandb", "mlflow:"], "small")
    text = str(caught.value)
    assert "did you mean 'tensorboard'?" in text
    assert "give wandb:PROJECT" in text
    assert "give mlflow:URI" in text


@pytest.mark.parametrize("package", ["tensorboardX", "wandb", "mlflow"])
def test_a_missing_package_is_named_with_its_extra(package, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, package, None)
    kind = package.lower().removesuffix("x")
    with pytest.raises(UserError, match=rf"pip install 'jaxbench\[{kind}\]'"):
        make_loggers([place(kind, tmp_path)], "small")


@pytest.mark.parametrize("kind", ["tensorboard", "mlflow"])
def test_a_folder_that_cannot_be_written_is_an_error_before_the_sweep(kind, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be (written|used)"):
        make_loggers([f"{kind}:{tmp_path}/file/logs"], "small").__enter__()


def test_a_missing_key_is_an_error_before_the_sweep(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with pytest.raises(UserError, match="wandb login"):
        make_loggers(["wandb:project"], "small").__enter__()


class Broken:
    """A tracker that fails at the second run."""

    def __init__(self):
        self.calls = 0

    def start(self):
        pass

    def open(self, subject):
        self.calls += 1
        raise RuntimeError(f"the disk is full at {subject.name}\nsecond line")


def test_a_failing_tracker_warns_once_and_is_silent(caplog, tmp_path):
    broken = Broken()
    logger = Logger("broken:x", broken, "small")
    for _ in range(3):
        logger.listener.curves("a" * 32, TRIAL, CURVES)
        logger.listener.finished(trial())
    logger.file(tmp_path / "report.html")
    logger.close()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        "nothing more is logged to broken:x: the disk is full at vit_micro adamw "
        "lr0.001 wd0.05 seed0; results are stored as before"
    )
    assert broken.calls == 1


@pytest.mark.parametrize("kind", ["tensorboard", "mlflow"])
def test_a_folder_that_vanishes_is_one_warning(kind, tmp_path, caplog):
    with make_loggers([place(kind, tmp_path)], "small") as loggers:
        (listener,) = loggers.listeners
        listener.finished(trial())
        folder = tmp_path / place(kind, tmp_path).rpartition("/")[2]
        shutil.rmtree(folder)
        folder.touch()
        for n in range(3):
            listener.finished(evaluation("d", f"{n:032x}"))
            row = TRIAL | {"trial_id": f"{n:032x}", "experiment": "small"}
            listener.finished(trial(f"{n:032x}", settings=row))
    warnings = [r for r in caplog.records if r.name.startswith("jaxbench")]
    assert len(warnings) == 1
    assert "nothing more is logged" in warnings[0].getMessage()


@pytest.fixture(params=["refuses", "is silent"])
def gone(request):
    """The address of a server that refuses connections, or never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if request.param == "is silent":
            server.listen()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_mlflow_without_its_server_is_one_warning(gone, caplog, monkeypatch):
    import jaxbench.loggers.mlflow

    assert jaxbench.loggers.mlflow.os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "10"
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    _check_gone(f"mlflow:{gone}", caplog, seconds=20)


def test_wandb_without_its_server_is_one_warning(gone, caplog, monkeypatch):
    import jaxbench.loggers.wandb

    monkeypatch.setattr(jaxbench.loggers.wandb, "_INIT_SECONDS", 3.0)
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_BASE_URL", gone)
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    _check_gone("wandb:project", caplog, seconds=40)


def _check_gone(address: str, caplog, seconds: float) -> None:
    started = time.monotonic()
    with make_loggers([address], "small") as loggers:
        for _ in range(3):
            loggers.listeners[0].finished(trial())
    assert time.monotonic() - started < seconds
    found = [r for r in caplog.records if r.name == "jaxbench.loggers.logger"]
    assert len(found) == 1
    assert f"nothing more is logged to {address}" in found[0].getMessage()


def test_a_long_name_of_an_experiment(kind, tmp_path):
    """Such as that of `evaluate` with hundreds of models."""
    name = "evaluate " + "resnet50.a1_in1k " * 100
    report = tmp_path / "report.html"
    report.write_text("<p>Report</p>")
    with make_loggers([place(kind, tmp_path)], name) as loggers:
        row = TRIAL | {"model": "x" * 400, "experiment": name}
        loggers.listeners[0].finished(trial(settings=row))
        loggers.file(report)
    found = read(kind, tmp_path)
    assert len(found) == 2
    assert all(len(name) <= 100 for name in found)


def test_names_that_every_tracker_takes():
    assert plain("folder:../data/x@test") == "folder_.._data_x_test"
    assert plain("@@") == "unnamed"
    long, other = plain("x" * 300), plain("x" * 301)
    assert len(long) == len(other) == 100
    assert long != other
