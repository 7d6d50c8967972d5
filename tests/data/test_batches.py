import threading

import jax
import numpy as np
import pytest

from jaxbench.data import (
    ArraySource,
    BatchLoader,
    DecodeError,
    Example,
    load_images,
    open_dataset,
    take,
)
from jaxbench.data import batches as batches_module
from jaxbench.errors import UserError
from model_zoo.input_spec import InputSpec

SPEC = InputSpec(size=(8, 8), crop_fraction=1.0)


@pytest.fixture
def folder(tmp_path, write_tree, photos):
    return open_dataset(f"folder:{write_tree(tmp_path / 'photos', photos)}")


@pytest.fixture
def damaged(tmp_path, write_tree, photos):
    """Thirty photographs of which the second and the last cannot be read."""
    broken = {"cat/01.jpg": photos["cat/01.jpg"][:300], "eel/09.jpg": b""}
    return open_dataset(f"folder:{write_tree(tmp_path / 'damaged', photos | broken)}")


def test_rows_are_where_they_belong(folder):
    loader = BatchLoader(folder, SPEC, batch_size=8)
    batches = list(loader)
    assert len(batches) == len(loader) == 4
    for number, batch in enumerate(batches):
        assert batch.images.shape == (8, 8, 8, 3)
        assert batch.images.dtype == np.uint8
        assert batch.labels.dtype == np.int32
        rows = range(8 * number, min(8 * number + 8, 30))
        padding = ("",) * (8 - len(rows))
        assert batch.ids == tuple(folder.ids[r] for r in rows) + padding
        assert batch.valid.tolist() == [True] * len(rows) + [False] * len(padding)
        np.testing.assert_array_equal(
            batch.labels[: len(rows)], folder.labels[list(rows)]
        )
    assert not batches[-1].images[6:].any()


def test_batches_are_the_loaded_images(folder):
    loaded = load_images(folder, SPEC)
    assert loaded.images.shape == (30, 8, 8, 3)
    assert loaded.ids == folder.ids
    assert loaded.skipped == ()
    np.testing.assert_array_equal(loaded.labels, folder.labels)
    batches = list(BatchLoader(folder, SPEC, batch_size=7))
    read = np.concatenate([batch.images[batch.valid] for batch in batches])
    np.testing.assert_array_equal(read, loaded.images)


@pytest.mark.parametrize("num_threads", [1, 8])
def test_threads_change_nothing(folder, num_threads):
    wanted = list(BatchLoader(folder, SPEC, 8, num_threads=2))
    loader = BatchLoader(folder, SPEC, 8, num_threads=num_threads)
    for _ in range(2):  # and the second pass is the first
        jax.tree.map(np.testing.assert_array_equal, list(loader), wanted)


@pytest.mark.parametrize("count", [13, 16, 17, 30])
@pytest.mark.parametrize("shard_count", [2, 4])
def test_shards_end_to_end_are_the_whole(folder, count, shard_count):
    source = take(folder, np.arange(count))
    shards = [
        list(BatchLoader(source, SPEC, 8, shard_index=i, shard_count=shard_count))
        for i in range(shard_count)
    ]
    whole = list(BatchLoader(source, SPEC, 8))
    assert {len(shard) for shard in shards} == {len(whole)}
    for number, batch in enumerate(whole):
        parts = [shard[number] for shard in shards]
        for field in ("images", "labels", "valid", "ids"):
            joined = np.concatenate([getattr(part, field) for part in parts])
            np.testing.assert_array_equal(joined, getattr(batch, field))


def test_unreadable_images_raise_by_name(damaged):
    with pytest.raises(DecodeError, match=r"damaged: cannot read image 'cat/01\.jpg'"):
        list(BatchLoader(damaged, SPEC, 8))
    with pytest.raises(DecodeError, match=r"Truncated.*Repair or remove") as caught:
        load_images(damaged, SPEC)
    assert caught.value.id == "cat/01.jpg"


def test_unreadable_images_are_skipped_and_listed(damaged, folder):
    loader = BatchLoader(damaged, SPEC, 8, on_error="skip")
    for _ in range(2):  # the list belongs to one iteration
        batches = list(loader)
        assert [skip.id for skip in loader.skipped] == ["cat/01.jpg", "eel/09.jpg"]
        assert "the file is empty" in loader.skipped[1].reason
    valid = np.concatenate([batch.valid for batch in batches])
    assert np.flatnonzero(~valid).tolist() == [1, 29, 30, 31]
    assert batches[0].ids[1] == "cat/01.jpg"
    assert not batches[0].images[1].any()
    loaded = load_images(damaged, SPEC, on_error="skip")
    assert [skip.id for skip in loaded.skipped] == ["cat/01.jpg", "eel/09.jpg"]
    keep = np.delete(np.arange(30), [1, 29])
    np.testing.assert_array_equal(loaded.images, load_images(folder, SPEC).images[keep])
    np.testing.assert_array_equal(loaded.labels, folder.labels[keep])
    assert loaded.ids == tuple(folder.ids[i] for i in keep)


def test_nothing_readable_is_an_error(tmp_path, write_tree):
    files = {f"cat/{i}.png": b"no image" for i in range(3)}
    source = open_dataset(f"folder:{write_tree(tmp_path / 'all', files)}")
    with pytest.raises(UserError, match=r"none of 3 images can be read; .*cat/0\.png"):
        load_images(source, SPEC, on_error="skip")


class FromDisk:
    """A user's own source, whose third file is gone."""

    name, class_names, fingerprint = "mine", ("a",), "00"
    labels = np.zeros(4, np.int32)

    def __len__(self):
        return 4

    def __getitem__(self, index):
        if index == 2:
            raise FileNotFoundError("no such file: 2.png")
        return Example(np.full((8, 8, 3), index, np.uint8), 0, f"mine-{index}")


def test_a_file_that_vanished_counts_as_unreadable():
    with pytest.raises(DecodeError, match=r"mine: cannot read image 'row 2': no such"):
        load_images(FromDisk(), SPEC)
    loaded = load_images(FromDisk(), SPEC, on_error="skip")
    assert loaded.ids == ("mine-0", "mine-1", "mine-3")


def test_other_errors_are_not_swallowed():
    class Buggy(FromDisk):
        def __getitem__(self, index):
            raise KeyError("a bug, not a broken image")

    with pytest.raises(KeyError, match="a bug"):
        load_images(Buggy(), SPEC, on_error="skip")


def test_only_a_few_images_are_decoded_ahead():
    class Counting(FromDisk):
        labels = np.zeros(2000, np.int32)
        count = 0
        lock = threading.Lock()

        def __len__(self):
            return 2000

        def __getitem__(self, index):
            with self.lock:
                Counting.count += 1
            return Example(np.zeros((8, 8, 3), np.uint8), 0, str(index))

    batches = iter(BatchLoader(Counting(), SPEC, 4, num_threads=2))
    next(batches)
    batches.close()
    assert 4 <= Counting.count <= 4 + 2 * 16 + 2


def test_stopping_early_leaves_no_thread(folder):
    def decoders():
        return [t for t in threading.enumerate() if "grain-prefetch" in t.name]

    # Those of a loader that another test left are none of this one's.
    before = set(decoders())
    batches = iter(BatchLoader(folder, SPEC, 4, num_threads=3))
    next(batches)
    working = set(decoders()) - before
    assert working
    batches.close()
    for thread in working:
        thread.join(timeout=10)
        assert not thread.is_alive()


BAD_ARGUMENTS = {
    "batch_size is 0": {"batch_size": 0},
    "shard_count is 3, wanted a divisor of the batch_size 8": {"shard_count": 3},
    "shard_count is 0": {"shard_count": 0},
    "shard_index is 2, wanted 0 to 1": {"shard_index": 2, "shard_count": 2},
    "num_threads is 0": {"num_threads": 0},
}


@pytest.mark.parametrize("message", BAD_ARGUMENTS)
def test_bad_arguments(folder, message):
    with pytest.raises(UserError, match=message):
        BatchLoader(folder, SPEC, **{"batch_size": 8} | BAD_ARGUMENTS[message])


def test_all_bad_arguments_at_once(folder):
    with pytest.raises(UserError, match=r"num_threads is -1.*batch_size is -8"):
        BatchLoader(folder, SPEC, -8, num_threads=-1)


def test_what_does_not_fit_in_memory_is_refused(folder, monkeypatch):
    monkeypatch.setattr(batches_module, "memory_bytes", lambda: 1000)
    with pytest.raises(UserError, match=r"30 images need .* GiB .*read them in batch"):
        load_images(folder, SPEC)


def test_decoded_images_need_no_decoding():
    pixels = np.arange(2 * 8 * 8 * 3, dtype=np.uint8).reshape(2, 8, 8, 3)
    loaded = load_images(ArraySource("mine", pixels, [0, 1]), SPEC)
    np.testing.assert_array_equal(loaded.images, pixels)
