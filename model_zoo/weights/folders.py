"""Weights in a folder: timm's layout, plain files, and the hub's cache."""

import json
from pathlib import Path
from typing import Any

from model_zoo.input_spec import InputSpec

SUFFIXES = (".safetensors", ".npz")
_FILES = ("model.safetensors", "open_clip_model.safetensors", "model.npz")


def locate(source: Path, name: str) -> Path:
    """The file that a name means in a source.

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


def search(folder: Path) -> dict[str, Path]:
    """Every file of weights in a folder by the name it is stored under.

    Raises:
        FileNotFoundError: If there is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder of weights at {folder}")
    found: dict[str, Path] = {}
    for entry in sorted(folder.iterdir()):
        if entry.is_file() and entry.suffix in SUFFIXES:
            found.setdefault(entry.stem, entry)
        elif entry.is_dir():
            name, home = entry.name, entry
            if name.startswith("models--"):
                name, home = name.split("--")[-1], _snapshot(entry)
            path = _weights_file(home)
            if path is not None:
                found[name] = path
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
        ValueError: If it is no JSON object.
    """
    beside = path.parent / "config.json"
    if path.name not in _FILES or not beside.is_file():
        return None
    try:
        config = json.loads(beside.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{beside} is no JSON: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{beside} holds {type(config).__name__}, wanted an object")
    return config


def check_architecture(
    config: dict[str, Any], architecture: str, path: Path | None
) -> None:
    """Raises ValueError if the configuration is another architecture's."""
    stored = config.get("architecture", architecture)
    if stored != architecture:
        raise ValueError(
            f"{path} holds weights of {stored} (its config.json says so), not of "
            f"{architecture}; name {stored}, or move the file to where its name is"
        )


def configured_spec(config: dict[str, Any], default: InputSpec) -> InputSpec:
    """The input that timm's configuration says, `default` where it is silent."""
    stored = {**config, **config.get("pretrained_cfg", {})}
    values = {
        "size": tuple(stored.get("input_size", (3, *default.size))[1:]),
        "crop_fraction": stored.get("crop_pct", default.crop_fraction),
        "crop_mode": stored.get("crop_mode") or default.crop_mode,
        "interpolation": stored.get("interpolation", default.interpolation),
        "mean": tuple(stored.get("mean", default.mean)),
        "std": tuple(stored.get("std", default.std)),
    }
    return InputSpec(**values)
