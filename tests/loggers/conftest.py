"""Trackers without a network, each in a folder of the test's own."""

import os
import sys

# Both look at these when they are imported.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["WANDB_ERROR_REPORTING"] = "false"

import pytest


@pytest.fixture(autouse=True)
def _offline(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "wandb-files"))
    (tmp_path / "wandb-files").mkdir()
    yield
    # It reads the environment once, when it is first used.
    if wandb := sys.modules.get("wandb"):
        wandb.teardown()
