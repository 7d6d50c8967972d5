"""What a file of weights really is, whatever it is called: read off its first bytes."""

import json
import os
import re
import zipfile
from pathlib import Path
from typing import Any

_ARCHIVES = {
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ": "xz",
    b"BZh": "bzip2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"7z\xbc\xaf": "7z",
}
_OTHERS = {
    b"\x89HDF\r\n": "an HDF5 file (Keras writes such)",
    b"GGUF": "a GGUF file",
    b"\x08\x00\x12": "a TensorFlow or ONNX graph",
}
# Bytes that a safetensors header may have; the format's own limit.
_LONGEST_HEADER = 100_000_000


def file_kind(path: Path) -> str:
    """Gives "safetensors", "npz", "pickle", "zip" or "unknown", by content.

    Raises:
        OSError: If the file cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(16)
    if start[:4] == b"PK\x03\x04":
        return _zip_kind(path)
    # What torch.save wrote before it wrote zip files, and what pickle writes.
    if re.match(rb"\x80[\x00-\x05]", start):
        return "pickle"
    length = int.from_bytes(start[:8], "little")
    if len(start) > 8 and start[8:9] == b"{" and length < _LONGEST_HEADER:
        return "safetensors"
    return "unknown"


def _zip_kind(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return "unknown"
    if any(name.endswith((".pkl", "/version", "/byteorder")) for name in names):
        return "pickle"
    return "npz" if names and all(name.endswith(".npy") for name in names) else "zip"


def not_weights(path: Path) -> str | None:
    """Says what a file is that holds no weights, and what to do; None if it may."""
    with path.open("rb") as file:
        start = file.read(2048)
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    if not start:
        return f"{path} is empty: a download or copy broke off; get it again"
    if text.startswith(b"version https://git-lfs"):
        size = re.search(rb"size (\d+)", text)
        held = f" of {int(size[1]):,} bytes" if size else ""
        return (
            f"{path} is a Git LFS pointer, not the file{held} that it stands for; run "
            "`git lfs pull` in its repository, or download the file itself"
        )
    if start[:4] == b"PK\x03\x04" and not zipfile.is_zipfile(path):
        return f"{path} is a zip file that is cut off; get it again"
    if text[:1] == b"<":
        title = re.search(rb"<title[^>]*>\s*(.*?)\s*</title>", text, re.S | re.I)
        called = f" ({title[1].decode('utf-8', 'replace')[:80]})" if title else ""
        return (
            f"{path} is a web page{called}, not weights; the address was of a page, or "
            "asks for a login or a licence first: download the file itself"
        )
    if text[:1] in (b"{", b"["):
        shown = " ".join(text[:80].decode("utf-8", "replace").split())
        return f"{path} is JSON ({shown}), not weights; download the file itself"
    for magic, name in _ARCHIVES.items():
        if start.startswith(magic):
            return f"{path} is a {name} archive; unpack it and give what is inside"
    for magic, name in _OTHERS.items():
        if start.startswith(magic):
            return f"{path} is {name}, which is not read here; wanted .safetensors"
    return None


def read_header(path: Path) -> tuple[dict[str, Any], int]:
    """The table of tensors of a safetensors file, and where its data begins.

    Raises:
        ValueError: If the header is damaged, the file is shorter than it says, or there
            are tensors of fewer than 16 bits a number.
    """
    size = os.stat(path).st_size
    cut = (
        f"{path} is not a readable safetensors file: it is cut off at {size:,} bytes, "
    )
    with path.open("rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
        if start > size:
            raise ValueError(f"{cut}its header alone has {start:,}; download it again")
        try:
            header = json.loads(file.read(start - 8))
            header.pop("__metadata__", None)
            end = max((row["data_offsets"][1] for row in header.values()), default=0)
            kinds = {row["dtype"] for row in header.values()}
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path} is not a readable safetensors file: its header is damaged "
                f"({error}); download it again"
            ) from error
    if start + end > size:
        raise ValueError(f"{cut}wanted {start + end:,}; download it again")
    quantised = sorted(kind for kind in kinds if re.match(r"F[468]_", kind))
    if quantised:
        named = [n for n, row in header.items() if row["dtype"] in quantised]
        raise ValueError(
            f"{path} has {len(named)} tensors of {' and '.join(quantised)} "
            f"({named[0]}, ...), whose scales are not known here; get the weights as "
            "float32, float16 or bfloat16"
        )
    return header, start
