"""Official distributions in the small: the same folders, names and files, few images.

Each stand-in says what lies on disk and what has to come out of it.
"""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from jaxbench.data import open_dataset

TENCH, GOLDFISH, SHARK = "n01440764", "n01443537", "n01484850"


def picture(number: int, format: str = "JPEG", side: int = 16) -> bytes:
    """A digit, encoded."""
    pixels = Image.fromarray(open_dataset("digits@test")[number].image)
    file = io.BytesIO()
    pixels.resize((side, side)).save(file, format)
    return file.getvalue()


def pixels_of(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


@dataclass(frozen=True)
class StandIn:
    """A small distribution.

    Attributes:
        files: Path under the root to content.
        ids, labels: What is read from it, in order.
        contents: Images as they are read; by default those of `paths`.
        paths: Which files the images are.
        label_sets: All right labels, filled up with -1.
        config: Of the row.
        wrapper: Name of a folder around all that the official archive has.
    """

    files: Mapping[str, bytes]
    ids: tuple[str, ...]
    labels: tuple[int, ...]
    paths: tuple[str, ...] = ()
    label_sets: tuple[tuple[int, ...], ...] = ()
    config: str = ""
    wrapper: str = ""
    border: int = 0
    others: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def contents(self) -> list[bytes]:
        return [self.files[path] for path in self.paths]


# Three validation images whose labels are in the ground truth: 65, 1 and 0.
VALIDATION = {
    "ILSVRC2012_val_00000001.JPEG": ("n01751748", 65),
    "ILSVRC2012_val_00000236.JPEG": (GOLDFISH, 1),
    "ILSVRC2012_val_00000293.JPEG": (TENCH, 0),
}


def validation(*, folder: str, by_class: bool, suffix: str = ".JPEG", **more):
    files, paths = {}, []
    for number, (name, (wnid, _)) in enumerate(VALIDATION.items()):
        stored = name.replace(".JPEG", suffix)
        path = folder + (f"{wnid}/{stored}" if by_class else stored)
        files[path] = picture(number, "PNG" if suffix == ".png" else "JPEG")
        paths.append(path)
    return StandIn(
        files,
        tuple(VALIDATION),
        tuple(label for _, label in VALIDATION.values()),
        tuple(paths),
        **more,
    )


def with_labels(name: str, content: bytes, sets: Mapping[str, tuple[int, ...]]):
    """The validation images beside a file of labels; others are left out."""
    base = validation(folder="val/", by_class=False)
    kept = [i for i, id in enumerate(base.ids) if id in sets]
    return StandIn(
        {**base.files, name: content},
        tuple(base.ids[i] for i in kept),
        tuple(base.labels[i] for i in kept),
        tuple(base.paths[i] for i in kept),
        label_sets=tuple(sets[base.ids[i]] for i in kept),
    )


def real():
    lists: list[list[int]] = [[] for _ in range(50_000)]
    lists[0], lists[292] = [65, 60], [0]
    # The second image has no right label: it is left out.
    sets = {
        "ILSVRC2012_val_00000001.JPEG": (65, 60),
        "ILSVRC2012_val_00000293.JPEG": (0, -1),
    }
    return with_labels("real.json", json.dumps(lists).encode(), sets)


def annotators():
    given = {1: [65, 60] * 8, 236: [1] * 16, 293: [0, 0, 7, 9] * 4}
    lines = [
        ",".join([f"ILSVRC2012_val_{number:08}.JPEG", *map(str, labels)])
        for number, labels in given.items()
    ]
    names = list(VALIDATION)
    sets = {names[0]: (60, 65, -1), names[1]: (1, -1, -1), names[2]: (0, 7, 9)}
    return with_labels("labels/validation.csv", "\n".join(lines).encode(), sets)


def classes(names: Mapping[str, int], suffix: str, **more):
    """Two images of each class folder."""
    files = {
        f"{name}/{name}_{i}.{suffix}": picture(10 * n + i)
        for n, name in enumerate(names)
        for i in range(2)
    }
    labels = tuple(names[path.partition("/")[0]] for path in sorted(files))
    paths = tuple(sorted(files))
    return StandIn(files, paths, labels, paths, **more)


def objectnet():
    mappings = {
        "folder_to_objectnet_label.json": {
            "alarm_clock": "Alarm clock",
            "banana": "Banana",
            "air_freshener": "Air freshener",
        },
        "objectnet_to_imagenet_1k.json": {
            "Alarm clock": "analog clock; digital clock",
            "Banana": "banana",
        },
        # Label to the line of the words below.
        "pytorch_to_imagenet_2012_id.json": {"409": 2, "530": 0, "954": 1},
    }
    files = {f"mappings/{k}": json.dumps(v).encode() for k, v in mappings.items()}
    files["mappings/imagenet_to_label_2012_v2"] = b"digital clock\nbanana\nanalog clock"
    ids = ("alarm_clock/a.png", "alarm_clock/b.png", "banana/c.png")
    for number, id in enumerate((*ids, "air_freshener/d.png")):
        files[f"images/{id}"] = picture(number, "PNG")
    return StandIn(
        files,
        ids,
        (409, 409, 954),
        tuple(f"images/{id}" for id in ids),
        label_sets=((409, 530), (409, 530), (954, -1)),
        wrapper="objectnet-1.0",
        border=2,
    )


def cue_conflict():
    ids = ("airplane/airplane1-bear2.png", "bear/bear10-bear1.png", "cat/cat2-car3.png")
    files = {id: picture(n, "PNG") for n, id in enumerate(ids)}
    return StandIn(
        files, ids, (0, 1, 7), ids, wrapper="style-transfer-preprocessed-512"
    )


def hard():
    import pyarrow as pa
    from pyarrow import parquet

    files = {f"image{n}": picture(n) for n in range(3)}
    labels, encoded = [[5, 7], [9], [999]], list(files.values())
    tables = {}
    for part, rows in enumerate(([0, 1], [2])):
        table = pa.table(
            {
                "image": [{"bytes": encoded[i], "path": None} for i in rows],
                "label": [labels[i] for i in rows],
                "origin": ["imagenet_a" for _ in rows],
                "english_label": [["word"] for _ in rows],
            }
        )
        buffer = io.BytesIO()
        parquet.write_table(table, buffer)
        tables[f"data/validation-{part:05}-of-00002-ab12.parquet"] = buffer.getvalue()
    return StandIn(
        files,
        tuple(f"validation/{n:05}" for n in range(3)),
        (5, 9, 999),
        tuple(files),
        label_sets=((5, 7), (9, -1), (999, -1)),
        others=tables,
    )


STAND_INS: dict[str, Callable[[], StandIn]] = {
    "imagenet": lambda: validation(folder="", by_class=False),
    "imagenet-real": real,
    "imagenet-pi": annotators,
    "imagenet-c": lambda: validation(
        folder="gaussian_noise/3/", by_class=True, config="gaussian_noise_3"
    ),
    "stylized-imagenet": lambda: validation(
        folder="val/", by_class=True, suffix=".png"
    ),
    "imagenet-v2": lambda: classes(
        # 10 comes before 2 as text.
        {"2": 2, "10": 10, "0": 0},
        "jpeg",
        config="matched-frequency",
        wrapper="imagenetv2-matched-frequency-format-val",
    ),
    "imagenet-a": lambda: classes(
        {"n01498041": 6, "n01531178": 11}, "jpg", wrapper="imagenet-a"
    ),
    "imagenet-o": lambda: classes(
        {GOLDFISH: -1, "n01704323": -1}, "JPEG", wrapper="imagenet-o"
    ),
    "imagenet-r": lambda: classes({GOLDFISH: 1, SHARK: 2}, "jpg", wrapper="imagenet-r"),
    "imagenet-sketch": lambda: classes(
        {TENCH: 0, "n15075141": 999}, "JPEG", wrapper="sketch"
    ),
    "imagenet-hard": hard,
    "cue-conflict": cue_conflict,
    "objectnet": objectnet,
}
