"""Variables in safetensors files: https://github.com/huggingface/safetensors."""

import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from model_zoo.classifier import Classifier, Variables, check_variables
from model_zoo.weights.file_kinds import file_kind, not_weights, read_header

# Of weights in several files: which of them holds what.
INDEX = ".index.json"


def save_variables(
    path: str | os.PathLike[str],
    variables: Mapping[str, Array | np.ndarray],
    metadata: dict[str, str] | None = None,
) -> None:
    """Writes variables to a file that is whole or absent, never half.

    Args:
        path: The file; its folder exists, and a file of that name is replaced.
        variables: Arrays by dotted name.
        metadata: Text to keep beside them, read by `load_metadata`.
    """
    path = Path(path)
    # safetensors writes an array's memory as it lies, so it must lie in C order.
    arrays = {
        name: np.ascontiguousarray(leaf).reshape(leaf.shape)
        for name, leaf in jax.device_get(variables).items()
    }
    # Not a temporary file of the tempfile module: nobody else may read those.
    with (path.parent / f".{path.name}.{uuid.uuid4().hex}").open("xb") as file:
        try:
            file.write(save(arrays, metadata=metadata))
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def load_variables(
    path: str | os.PathLike[str], *, classifier: Classifier | None = None
) -> Variables:
    """Reads variables from a file.

    Args:
        path: A safetensors file.
        classifier: Where given, the variables are checked to be this one's.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is damaged or no safetensors file, or does not hold
            the classifier's variables; every difference is named.
    """
    variables: Variables = {**read_tensors(path)}
    if classifier is not None:
        try:
            check_variables(classifier, variables)
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)}: {error}") from None
    return variables


def read_tensors(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads every tensor of a file, whatever its names.

    Args:
        path: A safetensors file, or an `.npz` without pickled objects, whatever its
            suffix; or a `model.safetensors.index.json` with its parts beside it.

    Raises:
        FileNotFoundError: If the file, or a part of it, does not exist.
        ValueError: If the file is damaged, or a pickle, which may run any code, or no
            weights at all; it is said what it is.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder, wanted a .safetensors or .npz file")
    if path.name.endswith(INDEX):
        found: dict[str, np.ndarray] = {}
        for part in parts(path):
            found |= read_tensors(part)
        return found
    kind = file_kind(path)
    if kind == "pickle":
        output = path.with_suffix(".safetensors")
        if output == path:
            output = path.with_suffix(".converted.safetensors")
        raise ValueError(
            f"{path} is a pickle, which runs code when it is read; convert it once, "
            f"where torch is installed: jaxbench convert {path} {output}"
        )
    if kind == "safetensors":
        return _read_safetensors(path)
    if kind != "npz" and (problem := not_weights(path)):
        raise ValueError(problem)
    if kind == "npz" or path.suffix == ".npz":
        return _read_npz(path)
    raise ValueError(f"{path} is not a readable safetensors file, nor an .npz")


def parts(path: Path) -> list[Path]:
    """The files that hold the tensors: several of an index, else the file itself.

    Raises:
        FileNotFoundError: If a part is missing; all such are named.
        ValueError: If the index is damaged.
    """
    if not path.name.endswith(INDEX):
        return [path]
    try:
        listed = sorted(set(json.loads(path.read_text("utf-8"))["weight_map"].values()))
        if not listed or any(Path(name).name != name for name in listed):
            raise ValueError(f"parts {listed}, wanted names of files beside it")
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is not an index of weights in several files: {error}"
        ) from error
    missing = [name for name in listed if not (path.parent / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{path.name} in {path.parent} lists {len(listed)} files, of which "
            f"{', '.join(missing)} are missing; get them too"
        )
    return [path.parent / name for name in listed]


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)
    except Exception as error:  # zlib, zipfile, tokenize: damage has many names
        raise ValueError(
            f"{path} is not a readable .npz of plain arrays ({error})"
        ) from error


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    header, start = read_header(path)
    short = {name for name, row in header.items() if row["dtype"] == "BF16"}
    with _readable(path), safe_open(path, framework="numpy") as file:
        found = {name: file.get_tensor(name) for name in header if name not in short}
    # NumPy has no bfloat16, so safetensors reads none for it.
    data = np.memmap(path, np.uint8, "r", start) if short else np.empty(0, np.uint8)
    for name in short:
        first, last = header[name]["data_offsets"]
        values = data[first:last].view(jnp.bfloat16).astype(np.float32)
        found[name] = values.reshape(header[name]["shape"])
    return found


def load_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """Reads the text that was kept beside the variables.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is damaged or no safetensors file.
    """
    with _readable(path), safe_open(path, framework="numpy") as file:
        return dict(file.metadata() or {})


@contextmanager
def _readable(path: str | os.PathLike[str]) -> Iterator[None]:
    try:
        yield
    except SafetensorError as error:
        raise ValueError(
            f"{os.fspath(path)} is not a readable safetensors file ({error}); download "
            "it again, or write it again with save_variables"
        ) from error
