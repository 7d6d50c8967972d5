"""Class names and the sentences that they are put into."""

import functools
import hashlib
import os
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

# Names of the data files beside this one.
BUILT_IN = ("imagenet",)


@dataclass(frozen=True)
class Prompts:
    """What the classes of a zero-shot classifier are called.

    Attributes:
        class_names: One a class, in the order of the labels.
        templates: Sentences with one `{}` each, for the name.

    Raises:
        ValueError: If there are none of either, or a template has not one `{}`.
    """

    class_names: tuple[str, ...]
    templates: tuple[str, ...]

    def __post_init__(self) -> None:
        problems = []
        if not self.class_names:
            problems.append("no class names")
        if empty := sum(not name.strip() for name in self.class_names):
            problems.append(f"{empty} class names are empty")
        if not self.templates:
            problems.append("no templates")
        wrong = [text for text in self.templates if text.count("{}") != 1]
        if wrong:
            problems.append(f"templates without exactly one {{}}: {wrong}")
        if problems:
            raise ValueError(f"prompts: {'; '.join(problems)}")

    @property
    def texts(self) -> tuple[str, ...]:
        """Every template with every name: all templates of the first class first."""
        return tuple(
            template.replace("{}", name)
            for name in self.class_names
            for template in self.templates
        )

    @property
    def digest(self) -> str:
        """Tells prompts apart: a digest of names and templates."""
        held = repr((self.class_names, self.templates))
        return hashlib.blake2b(held.encode(), digest_size=16).hexdigest()


def load_prompts(source: str | os.PathLike[str]) -> Prompts:
    """Reads prompts.

    Args:
        source: "imagenet" for the 1000 names and 80 templates of CLIP's authors; or a
            `.toml` file with `class_names` and, if others than these 80 are wanted,
            `templates`; or a text file of class names, one a line, for the 80.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it does not hold prompts.
    """
    if source in BUILT_IN:
        return _built_in(str(source))
    path = Path(source)
    if not path.is_file():
        raise FileNotFoundError(
            f"no prompts at {path}; give {' or '.join(map(repr, BUILT_IN))}, a .toml "
            "file with class_names and templates, or a text file of class names, one "
            "a line"
        )
    try:
        text = path.read_text("utf-8-sig")
        return _from_toml(text) if path.suffix == ".toml" else _from_lines(text)
    except ValueError as error:  # also undecodable text and wrong TOML
        raise ValueError(f"{path}: {error}") from error


@functools.cache
def _built_in(name: str) -> Prompts:
    return _from_toml(
        (files("model_zoo.clip") / "data" / f"{name}.toml").read_text("utf-8")
    )


def _from_toml(text: str) -> Prompts:
    held = tomllib.loads(text)
    problems = []
    if unknown := sorted(held.keys() - {"class_names", "templates"}):
        problems.append(f"unknown keys {', '.join(unknown)}")
    if "class_names" not in held:
        problems.append("class_names is missing")
    for key, value in held.items():
        texts = isinstance(value, list) and all(isinstance(v, str) for v in value)
        if key not in unknown and not texts:
            problems.append(f"{key} is not a list of strings")
    if problems:
        raise ValueError(
            f"prompts: {'; '.join(problems)}; wanted class_names and templates"
        )
    templates = held.get("templates")
    if templates is None:
        templates = _built_in("imagenet").templates
    return Prompts(tuple(held["class_names"]), tuple(templates))


def _from_lines(text: str) -> Prompts:
    names = tuple(line.strip() for line in text.splitlines() if line.strip())
    return Prompts(names, _built_in("imagenet").templates)
