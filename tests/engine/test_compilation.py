"""Compiled programs on disk: a damaged one is compiled again, and never run."""

import json
import os
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest

from jaxbench.engine.compilation import _CHECKSUMS, _remove_damaged

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys, warnings
import jax, jax.numpy as jnp
from jaxbench.engine import enable_persistent_cache
enable_persistent_cache(sys.argv[1])
values = jnp.arange(1.0, 9.0)
print(float(jax.jit(lambda x: jnp.sum(jnp.sin(x) / x))(values)).hex())
"""


def run(folder):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def age(folder, seconds=3600):
    then = time.time() - seconds
    for path in folder.glob("*-cache"):
        os.utime(path, (then, then))


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
@pytest.mark.parametrize("seen", [True, False], ids=["seen", "new"])
def test_case_31_damaged_programs_are_compiled_again(tmp_path, damage, seen):
    whole, _ = run(tmp_path)
    age(tmp_path)
    if seen:
        _remove_damaged(tmp_path)
    entries = {path: path.read_bytes() for path in tmp_path.glob("*-cache")}
    assert entries
    for path, content in entries.items():
        middle = len(content) // 2
        changed = bytes([content[middle] ^ 1])
        path.write_bytes(
            {
                "flip": content[:middle] + changed + content[middle + 1 :],
                "cut": content[:middle],
                "empty": b"",
            }[damage]
        )
    age(tmp_path)
    again, errors = run(tmp_path)
    assert again == whole
    assert errors.count("is damaged; the program is compiled again") == len(entries)
    # Written anew, and whole.
    assert {path.name for path in tmp_path.glob("*-cache")} == {
        path.name for path in entries
    }
    assert run(tmp_path) == (whole, "")


def test_case_31_programs_without_a_checksum_of_their_own(tmp_path):
    """As JAX packs them with zstd: what was seen once is compared with that."""
    content = b"\x28\xb5\x2f\xfd" + bytes(100)
    path = tmp_path / "jit_f-0a-cache"
    path.write_bytes(content)
    age(tmp_path)
    _remove_damaged(tmp_path)
    assert json.loads((tmp_path / _CHECKSUMS).read_text()) == {
        path.name: zlib.crc32(content)
    }
    for bit in np.random.default_rng(31).integers(0, len(content) * 8, 20):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bytes(changed))
        _remove_damaged(tmp_path)
        assert not path.exists()
        path.write_bytes(content)
        age(tmp_path)
        _remove_damaged(tmp_path)
        assert path.exists()


def test_case_31_a_program_that_is_being_written_is_left_alone(tmp_path):
    path = tmp_path / "jit_f-0a-cache"
    path.write_bytes(b"\x78\x9c half")
    _remove_damaged(tmp_path)
    assert path.exists()
    age(tmp_path)
    _remove_damaged(tmp_path)
    assert not path.exists()


@pytest.mark.parametrize("content", ["", "{", "[1]", "7"])
def test_case_31_a_damaged_record_costs_nothing_but_itself(tmp_path, content):
    path = tmp_path / "jit_f-0a-cache"
    path.write_bytes(zlib.compress(b"program"))
    age(tmp_path)
    (tmp_path / _CHECKSUMS).write_text(content)
    _remove_damaged(tmp_path)
    assert path.exists()
    assert path.name in json.loads((tmp_path / _CHECKSUMS).read_text())
