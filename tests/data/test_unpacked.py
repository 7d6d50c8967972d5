"""Compressed archives: what they unpack to is counted, limited and cleared."""

import bz2
import gzip
import lzma
import os
import signal
import subprocess
import sys
import tarfile
import time

import pyarrow
import pytest

from jaxbench.data import cache, open_dataset
from jaxbench.data import unpacked as module
from jaxbench.data.decoded_store import clear_cache, make_room
from jaxbench.errors import UserError

PACKERS = {
    **{".tar.gz": gzip.compress, ".tgz": gzip.compress},
    **{".tar.bz2": bz2.compress, ".tbz2": bz2.compress},
    **{".tar.xz": lzma.compress, ".txz": lzma.compress},
    ".tar.zst": lambda content: pyarrow.compress(content, "zstd", asbytes=True),
}
PACKERS[".tzst"] = PACKERS[".tar.zst"]


@pytest.fixture
def plain(tmp_path, write_tree, pack, photos):
    return pack(write_tree(tmp_path / "photos", photos), tmp_path / "p.tar")


def held():
    folder = cache.cache_folder() / "tar"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def limit_to(monkeypatch, nbytes):
    monkeypatch.setenv("JAXBENCH_CACHE_LIMIT", repr(nbytes / 2**30))


def test_every_kind_is_tested():
    assert set(PACKERS) == set(module.UNPACKERS)


@pytest.mark.parametrize("end", PACKERS)
def test_case_36_packed_archives_read_as_the_plain_one(plain, end):
    packed = plain.with_name(f"q{end}")
    packed.write_bytes(PACKERS[end](plain.read_bytes()))
    source, wanted = open_dataset(f"folder:{packed}"), open_dataset(f"folder:{plain}")
    assert source.fingerprint == wanted.fingerprint
    assert len(held()) == 1


DAMAGES = [
    (end, damage)
    for end in PACKERS
    for damage in ("cut", "text", "flipped")
    # The packer here writes no checksum; `zstd` does.
    if (damage, PACKERS[end]) != ("flipped", PACKERS[".tzst"])
]


@pytest.mark.parametrize(("end", "damage"), DAMAGES)
def test_case_36_damaged_archives_leave_nothing(plain, end, damage):
    whole = PACKERS[end](plain.read_bytes())
    half = len(whole) // 2
    packed = plain.with_name(f"q{end}")
    flipped = bytes(byte ^ 0xFF for byte in whole[half : half + 100])
    content = {
        "cut": whole[:half],
        "text": b"no archive" * 100,
        "flipped": whole[:half] + flipped + whole[half + 100 :],
    }
    packed.write_bytes(content[damage])
    with pytest.raises(UserError, match=rf"q\{end}: not a whole (\w+ file|tar file)"):
        open_dataset(f"folder:{packed}")
    assert held() == []


@pytest.mark.parametrize("end", [".tar.gz", ".tar.xz"])
def test_case_36_a_bomb_stops_at_the_limit(tmp_path, monkeypatch, end):
    """100 MiB of zeros in some kilobytes; 20 MiB are allowed."""
    bomb = tmp_path / f"bomb{end}"
    bomb.write_bytes(PACKERS[end](bytes(100 * 2**20)))
    assert bomb.stat().st_size < 2**20
    limit_to(monkeypatch, 20 * 2**20)
    sizes = []

    def watched(nbytes, *, written):
        sizes.append(written)
        return make_room(nbytes, written=written)

    monkeypatch.setattr(module, "make_room", watched)
    message = r"bomb.*unpacks to 0\.0\d GiB or more.*limit of 0\.0195312 GiB.*_LIMIT"
    with pytest.raises(UserError, match=message):
        open_dataset(f"folder:{bomb}")
    assert max(sizes) < 40 * 2**20
    assert held() == []


def test_case_36_without_a_cache_nothing_is_unpacked(plain, monkeypatch):
    limit_to(monkeypatch, 0)
    packed = plain.with_name("q.tar.gz")
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    with pytest.raises(UserError, match=r"limit of 0 GiB.*or unpack it yourself"):
        open_dataset(f"folder:{packed}")
    assert len(open_dataset(f"folder:{plain}")) == 30


def test_case_36_what_was_used_least_recently_makes_room(plain, monkeypatch):
    size = plain.stat().st_size
    limit_to(monkeypatch, 2 * size + size // 2)
    packed = [plain.with_name(f"{name}.tar.gz") for name in "abc"]
    for path in packed:
        path.write_bytes(gzip.compress(plain.read_bytes()))
    for path in packed[:2]:
        open_dataset(f"folder:{path}")
    a, b = (cache.cache_folder() / "tar" / name for name in held())
    os.utime(a, (1, 1))
    os.utime(b, (2, 2))
    first = open_dataset(f"folder:{packed[0]}")  # used again: b is the oldest now
    open_dataset(f"folder:{packed[2]}")
    assert [name[0] for name in held()] == ["a", "c"]
    assert clear_cache(unused_for=3600.0) == 0
    assert clear_cache() >= 2 * size
    assert held() == []
    assert first[3].image  # who has it open reads on


KILLED = """
import os, signal, sys
from jaxbench.data import open_dataset, unpacked
rooms = []
def make_room(nbytes, *, written):
    rooms.append(written)
    if len(rooms) == 2:
        print("half", flush=True)
        {end}
    return True
unpacked.make_room = make_room
open_dataset(sys.argv[1])
"""


def half_unpacked(path, end):
    """A process that is in the middle of unpacking an archive of 100 MiB."""
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("a/0.jpg")
        member.size = 100 * 2**20
        with open("/dev/zero", "rb") as zeros:
            archive.addfile(member, zeros)
    code = KILLED.format(end=end)
    process = subprocess.Popen(
        [sys.executable, "-c", code, f"folder:{path}"], stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"half\n"
    process.stdout.close()
    return process


def test_case_36_a_killed_unpacking_is_removed(tmp_path):
    process = half_unpacked(tmp_path / "p.tgz", "signal.pause()")
    try:
        assert [name[0] for name in held()] == ["."]
        clear_cache()
        assert len(held()) == 1  # it is being written
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(held()) == 1
    assert make_room(1)
    assert held() == []


def test_case_36_where_nothing_can_be_locked_age_decides(monkeypatch):
    folder = cache.cache_folder() / "tar"
    folder.mkdir(parents=True)
    for name, age in ((".new", 10), (".old", 7200)):
        (folder / name).touch()
        os.utime(folder / name, (time.time() - age,) * 2)

    def no_locks(file, operation):
        raise OSError("no locks available")

    monkeypatch.setattr(cache.fcntl, "flock", no_locks)
    assert make_room(1)
    assert held() == [".new"]
