"""Settings that every test shares: strict dtypes and ranks, eight CPU devices."""

import gc
import os
import shutil
import tempfile
from pathlib import Path

# Before jax is imported anywhere: the sharding tests need several devices.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")

import jax
import pytest

# Eight devices on two busy cores meet late: after 40 s XLA takes them for deadlocked
# and ends the process. Other versions may not know the flags, and end it for that.
if jax.__version_info__ < (0, 12):
    os.environ.setdefault(
        "XLA_FLAGS",
        "--xla_cpu_collective_call_terminate_timeout_seconds=600 "
        "--xla_cpu_collective_timeout_seconds=600",
    )

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# What several tests or workers compile is compiled once. Workers inherit the folder
# from the process that starts them, which removes it at the end.
_OWN_CACHE = None
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _OWN_CACHE = tempfile.mkdtemp(prefix="jaxbench-tests-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _OWN_CACHE
jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


# Every compiled program maps some memory, and a process may hold 65,530 maps: XLA ends
# silently at the next one. Tests compile tens of thousands in one process.
_MANY_MAPS = 20_000


def _num_maps() -> int:
    try:
        return Path("/proc/self/maps").read_bytes().count(b"\n")
    except OSError:
        return 0


@pytest.fixture(scope="module", autouse=True)
def few_programs():
    """Forgets what is compiled between two files, once it is much."""
    yield
    if _num_maps() > _MANY_MAPS:
        from jaxbench.engine import programs

        programs.forget()
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def key():
    return jax.random.key(0)


def pytest_unconfigure():
    if _OWN_CACHE is not None:
        shutil.rmtree(_OWN_CACHE, ignore_errors=True)
