"""Tiny images on disk, and caches that no test shares with another."""

import io
import tarfile

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def own_folders(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("JAXBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path_factory.mktemp("tfds")))


def encoded(seed, height=9, width=12, format="JPEG"):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3))
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, format)
    return file.getvalue()


@pytest.fixture(name="encoded")
def encoded_fixture():
    return encoded


@pytest.fixture
def write_tree():
    """Writes {relative path: bytes} under a folder."""

    def write(root, files):
        for path, content in files.items():
            target = root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        return root

    return write


@pytest.fixture
def pack():
    """Packs a folder's content as a tar or tar.gz."""

    def pack_(root, archive):
        mode = "w:gz" if archive.name.endswith("gz") else "w"
        with tarfile.open(archive, mode) as tar:
            for path in sorted(root.iterdir()):
                tar.add(path, path.name)
        return archive

    return pack_


@pytest.fixture
def photos():
    """Content of a folder of 3 classes, 10 images each, of different sizes."""
    return {
        f"{name}/{i:02}.jpg": encoded(100 * c + i, 9 + i, 20 - i)
        for c, name in enumerate(("cat", "dog", "eel"))
        for i in range(10)
    }
