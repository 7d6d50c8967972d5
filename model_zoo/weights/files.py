"""Variables in safetensors files: https://github.com/huggingface/safetensors."""

import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import jax
import numpy as np
from jax import Array
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from model_zoo.classifier import Classifier, Variables, check_variables

# What torch.save writes is a pickle under any of these names.
PICKLES = frozenset({".bin", ".ckpt", ".pkl", ".pt", ".pth", ".tar"})


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
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged or no safetensors file, or does not hold
            the classifier's variables; every difference is named.
    """
    with _readable(path):
        variables: Variables = {**load_file(path)}
    if classifier is not None:
        try:
            check_variables(classifier, variables)
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)}: {error}") from None
    return variables


def read_tensors(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads every tensor of a file, whatever its names.

    Args:
        path: A `.safetensors` file, or an `.npz` without pickled objects.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, or a pickle, which may run any code.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder, wanted a .safetensors or .npz file")
    if path.suffix == ".npz":
        try:
            with np.load(path, allow_pickle=False) as archive:
                return dict(archive)
        except FileNotFoundError:
            raise
        except Exception as error:  # zlib, zipfile, tokenize: damage has many names
            raise ValueError(
                f"{path} is no readable .npz of plain arrays ({error})"
            ) from error
    if path.suffix in PICKLES:
        raise ValueError(
            f"{path} is a pickle, which runs code when it is read; convert it once, "
            f"where torch is installed: jaxbench convert {path} "
            f"{path.with_suffix('.safetensors')}"
        )
    with _readable(path):
        return load_file(path)


def load_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """Reads the text that was kept beside the variables.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged or no safetensors file.
    """
    with _readable(path), safe_open(path, framework="numpy") as file:
        return dict(file.metadata() or {})


@contextmanager
def _readable(path: str | os.PathLike[str]) -> Iterator[None]:
    try:
        yield
    except (SafetensorError, AttributeError) as error:  # NumPy lacks some dtypes
        raise ValueError(
            f"{os.fspath(path)} is no readable safetensors file ({error}); download "
            "it again, or write it again with save_variables"
        ) from error
