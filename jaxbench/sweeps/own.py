"""A user's own classifier, named `module:attribute` where a zoo name may stand."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

from jaxbench.config import SubjectConfig
from jaxbench.errors import UserError, unknown_name
from model_zoo import Classifier


def is_own(name: str) -> bool:
    """Whether a name means a user's own classifier and not one of the zoo."""
    return ":" in name


def own_classifier(name: str) -> Classifier:
    """Imports a user's classifier.

    Args:
        name: `module:attribute`; the module is looked for in the working directory
            too. The attribute is what `classifier_from_function` returns.

    Raises:
        UserError: If there is no such module or attribute, or it is no classifier.
    """
    module_name, _, attribute = name.partition(":")
    module = import_own(module_name, f"model {name!r}", "module:attribute, with the")
    if not hasattr(module, attribute):
        known = [found for found in vars(module) if not found.startswith("_")]
        raise UserError(f"model {name!r}: {unknown_name('name', attribute, known)}")
    found = getattr(module, attribute)
    if not isinstance(found, Classifier):
        raise UserError(
            f"model {name!r} is a {type(found).__name__}, wanted a classifier: wrap "
            "apply(variables, images) in model_zoo.classifier_from_function"
        )
    return found


def check_own(entry: SubjectConfig) -> None:
    """Checks the table of a user's own classifier before anything is computed.

    Raises:
        UserError: If anything does not fit; all problems are listed.
    """
    own_classifier(entry.name)
    problems = []
    if not Path(entry.weights).is_file():
        problems.append(
            f"its weights cannot be {entry.weights!r}; give a .safetensors file"
        )
    given = (entry.image_size, entry.crop_fraction, entry.interpolation)
    if given != (None, None, None) or entry.dtype != "float32":
        problems.append(
            "its crop, filter, image size and dtype are set in its own module"
        )
    if problems:
        raise UserError(f"model {entry.name!r}: {'; '.join(problems)}")


def import_own(name: str, what: str = "imports", wanted: str = "a") -> ModuleType:
    """Imports a user's module, from the working directory or installed.

    Args:
        name: The module.
        what: What names it, for the message.
        wanted: What that was to be, for the message.

    Raises:
        UserError: If it cannot be imported.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"{what}: cannot import {name!r}: {error}; wanted {wanted} module in the "
            "working directory or installed"
        ) from error
