"""Features of a frozen backbone: one pass a dataset, kept for whoever asks again."""

import dataclasses
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int

from jaxbench.data.source import digest, label_misfit
from jaxbench.engine import make_data_mesh
from jaxbench.engine.feed import Dataset
from jaxbench.engine.passes import OnError, PassRequest, Progress, run_pass
from jaxbench.errors import UserError
from jaxbench.files import written_whole
from model_zoo import Classifier, InputSpec, Outputs, classifier_from_function

# A change that moves features raises it, and stored ones are made again.
_VERSION = 2


@dataclasses.dataclass(frozen=True, eq=False)
class Features:
    """What a backbone makes of a dataset.

    Attributes:
        values: float32 [n, width], the classifier's penultimate features.
        labels: int32 [n].
        ids: Names of the examples, strings [n].
        num_skipped: Unreadable images that were left out.
        seconds: What the pass took; 0 where features were kept.
    """

    values: Float[np.ndarray, "n w"]
    labels: Int[np.ndarray, " n"]
    ids: np.ndarray
    num_skipped: int = 0
    seconds: float = 0.0

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self, indices: Int[np.ndarray, " m"]) -> "Features":
        """The same of some examples."""
        return Features(self.values[indices], self.labels[indices], self.ids[indices])


@dataclasses.dataclass(frozen=True)
class _Backbone:
    """A classifier's features, and one logit that is finite if all of them are."""

    # Equal for equal classifiers, so that compiled programs are found again.
    classifier: Classifier

    def __call__(self, variables, images) -> Outputs:
        features = self.classifier.apply(variables, images).features
        if features is None:
            raise ValueError(
                f"{self.classifier.name} gives no features; return Outputs(logits, "
                "features) from its apply function"
            )
        return Outputs(0 * jnp.sum(features, axis=1, keepdims=True), features)


def extract_features(
    model: Classifier,
    variables: Mapping[str, jax.Array | np.ndarray],
    dataset: Dataset,
    *,
    batch_size: int = 256,
    mesh: Mesh | None = None,
    on_error: OnError = "raise",
    progress: Progress | None = None,
    num_threads: int | None = None,
) -> Features:
    """Runs a backbone over a dataset in evaluation mode and keeps its features.

    The classifier's head is not looked at: it may have any number of classes, or none
    (`num_classes=0`). Labels are taken as they are.

    Args:
        model: A classifier that gives features.
        variables: Its flat weights.
        dataset: A source, or images in memory of the model's input size.
        batch_size: Rows of a step; halved, with a warning, when memory runs out.
        mesh: Devices to use; all of them when None.
        on_error: "raise" ends the pass at an unreadable image and names it; "skip"
            leaves it out and counts it.
        progress: Called with (images done, images in all).
        num_threads: That decode the images of a source; one a usable core when None.

    Returns:
        Features in the dataset's order.

    Raises:
        UserError: If the dataset is empty, its labels are not [N], an image cannot be
            read, or features are not finite.
        ValueError: If the model gives no features.
    """
    name = getattr(dataset, "name", "the dataset")
    if misfit := label_misfit(np.asarray(dataset.labels)):
        raise UserError(f"{name}: {misfit}")
    if not len(dataset.labels):
        raise UserError(f"{name} has no examples; check its path and split")
    backbone = classifier_from_function(
        _Backbone(model), name=model.name, num_classes=1, input_spec=model.input_spec
    )
    request = PassRequest(
        backbone,
        variables,
        mesh or make_data_mesh(),
        on_error=on_error,
        keep_features=True,
        progress=progress,
        num_threads=num_threads,
    )
    found = run_pass(request, dataset, batch_size)
    assert found.features is not None
    broken = int((~found.columns["finite"]).sum())
    if broken:
        raise UserError(
            f"{model.name}: {broken} of {len(found.features)} images have features "
            "that are NaN or infinite; check the weights, or take dtype float32"
        )
    return Features(
        np.asarray(found.features, np.float32),
        np.asarray(found.columns["label"], np.int32),
        np.asarray(found.columns["id"]).astype(str),
        found.num_skipped,
        found.timing.run_seconds + found.timing.compile_seconds,
    )


def features_key(
    model: str,
    weights: str,
    dataset: str,
    spec: InputSpec,
    *,
    dtype: str = "float32",
    on_error: str = "raise",
) -> str:
    """A digest of everything that decides features.

    Args:
        model: The classifier's name.
        weights: `jaxbench.engine.weights_digest` of its variables.
        dataset: The source's fingerprint.
        spec: The model's input.
        dtype: What activations are computed in.
        on_error: What an unreadable image did.
    """
    values = [repr(value) for value in dataclasses.astuple(spec)]
    return digest([str(_VERSION), model, weights, dataset, dtype, on_error, *values])


class FeatureCache:
    """Features by key: in memory up to a size, and in a folder where there is one.

    A reader finds a file whole or not at all; one that is not what was written is made
    again.

    Args:
        folder: Where `KEY.npy` (values) and `KEY.npz` (labels and ids) lie; None for
            features in memory alone.
        max_bytes: What features in memory may take together. The newest always stay.
    """

    def __init__(
        self, folder: str | Path | None = None, *, max_bytes: int = 2 * 2**30
    ) -> None:
        self.folder = None if folder is None else Path(folder)
        self.max_bytes = max_bytes
        self._held: OrderedDict[str, Features] = OrderedDict()

    def get(
        self, key: str, make: Callable[[], Features], *, keep: bool = True
    ) -> Features:
        """Features that are kept, or made now.

        Args:
            key: As `features_key` gives it.
            make: Computes them.
            keep: Whether the folder, if there is one, is looked into and written to.
        """
        folder = self.folder if keep else None
        found = self._held.get(key)
        if found is None and folder is not None:
            found = _read(folder, key)
        if found is None:
            found = make()
            if folder is not None:
                _write(folder, key, found)
        self._held[key] = dataclasses.replace(found, seconds=0.0)
        self._held.move_to_end(key)
        while len(self._held) > 1 and self._bytes() > self.max_bytes:
            self._held.popitem(last=False)
        return found

    def _bytes(self) -> int:
        return sum(held.values.nbytes for held in self._held.values())


def _read(folder: Path, key: str) -> Features | None:
    try:
        values = np.load(folder / f"{key}.npy", mmap_mode="r")
        # A file of our own: of a damaged one np.load would leave its own open.
        with (folder / f"{key}.npz").open("rb") as file, np.load(file) as beside:
            labels, ids = beside["labels"], beside["ids"]
            skipped = int(beside["num_skipped"])
            checksum = int(beside["checksum"])
    except Exception:  # zlib, zipfile, tokenize: damage has many names
        return None
    if values.ndim != 2 or not len(values) == len(labels) == len(ids):
        return None
    if _checksum(values) != checksum:
        return None
    return Features(values, labels, ids, skipped)


def _write(folder: Path, key: str, features: Features) -> None:
    beside = {
        "labels": features.labels,
        "ids": features.ids,
        "num_skipped": np.asarray(features.num_skipped),
        "checksum": np.asarray(_checksum(features.values)),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Values last: they are what says that all is there.
        with written_whole(folder / f"{key}.npz") as path, path.open("xb") as file:
            np.savez(file, allow_pickle=False, **beside)
        with written_whole(folder / f"{key}.npy") as path, path.open("xb") as file:
            np.save(file, features.values)
    except OSError as error:
        raise UserError(
            f"features cannot be written to {folder}: {error.strerror or error}; make "
            "room there, or do not keep features"
        ) from error


def _checksum(values: np.ndarray) -> int:
    about = f"{values.shape} {values.dtype}"
    return zlib.crc32(np.ascontiguousarray(values).data, zlib.crc32(about.encode()))
