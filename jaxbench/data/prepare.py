"""Image folders and tars into TFDS datasets, without TensorFlow.

The result is what `tfds build` would leave: ArrayRecord shards and their description,
which both `tfds:NAME` here and `tfds.builder_from_directory(...).as_data_source(...)`
anywhere read. The files' own bytes are kept: nothing is decoded or encoded again.
"""

import contextlib
import io
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxbench.data.known.base import Item
from jaxbench.data.source import Source
from jaxbench.data.sources.folder import FolderSource, folder_splits
from jaxbench.data.sources.tfds import LABEL_SETS
from jaxbench.data.sources.tfds import data_dir as default_data_dir
from jaxbench.errors import UserError


@dataclass(frozen=True)
class PreparedDataset:
    """What `prepare_dataset` has written.

    Attributes:
        name: What `tfds:NAME` opens.
        path: The folder, `DATA_DIR/NAME/VERSION`.
        num_examples: Number of images of each split.
        class_names: The names that labels 0, 1, ... stand for.
    """

    name: str
    path: Path
    num_examples: dict[str, int]
    class_names: tuple[str, ...]


def prepare_dataset(
    source_path: str | Path,
    name: str,
    data_dir: str | Path | None = None,
    *,
    version: str = "1.0.0",
    only_split: str = "train",
    description: str = "",
) -> PreparedDataset:
    """Writes a folder or tar of images as a TFDS dataset in ArrayRecord files.

    Examples keep the folder's order and have the features `image` (the file's bytes),
    `label` and `file_name` (the path under the split). The dataset appears under its
    name only when it is whole and counted.

    Args:
        source_path: As after `folder:`; top-level folders train, val(idation) and test
            become splits.
        name: Lower-case letters, digits and "_", beginning with a letter.
        data_dir: Where TFDS datasets lie; `$TFDS_DATA_DIR` or `~/tensorflow_datasets`
            if not given.
        version: Of the dataset, MAJOR.MINOR.PATCH.
        only_split: What the one split of a folder without split folders is called.
        description: Kept with the dataset; where the images come from.

    Raises:
        UserError: If the folder is wrong (see `open_folder`), a name or version is
            malformed, or that version is already there.
        OSError: If the data directory cannot be written.
    """
    root = Path(data_dir) if data_dir is not None else default_data_dir()
    final = root / name / version
    problems = []
    if not re.fullmatch("[a-z][a-z0-9_]*", name):
        problems.append(
            f"the name is {name!r}, wanted lower-case letters, digits and _, "
            "beginning with a letter"
        )
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        problems.append(f"the version is {version!r}, wanted such as 1.0.0")
    if not re.fullmatch("[a-z][a-z0-9_]*", only_split) or only_split == "all":
        problems.append(f"only_split is {only_split!r}, wanted such as train or test")
    if final.exists():
        problems.append(f"{final} is already there; give another version or remove it")
    if problems:
        raise UserError(f"prepare_dataset: {'; '.join(problems)}")
    splits = folder_splits(str(source_path), f"folder:{source_path}")
    splits = {split or only_split: source for split, source in splits.items()}
    with own_folder(root) as temporary:
        _write(splits, name, version, description, temporary)
        written = temporary / name / version
        wanted = {s: (len(of), of[len(of) - 1].image) for s, of in splits.items()}
        num_examples = verify_tfds(written, wanted)
        final.parent.mkdir(exist_ok=True)
        os.rename(written, final)
    class_names = next(iter(splits.values())).class_names
    return PreparedDataset(name, final, num_examples, class_names)


@contextlib.contextmanager
def own_folder(root: Path) -> Iterator[Path]:
    """A folder beside the datasets that is gone at the end."""
    root.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".prepare-", dir=root))
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary)


def _write(
    splits: Mapping[str, FolderSource],
    name: str,
    version: str,
    description: str,
    data_dir: Path,
) -> None:
    class_names = next(iter(splits.values())).class_names
    description = description or f"Images of {', '.join(splits)}."
    rows = {split: _items(source) for split, source in splits.items()}
    write_tfds(rows, name, version, class_names, description, data_dir)


def _items(source: Source) -> Iterator[Item]:
    for i in range(len(source)):
        example = source[i]
        yield Item(example.id, example.image, example.label)


def write_tfds(
    splits: Mapping[str, Iterable[Item]],
    name: str,
    version: str,
    class_names: Sequence[str],
    description: str,
    data_dir: Path,
    *,
    label_sets: bool = False,
    metadata: Callable[[], dict[str, Any]] | None = None,
) -> None:
    """Writes images into ArrayRecord files, in the folder `DATA_DIR/NAME/VERSION`.

    Encoded images are written as they are; pixels as PNG, which loses nothing.

    Args:
        splits: Name to its images, which are asked for once, in their order.
        name: Of the dataset, in lower-case letters, digits and "_".
        version: MAJOR.MINOR.PATCH.
        class_names: The names that labels are positions in.
        description: Kept with the dataset.
        data_dir: Where to write.
        label_sets: Whether to write each image's `labels` too.
        metadata: Kept as `metadata.json`; called when all images are written.
    """
    # Here, not above: importing it takes a second.
    import tensorflow_datasets as tfds

    dataset_name = name
    features = {
        "image": tfds.features.Image(),
        "label": tfds.features.ClassLabel(names=list(class_names)),
        "file_name": tfds.features.Text(),
    }
    if label_sets:
        features[LABEL_SETS] = tfds.features.Sequence(np.int64)
    kept = tfds.core.MetadataDict()

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        """Yields the images of the splits, in order and undecoded."""

        name = dataset_name
        VERSION = tfds.core.Version(version)
        # TFDS looks beside the code for checksums of downloads. There are none, and the
        # lookup imports importlib_resources, which TFDS does not install.
        code_path: Any = None

        def _info(self) -> Any:
            return tfds.core.DatasetInfo(
                builder=self,
                description=description,
                features=tfds.features.FeaturesDict(features),
                disable_shuffling=True,
                metadata=kept if metadata else None,
            )

        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            return {s: self._generate_examples(items) for s, items in splits.items()}

        def _generate_examples(
            self, items: Iterable[Item]
        ) -> Iterator[tuple[str, dict[str, Any]]]:
            for item in items:
                example = {
                    "image": encoded(item.image),
                    "label": item.label,
                    "file_name": item.id,
                }
                if label_sets:
                    example[LABEL_SETS] = list(item.labels)
                yield item.id, example
            kept.update(metadata() if metadata else {})

    builder = Builder(data_dir=data_dir, file_format="array_record")
    # TFDS prints that it downloads, and where it writes: neither is true of the end.
    # Its progress bars go to stderr and stay.
    with contextlib.redirect_stdout(io.StringIO()):
        builder.download_and_prepare()


def encoded(image: bytes | np.ndarray) -> bytes:
    """The file itself, or pixels uint8 [h, w, 3] as PNG."""
    if isinstance(image, bytes):
        return image
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def verify_tfds(
    folder: Path, wanted: Mapping[str, tuple[int, bytes | np.ndarray]]
) -> dict[str, int]:
    """Counts what the files hold, and reads the last record of each split back.

    Args:
        folder: What `write_tfds` has written.
        wanted: Split to the number of its images, and the last of them.

    Returns:
        Number of images of each split.

    Raises:
        UserError: If the files hold something else.
    """
    import tensorflow_datasets as tfds
    from array_record.python.array_record_module import ArrayRecordReader

    builder: Any = tfds.builder_from_directory(folder)
    decoders = {"image": tfds.decode.SkipDecoding()}
    counts = {}
    for split, (count, last) in wanted.items():
        readers = [
            ArrayRecordReader(str(file))
            for file in sorted(folder.glob(f"*-{split}.array_record-*"))
        ]
        counts[split] = sum(reader.num_records() for reader in readers)
        for reader in readers:
            reader.close()
        records = builder.as_data_source(split=split, decoders=decoders)
        same = len(records) == counts[split] == count
        if not same or records[count - 1]["image"] != encoded(last):
            raise UserError(
                f"{folder}: {split} holds {counts[split]} records of {count} "
                "images, or other bytes; is the disk full? Prepare it again"
            )
    return counts
