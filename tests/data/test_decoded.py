"""The cache of decoded images: the same pixels, decoded once, under a limit."""

import io
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from jaxbench.data import ArraySource, BatchLoader, load_images, take
from jaxbench.data import batches as batching
from jaxbench.data import decoded as module
from jaxbench.data import decoded_store as store
from jaxbench.data.decoded import (
    DecodedSource,
    decoded_geometry,
    decoded_source,
    geometry,
)
from jaxbench.data.decoded_store import cache_limit, clear_cache, decoded_entries
from jaxbench.data.source import DecodeError, Example
from jaxbench.errors import UserError
from model_zoo import InputSpec

SPEC = InputSpec(size=(20, 20), crop_fraction=0.875, interpolation="bicubic")
OTHER = InputSpec(size=(16, 16), crop_fraction=1.0, interpolation="bilinear")
N = 24


class Encoded:
    """PNG files that count how often they are read."""

    def __init__(self, broken=()):
        draw = np.random.default_rng(0)
        self.name, self.fingerprint = "encoded", "f00d" + "".join(map(str, broken))
        self.class_names = ("a", "b", "c")
        self.labels = np.arange(N, dtype=np.int32) % 3
        self.ids = tuple(f"{i:02d}.png" for i in range(N))
        self.reads = 0
        self._files = []
        for i in range(N):
            buffer = io.BytesIO()
            pixels = draw.integers(0, 256, (30, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(buffer, "png")
            self._files.append(b"" if i in broken else buffer.getvalue())

    def __len__(self):
        return N

    def __getitem__(self, index):
        self.reads += 1
        return Example(self._files[index], int(self.labels[index]), self.ids[index])


@pytest.fixture(autouse=True)
def small_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "_LEAST_BYTES", 1)


def batches(source, spec=SPEC):
    found = list(BatchLoader(source, spec, 10, num_threads=2))
    return np.concatenate([b.images[b.valid] for b in found]), [
        i for b in found for i in b.ids if i
    ]


def test_the_same_pixels_and_no_second_decoding():
    base = Encoded()
    plain, ids = batches(base)
    cached = decoded_source(base, SPEC)
    assert isinstance(cached, DecodedSource)
    base.reads = 0
    first, first_ids = batches(cached)
    assert base.reads == N
    again, _ = batches(decoded_source(base, SPEC))
    assert base.reads == N
    np.testing.assert_array_equal(first, plain)
    np.testing.assert_array_equal(again, plain)
    assert first_ids == ids
    (entry,) = decoded_entries()
    assert (entry.num_decoded, entry.num_examples, entry.name) == (N, N, "encoded")
    assert entry.geometry == "20x20 center 0.875 bicubic"


def test_whole_entry_is_mapped_not_copied():
    base = Encoded()
    load_images(decoded_source(base, SPEC), SPEC)
    arrays = load_images(decoded_source(base, SPEC), SPEC)
    assert isinstance(arrays.images, np.memmap)
    assert not arrays.images.flags.writeable
    assert arrays.ids == base.ids
    np.testing.assert_array_equal(arrays.images, load_images(base, SPEC).images)


def test_each_geometry_has_its_own_entry():
    base = Encoded()
    a, _ = batches(decoded_source(base, SPEC))
    b, _ = batches(decoded_source(base, OTHER), OTHER)
    assert a.shape != b.shape
    assert len(decoded_entries()) == 2
    assert decoded_geometry(decoded_source(base, SPEC)) == geometry(SPEC)
    assert decoded_geometry(base) is None
    # Read for another geometry, a cached source gives wrong pixels: it must be refused.
    with pytest.raises(UserError, match="was decoded for"):
        BatchLoader(decoded_source(base, SPEC), OTHER, 10)


def test_what_an_interrupted_pass_decoded_stays():
    base = Encoded()
    cached = decoded_source(base, SPEC)
    for index in (0, 5, 7):
        cached[index]
    cached.flush()
    base.reads = 0
    later = decoded_source(base, SPEC)
    assert decoded_entries()[0].num_decoded == 3
    images, _ = batches(later)
    assert base.reads == N - 3
    np.testing.assert_array_equal(images, batches(base)[0])


def test_rows_not_flushed_are_decoded_again():
    base = Encoded()
    decoded_source(base, SPEC)[4]
    assert decoded_entries()[0].num_decoded == 0


def test_views_of_most_of_a_dataset_share_its_rows():
    base = Encoded()
    most, few = take(base, np.arange(3, N)), take(base, np.arange(5))
    images, _ = batches(decoded_source(most, SPEC))
    np.testing.assert_array_equal(images, batches(base)[0][3:])
    base.reads = 0
    batches(decoded_source(base, SPEC))
    assert base.reads == 3
    batches(decoded_source(few, SPEC))
    assert {entry.num_examples for entry in decoded_entries()} == {N, 5}
    assert decoded_source(most, SPEC).fingerprint == most.fingerprint


def test_a_broken_image_is_reported_each_time():
    base = Encoded(broken=(4,))
    for _ in range(2):
        cached = decoded_source(base, SPEC)
        with pytest.raises(DecodeError, match=r"04\.png"):
            batches(cached)
        arrays = load_images(cached, SPEC, on_error="skip")
        assert [s.id for s in arrays.skipped] == ["04.png"]
        assert len(arrays.images) == N - 1


def test_limit_evicts_what_was_used_least_recently(monkeypatch):
    base = Encoded()
    one = N * 20 * 20 * 3
    batches(decoded_source(base, SPEC))
    monkeypatch.setenv("JAXBENCH_CACHE_LIMIT", str((one + 200) / 2**30))
    batches(decoded_source(base, OTHER), OTHER)
    assert [entry.geometry[:5] for entry in decoded_entries()] == ["16x16"]
    monkeypatch.setenv("JAXBENCH_CACHE_LIMIT", "0")
    assert decoded_source(base, SPEC) is base
    assert decoded_source(base, OTHER) is base


def test_a_removed_entry_does_not_stop_a_reader():
    base = Encoded()
    cached = decoded_source(base, SPEC)
    cached[0]
    shutil.rmtree(decoded_entries()[0].path)
    images, _ = batches(cached)
    np.testing.assert_array_equal(images, batches(base)[0])


def test_a_full_disk_costs_time_only(monkeypatch):
    base = Encoded()
    cached = decoded_source(base, SPEC)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.os, "pwrite", full)
    images, _ = batches(cached)
    np.testing.assert_array_equal(images, batches(base)[0])
    assert decoded_entries()[0].num_decoded == 0


def test_a_row_that_was_written_in_part_is_not_kept(monkeypatch):
    base = Encoded()
    write = store.os.pwrite
    monkeypatch.setattr(
        store.os, "pwrite", lambda file, data, at: write(file, bytes(data)[:100], at)
    )
    images, _ = batches(decoded_source(base, SPEC))
    monkeypatch.undo()
    np.testing.assert_array_equal(images, batches(base)[0])


def test_rows_that_did_not_reach_the_disk_are_not_marked(monkeypatch):
    base = Encoded()
    cached = decoded_source(base, SPEC)
    cached[0]

    def broken(file):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(store.os, "fsync", broken)
        cached.flush()
    cached[1]
    cached.flush()
    assert decoded_entries()[0].num_decoded == 0


def test_an_entry_that_was_made_anew_is_another_one():
    """The reader of a removed entry neither spoils nor trusts the one in its place."""
    base = Encoded()
    wanted, _ = batches(base)
    old = decoded_source(base, SPEC)
    for row in range(5):
        old[row]
    clear_cache()
    new = decoded_source(base, SPEC)
    for row in range(10, 15):
        new[row]
    new.flush()
    old[6]
    old.flush()
    assert decoded_entries()[0].num_decoded == 5
    np.testing.assert_array_equal(batches(old)[0], wanted)
    np.testing.assert_array_equal(batches(decoded_source(base, SPEC))[0], wanted)


def test_many_openers_make_one_entry():
    base = Encoded()
    wanted, _ = batches(base)
    with ThreadPoolExecutor(8) as pool:
        opened = list(pool.map(lambda _: decoded_source(base, SPEC), range(8)))
    assert len(decoded_entries()) == 1
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda s: [s[i].image for i in range(N)], opened))
    for images in [*read, batches(decoded_source(base, SPEC))[0]]:
        np.testing.assert_array_equal(images, wanted)


def test_decoded_for_another_input_is_refused():
    with pytest.raises(ValueError, match="is decoded for"):
        decoded_source(decoded_source(Encoded(), SPEC), OTHER)


def test_a_whole_entry_needs_no_memory(monkeypatch):
    base = Encoded()
    load_images(decoded_source(base, SPEC), SPEC)
    monkeypatch.setattr(batching, "memory_bytes", lambda: 1000)
    assert len(load_images(decoded_source(base, SPEC), SPEC).images) == N


def test_small_datasets_are_not_cached(monkeypatch):
    monkeypatch.setattr(module, "_LEAST_BYTES", 1 << 20)
    base = ArraySource("a", np.zeros((4, 8, 8, 3), np.uint8), np.zeros(4, np.int32))
    assert decoded_source(base, SPEC) is base


@pytest.mark.parametrize("file", ["sums.uint64", "images.uint8"])
@pytest.mark.parametrize("content", [b"no array", b"", None])
def test_case_11_damaged_entries_are_made_anew(file, content):
    base = Encoded()
    wanted, _ = batches(base)
    batches(decoded_source(base, SPEC))
    path = decoded_entries()[0].path / file
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    base.reads = 0
    for reads in (N, N):
        np.testing.assert_array_equal(batches(decoded_source(base, SPEC))[0], wanted)
        assert base.reads == reads
    assert [entry.num_decoded for entry in decoded_entries()] == [N]


def flip(path, bit):
    with path.open("rb+") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))


@pytest.mark.parametrize("file", ["images.uint8", "sums.uint64"])
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "by-row"])
def test_case_11_one_bit_never_changes_an_image(file, whole, caplog):
    """Read row by row or as one map, held in whole or in part."""
    base = Encoded()
    wanted, _ = batches(base)
    draw = np.random.default_rng(11)
    for _ in range(12):
        clear_cache()
        if whole:
            batches(decoded_source(base, SPEC))
        else:
            cached = decoded_source(base, SPEC)
            for row in range(0, N, 2):
                cached[row]
            cached.flush()
        path = decoded_entries()[0].path / file
        flip(path, int(draw.integers(path.stat().st_size * 8)))
        images = load_images(decoded_source(base, SPEC), SPEC).images
        np.testing.assert_array_equal(images, wanted)
        np.testing.assert_array_equal(batches(decoded_source(base, SPEC))[0], wanted)
        # What was bad is kept anew, and found good.
        base.reads = 0
        caplog.clear()
        np.testing.assert_array_equal(batches(decoded_source(base, SPEC))[0], wanted)
        assert (base.reads, caplog.records) == (0, [])


def test_case_11_a_row_in_another_rows_place_is_found(caplog):
    base = Encoded()
    wanted, _ = batches(base)
    batches(decoded_source(base, SPEC))
    path = decoded_entries()[0].path / "images.uint8"
    images = np.memmap(path, np.uint8, "r+", 0, (N, 20, 20, 3))
    images[[2, 3]] = images[[3, 2]]
    images.flush()
    del images
    found, _ = batches(decoded_source(base, SPEC))
    np.testing.assert_array_equal(found, wanted)
    assert sorted(r.getMessage().split(": ")[1] for r in caplog.records) == [
        "image 2 is not what was kept; it is decoded again",
        "image 3 is not what was kept; it is decoded again",
    ]


def test_case_11_damage_that_cannot_be_mended_is_read_around():
    """Where the cache may only be read, a bad row is decoded each time."""
    base = Encoded()
    wanted, _ = batches(base)
    batches(decoded_source(base, SPEC))
    path = decoded_entries()[0].path / "images.uint8"
    flip(path, 8 * 5000)
    for _ in range(2):
        cached = decoded_source(base, SPEC)
        cached._rows._file = None
        base.reads = 0
        np.testing.assert_array_equal(batches(cached)[0], wanted)
        assert base.reads == 1


def test_clear():
    batches(decoded_source(Encoded(), SPEC))
    assert clear_cache(unused_for=3600.0) == 0
    assert clear_cache() > 0
    assert decoded_entries() == ()


@pytest.mark.parametrize("text", ["many", "-1", "nan", "inf"])
def test_limit_that_is_not_a_number(monkeypatch, text):
    monkeypatch.setenv("JAXBENCH_CACHE_LIMIT", text)
    with pytest.raises(UserError, match="JAXBENCH_CACHE_LIMIT"):
        cache_limit()
