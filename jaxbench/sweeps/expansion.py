"""The names of the zoo that a table's pattern means, given where its weights are."""

from collections.abc import Iterable
from pathlib import Path

from jaxbench.config import PRETRAINED, SubjectConfig
from jaxbench.errors import UserError, unknown_name
from model_zoo import list_models, list_pretrained


def expand_subject(entry: SubjectConfig) -> tuple[str, ...]:
    """Names of the zoo that a pattern means, given where the weights come from.

    Raises:
        UserError: If models are missing, or the weights do not fit.
    """
    pattern, weights = entry.name, entry.weights
    if is_random(weights):
        _check_seed(weights)
    elif weights != PRETRAINED and not Path(weights).exists():
        raise UserError(
            f"no weights at {weights!r}; give a .safetensors file, a folder of them, "
            f"{PRETRAINED!r} for those on the hub, or random:SEED for an untrained "
            "network"
        )
    elif Path(weights).is_dir():
        return _names_in_folder(weights, pattern)
    elif weights == PRETRAINED and any(mark in pattern for mark in "*?["):
        names = list_models(pattern, pretrained=True)
        if not names:
            raise UserError(
                unknown_name("model", pattern, list_models(pretrained=True))
            )
        return names
    names = list_models(pattern)
    if weights != PRETRAINED and not is_random(weights):
        if len(names) > 1:
            raise UserError(
                f"{pattern!r} means {len(names)} models, and {weights} is one file; "
                "name the model, or give a folder of weights"
            )
        if not names and list_models(pattern.partition(".")[0]):
            return (pattern,)  # an own tag: the file says what it is
    if not names:
        raise UserError(unknown_name("model", pattern, list_models()))
    return names


def expand_models(patterns: Iterable[str]) -> tuple[str, ...]:
    """Names of the zoo that patterns mean, without repeats."""
    found = (
        name for pattern in patterns for name in list_models(pattern, pretrained=False)
    )
    return tuple(dict.fromkeys(found))


def model_problems(patterns: Iterable[str]) -> list[str]:
    """Patterns that mean no model of the zoo."""
    return [
        unknown_name("model", pattern, list_models())
        for pattern in patterns
        if not list_models(pattern, pretrained=False)
    ]


def _names_in_folder(weights: str, pattern: str) -> tuple[str, ...]:
    held = list_pretrained(weights)
    names = tuple(list_pretrained(weights, pattern))
    if not names and not held and pattern in list_models():
        return (pattern,)  # the folder is one model's own
    if not names:
        raise UserError(f"{weights}: {unknown_name('weights', pattern, held)}")
    return names


def source_of(weights: str) -> str | None:
    """Where the zoo looks for weights; None for the hub."""
    return None if weights == PRETRAINED else weights


def is_random(weights: str) -> bool:
    """Whether a table asks for an untrained network."""
    return weights.startswith("random:")


def _check_seed(weights: str) -> None:
    seed = weights.removeprefix("random:")
    if not seed.isdecimal() or int(seed) >= 2**32:
        raise UserError(f"weights {weights!r}: wanted random:SEED, such as random:0")
