"""Weights in a folder: timm's layout, plain files, and the hub's cache."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from model_zoo.input_spec import InputSpec

SUFFIXES = (".safetensors", ".npz")
# timm's keys of the size and crop of published results -> those they stand for.
_TEST_KEYS = {"test_input_size": "input_size", "test_crop_pct": "crop_pct"}
_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "open_clip_model.safetensors",
    "model.npz",
)


def locate(source: Path, name: str, repository: str = "") -> Path:
    """The file that a name means in a source.

    Args:
        source: A file, or a folder of weights.
        name: Of a checkpoint or an architecture.
        repository: Where the hub keeps it; several names may share a repository.

    Raises:
        FileNotFoundError: If there is none; what the folder holds is listed.
    """
    if source.is_file():
        return source
    if not source.exists():
        raise FileNotFoundError(
            f"no weights at {source}; give a .safetensors or .npz file, or a folder "
            "with NAME/model.safetensors or NAME.safetensors in it"
        )
    found = search(source)
    if name in found:
        return found[name]
    if repository:
        cached = source / f"models--{repository.replace('/', '--')}"
        shared = _weights_file(_snapshot(cached))
        if shared is not None:
            return shared
    direct = _weights_file(source)
    if direct is not None:
        return direct
    tagged = [known for known in found if known.partition(".")[0] == name]
    if len(tagged) == 1:
        return found[tagged[0]]
    held = ", ".join(tagged or sorted(found)[:20]) or "none at all"
    raise FileNotFoundError(
        f"no weights of {name!r} in {source}; it holds {held}; wanted "
        f"{name}/model.safetensors or {name}.safetensors"
    )


def stored_name(source: Path, path: Path, name: str) -> str:
    """The name with the tag that the weights are stored under, if they have one."""
    if "." in name:
        return name
    if source.is_dir():
        names = [stored for stored, file in search(source).items() if file == path]
    else:
        names = [path.stem, path.parent.name]
    tagged = (s for s in names if "." in s and s.partition(".")[0] == name)
    return next(tagged, name)


def search(folder: Path) -> dict[str, Path]:
    """Every file of weights in a folder by the name it is stored under.

    Raises:
        FileNotFoundError: If the folder does not exist.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder of weights at {folder}")
    homes: dict[str, Path | None] = {}
    cached: dict[str, Path | None] = {}
    plain: dict[str, dict[str, Path]] = {suffix: {} for suffix in SUFFIXES}
    for entry in sorted(folder.iterdir()):
        if entry.is_file() and entry.suffix in SUFFIXES:
            plain[entry.suffix][entry.stem] = entry
        elif entry.name.startswith("models--"):
            cached[entry.name.split("--")[-1]] = _weights_file(_snapshot(entry))
        elif entry.is_dir():
            homes[entry.name] = _weights_file(entry)
    found: dict[str, Path] = {}
    # What comes later goes before.
    for kind in (cached, *reversed(plain.values()), homes):
        found |= {name: path for name, path in kind.items() if path is not None}
    return dict(sorted(found.items()))


def _snapshot(repository: Path) -> Path:
    """The revision that a repository of the hub's cache stands at."""
    reference = repository / "refs" / "main"
    if reference.is_file():
        return repository / "snapshots" / reference.read_text().strip()
    revisions = sorted((repository / "snapshots").glob("*"))
    return revisions[-1] if revisions else repository


def _weights_file(home: Path) -> Path | None:
    return next((home / name for name in _FILES if (home / name).is_file()), None)


def read_config(path: Path) -> dict[str, Any] | None:
    """The config.json beside a file of weights; None where there is none.

    Raises:
        ValueError: If it is not JSON object.
    """
    beside = path.parent / "config.json"
    if path.name not in _FILES or not beside.is_file():
        return None
    try:
        config = json.loads(beside.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{beside} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{beside} holds {type(config).__name__}, wanted an object")
    return config


def check_architecture(
    config: dict[str, Any], architecture: str, path: Path | None
) -> None:
    """Raises ValueError if the configuration is another architecture's."""
    stored = str(config.get("architecture", architecture)).partition(".")[0]
    if stored != architecture:
        raise ValueError(
            f"{path} holds weights of {stored} (its config.json says so), not of "
            f"{architecture}; name {stored}, or move the file to where its name is"
        )


def configured_arguments(config: dict[str, Any], path: Path | None) -> dict[str, Any]:
    """The keywords that timm builds the network with beside the architecture's own.

    Raises:
        ValueError: If they are not objects; the file is named.
    """
    stored = config.get("model_args") or {}
    if not isinstance(stored, dict):
        raise ValueError(
            f"the config.json beside {path} says model_args {stored!r}, wanted an "
            "object of keywords"
        )
    return stored


def configured_spec(
    config: dict[str, Any],
    default: InputSpec,
    path: Path | None,
    *,
    testing: bool = False,
) -> InputSpec:
    """The input that timm's configuration says, `default` where it is silent.

    The network is built at `model_args.img_size`, as timm does, unless its image size
    is dynamic.

    Args:
        config: The configuration.
        default: What to take where it is silent.
        path: The weights, for messages.
        testing: Whether the size and crop of published results are wanted, where the
            configuration has any.

    Raises:
        ValueError: If it says what no input can be; the file is named.
    """
    try:
        # Beside a pretrained_cfg timm reads classes, labels and model_args alone.
        given = config.get("pretrained_cfg") or config
        stored = {key: value for key, value in given.items() if value is not None}
        built = _built_size(configured_arguments(config, path))
        if testing:
            built = None if "test_input_size" in stored else built
            for test, plain in _TEST_KEYS.items():
                stored[plain] = stored.get(test, stored.get(plain))
            stored = {key: value for key, value in stored.items() if value is not None}
        channels, *size = stored.get("input_size", (3, *default.size))
        if channels != 3:
            raise ValueError(f"images of {channels} channels, wanted 3")
        return InputSpec(
            size=built or tuple(size),
            crop_fraction=float(stored.get("crop_pct", default.crop_fraction)),
            crop_mode=stored.get("crop_mode") or default.crop_mode,
            interpolation=stored.get("interpolation", default.interpolation),
            mean=_three(stored.get("mean", default.mean)),
            std=_three(stored.get("std", default.std)),
        )
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the config.json beside {path} says no input: {error}; correct it, or "
            "move it away to use the registry's"
        ) from error


def _three(values: Iterable[Any]) -> tuple[float, float, float]:
    red, green, blue = map(float, values)
    return red, green, blue


def _built_size(model_args: dict[str, Any]) -> tuple[int, int] | None:
    """The size that timm builds the network at; None where the input's decides."""
    size = model_args.get("img_size")
    dynamic = model_args.get("dynamic_img_size")
    if size is None or dynamic or model_args.get("strict_img_size") is False:
        return None
    return (size, size) if isinstance(size, int) else tuple(size)


def configured_classes(
    config: dict[str, Any], default: int | None, path: Path | None
) -> int | None:
    """The number of classes that timm's configuration says, or the default.

    Raises:
        ValueError: If it is not a whole number, or two differ; the file is named.
    """
    within = (config.get("pretrained_cfg") or {}).get("num_classes")
    count = config.get("num_classes", within)
    built = configured_arguments(config, path).get("num_classes")
    for number in (count, built):
        if number is not None and (type(number) is not int or number < 0):
            raise ValueError(
                f"the config.json beside {path} says num_classes {number!r}, wanted a "
                "whole number"
            )
    if None not in (count, built) and count != built:
        raise ValueError(
            f"the config.json beside {path} says num_classes {count}, and {built} in "
            "its model_args; correct the one that the head's tensors do not have"
        )
    return next((n for n in (count, built, default) if n is not None), None)


def configured_labels(
    config: dict[str, Any], path: Path | None
) -> tuple[tuple[str, ...] | None, dict[str, str]]:
    """The names of the classes that timm's configuration says, and what describes them.

    `label_names` is a list in the order of the logits, or an object whose keys are
    their numbers; `label_descriptions` says more of each name.

    Returns:
        The names, None where there are none; and descriptions by name.

    Raises:
        ValueError: If they are something else, a number is left out, or a name comes
            twice; the file is named.
    """
    merged = {**config, **(config.get("pretrained_cfg") or {})}
    stored = merged.get("label_names") or merged.get("labels")
    described = merged.get("label_descriptions") or {}
    if not stored:
        return None, {}
    names: Any = stored
    if isinstance(stored, dict):
        numbered = {str(number): name for number, name in stored.items()}
        names = [numbered.get(str(number)) for number in range(len(numbered))]
    if (
        not isinstance(names, list)
        or not all(isinstance(name, str) for name in names)
        or len(set(names)) < len(names)
        or not isinstance(described, dict)
    ):
        raise ValueError(
            f"the config.json beside {path} has label_names that name no classes; "
            "wanted a list of different names in the order of the logits, or an object "
            "with the keys 0, 1, ...; label_descriptions an object by name"
        )
    return tuple(names), {str(k): str(v) for k, v in described.items()}
