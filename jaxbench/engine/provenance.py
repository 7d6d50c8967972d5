"""Where a number comes from: code, versions, machine, weights."""

import datetime
import functools
import hashlib
import importlib.metadata
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np

from jaxbench.own import own_parts

_PACKAGES = ("jaxbench", "jax", "jaxlib", "flax", "optax", "numpy", "pillow")


def provenance(mesh: jax.sharding.Mesh | None = None) -> dict[str, str]:
    """Describes this run's code and machine, one short string an entry.

    Args:
        mesh: The devices in use; every device when None.
    """
    devices = list(mesh.devices.flat) if mesh is not None else jax.devices()
    return {
        **_unchanging(),
        "platform": devices[0].platform,
        "device": devices[0].device_kind,
        "num_devices": str(len(devices)),
        "num_processes": str(jax.process_count()),
        "matmul_precision": str(
            getattr(jax.config, "jax_default_matmul_precision", None) or "default"
        ),
        **({"own_parts": parts} if (parts := own_parts()) else {}),
        "created_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


@functools.cache
def _unchanging() -> dict[str, str]:
    versions = {f"{name}_version": _version(name) for name in _PACKAGES}
    return {
        "git_commit": _git_commit(),
        "python_version": platform.python_version(),
        "host": f"{platform.system()} {platform.machine()}",
        **versions,
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _git_commit() -> str:
    """This package's commit, "-dirty" behind it if it was changed; "" if installed."""
    folder = str(Path(__file__).parent)
    command = ["git", "-C", folder, "describe", "--always", "--dirty", "--abbrev=40"]
    command.append("--exclude=*")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def weights_digest(variables: Mapping[str, np.ndarray | jax.Array]) -> str:
    """A digest of names, shapes, dtypes and values, whatever the order of names."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(variables):
        value = np.ascontiguousarray(jax.device_get(variables[name]))
        digest.update(f"{name}|{value.shape}|{value.dtype}|".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()
