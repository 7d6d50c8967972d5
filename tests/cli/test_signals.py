"""What ends a command from outside: statuses, messages, and nothing lost."""

import os
import signal
import subprocess
import sys
import time

import pytest

from jaxbench.results import ResultStore
from tests.sweeps.experiment import as_toml, experiment

WAITING = """
import time
from jaxbench.cli.app import _guarded, app, main

def wait() -> None:
    print("ready", flush=True)
    time.sleep(60)

app.command()(_guarded(wait))
main()
"""
# Waits in C for a lock that is never released, where no handler runs: as a compilation.
BUSY = """
import ctypes, threading
from jaxbench.cli.signals import end_on_signals

end_on_signals()
library, mutex = ctypes.CDLL(None), (ctypes.c_long * 16)()
library.pthread_mutex_lock(mutex)
# Printed from within the wait, not before it.
threading.Timer(0.5, print, ["ready"], {"flush": True}).start()
library.pthread_mutex_lock(mutex)
"""
# Waits in a callback of the garbage collector, which swallows what is raised in it.
COLLECTING = """
import gc, time
from jaxbench.cli.app import _guarded, app, main

def linger(phase, information) -> None:
    gc.callbacks.remove(linger)
    print("ready", flush=True)
    time.sleep(60)

def wait() -> None:
    gc.callbacks.append(linger)
    gc.collect()
    time.sleep(60)

app.command()(_guarded(wait))
main()
"""
# Undoes what `nohup` and the background of a shell leave to their children.
AS_IN_A_TERMINAL = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
"""
STATUSES = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}


def start(*arguments, code=WAITING, prefix=(), **options):
    return subprocess.Popen(
        [*prefix, sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def first_line(process):
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.parametrize("name", STATUSES)
def test_case_34_a_signal_ends_a_command_with_its_status_and_a_word(name):
    process = start("wait", code=AS_IN_A_TERMINAL + WAITING)
    assert first_line(process) == "ready\n"
    process.send_signal(getattr(signal, name))
    _, text = process.communicate(timeout=30)
    assert process.returncode == STATUSES[name]
    assert ("Interrupted." if name == "SIGINT" else f"Stopped by {name}.") in text


def test_case_34_under_nohup_a_hangup_changes_nothing():
    # `nohup` itself would move what is printed.
    ignoring = ("sh", "-c", 'trap "" HUP; exec "$@"', "sh")
    process = start("wait", prefix=ignoring)
    assert first_line(process) == "ready\n"
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 143


def test_case_34_a_second_signal_ends_what_no_handler_can_interrupt():
    process = start(code=AS_IN_A_TERMINAL + BUSY)
    assert first_line(process) == "ready\n"
    process.terminate()
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 143


@pytest.mark.parametrize("name", STATUSES)
def test_case_34_a_signal_that_a_callback_swallows_comes_again(name):
    process = start("wait", code=AS_IN_A_TERMINAL + COLLECTING)
    assert first_line(process) == "ready\n"
    process.send_signal(getattr(signal, name))
    _, text = process.communicate(timeout=30)
    assert process.returncode == STATUSES[name], text
    assert "ignored" not in text


def test_case_34_a_terminated_run_keeps_what_is_finished(tmp_path):
    config = tmp_path / "small.toml"
    config.write_text(as_toml(experiment(tmp_path / "results")))
    code = "from jaxbench.cli.app import main; main()"
    process = start(
        "run",
        config,
        code=AS_IN_A_TERMINAL + code,
        env={**os.environ, "COLUMNS": "200"},
    )
    runs = tmp_path / "results" / "runs"
    deadline = time.monotonic() + 300
    while not list(runs.glob("*.parquet")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.terminate()
    _, text = process.communicate(timeout=60)
    assert process.returncode == 143, text
    kept = len(ResultStore(tmp_path / "results").completed())
    assert 1 <= kept < 12
    assert "Stopped by SIGTERM." in text
    assert f"{kept} run" in text
    assert f"run {config}" in text
