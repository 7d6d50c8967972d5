"""The weights of trials in a results folder, read only if they are the trial's."""

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jax import Array

from jaxbench.engine import weights_digest
from jaxbench.errors import UserError
from jaxbench.files import move_aside
from jaxbench.results import ResultStore
from model_zoo import Variables, load_variables, save_variables
from model_zoo.weights.files import load_metadata


def weights_path(results: Path, trial_id: str) -> Path:
    """The file that a trial's weights are in."""
    return results / "weights" / f"{trial_id}.safetensors"


def save_weights(
    results: Path,
    trial_id: str,
    model: str,
    variables: Mapping[str, np.ndarray | Array],
) -> str:
    """Writes a trial's weights and returns their digest."""
    path, digest = weights_path(results, trial_id), weights_digest(variables)
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"model": model, "trial_id": trial_id, "weights_digest": digest}
    save_variables(path, variables, about)
    return digest


def read_weights(results: Path, trial_id: str, digest: str | None) -> Variables:
    """Reads a trial's weights and compares them with the digest in its row.

    Weights that were lost and trained again on another machine are not the row's to
    the bit. They are the trial's where the file says so and holds the digest of what is
    in it.

    Args:
        results: The results folder.
        trial_id: The trial.
        digest: The `weights_digest` of its row.

    Raises:
        UserError: If the file is missing or damaged, or holds other weights.
    """
    path = weights_path(results, trial_id)
    if not path.is_file():
        raise UserError(
            f"the weights of trial {trial_id} are gone ({path}); run its experiment "
            "again with one more dataset to evaluate on, which trains it anew"
        )
    try:
        variables = load_variables(path)
        about = load_metadata(path)
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error
    found = weights_digest(variables)
    trained_again = (about.get("trial_id"), about.get("weights_digest"))
    if found != digest and trained_again != (trial_id, found):
        raise UserError(
            f"{path} does not hold the weights of trial {trial_id}: their digest is "
            f"{found}, that of the trial {digest}; delete it and run the same command "
            "again, which trains the trial anew where its weights are needed"
        )
    return variables


def has_weights(store: ResultStore, trial_id: str) -> bool:
    """Whether a finished trial's weights are there; a bad file is moved aside."""
    path = weights_path(store.path, trial_id)
    if not path.is_file():
        return False
    digest = row_digest(store, trial_id)
    try:
        read_weights(store.path, trial_id, digest)
    except UserError as error:
        aside = move_aside(path)
        warnings.warn(
            f"{error}; it was moved to {aside.name}", RuntimeWarning, stacklevel=2
        )
        return False
    return True


def trained_weights(store: ResultStore, trial_id: str) -> Variables:
    """Reads a finished trial's weights; raises what `read_weights` raises."""
    return read_weights(store.path, trial_id, row_digest(store, trial_id))


def row_digest(store: ResultStore, trial_id: str) -> str | None:
    """The `weights_digest` of a finished trial's row."""
    return store.read(trial_id).provenance.get("weights_digest")


def warn_if_other(store: ResultStore, trial_id: str, digest: str) -> None:
    """Says so if a trial that was trained again has other weights than before."""
    if digest != row_digest(store, trial_id):
        warnings.warn(
            f"trial {trial_id} was trained again and has other weights than its row "
            "describes, as on another machine or with another version; "
            "`weights_digest` of its evaluations says which they used",
            RuntimeWarning,
            stacklevel=2,
        )
