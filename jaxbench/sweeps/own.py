"""A user's own classifier, named `module:attribute` where a zoo name may stand."""

import importlib
import sys
from pathlib import Path

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
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise UserError(
            f"model {name!r}: cannot import {module_name!r}: {error}; wanted "
            "module:attribute, with the module in the working directory or installed"
        ) from error
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
