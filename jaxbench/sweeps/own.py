"""A user's own parts in an experiment, such as a classifier `module:attribute`."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxbench.config import ExperimentConfig, SubjectConfig
from jaxbench.errors import UserError
from jaxbench.metrics import SCORE_METRICS, register_metric
from jaxbench.own import import_own, own_attribute, source_digest
from jaxbench.training import OPTIMIZERS, register_optimizer
from model_zoo import Classifier, registry
from model_zoo.own import OwnEntry


def is_own(name: str) -> bool:
    """Whether a name means a user's own classifier and not one of the zoo."""
    return ":" in name


def own_classifier(name: str) -> Classifier:
    """Imports a user's classifier.

    Args:
        name: `module:attribute`; the module is looked for in the working directory
            too. The attribute is what `classifier_from_function` returns.

    Raises:
        UserError: If the module or attribute is missing, or it is not a classifier.
    """
    found = own_attribute(name, "model")
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


def find_parts(config: ExperimentConfig) -> Iterator[str]:
    """Imports a user's modules, and registers the parts named `module:attribute`.

    Yields:
        What cannot be imported or registered.
    """
    optimizers = [name for train in config.train for name in train.grid]
    optimizers += [table.optimizer for table in config.pretrain]
    steps: list[tuple[Any, ...]] = [(import_own, name) for name in config.imports]
    steps += [(OPTIMIZERS.find, name, register_optimizer) for name in optimizers]
    names = config.evaluate.metrics or ()
    steps += [(SCORE_METRICS.find, name, register_metric) for name in names]
    for function, *arguments in steps:
        try:
            function(*arguments)
        except UserError as error:
            yield str(error)


def trained_parts(model: str, optimizer: str) -> dict[str, dict[str, str]]:
    """Digests of the sources of a user's own backbone and optimizer, for run ids."""
    found = {f"optimizer {n}": d for n, d in OPTIMIZERS.digests([optimizer]).items()}
    entry = registry.architectures().get(model)
    if isinstance(entry, OwnEntry):
        found[f"model {model}"] = source_digest(entry.build().make)
    return {"own_parts": found} if found else {}


def own_options(optimizer: str, options: Mapping[str, float]) -> dict[str, str]:
    """Options of a user's own optimizer as one column: their names are not known."""
    text = ", ".join(f"{name}={value:g}" for name, value in sorted(options.items()))
    return {"own_options": text} if text and optimizer in OPTIMIZERS.own else {}


def measured_parts(metrics: Sequence[str] | None) -> dict[str, dict[str, str]]:
    """Digests of the sources of a user's own metrics; None measures all of them."""
    found = SCORE_METRICS.digests(SCORE_METRICS if metrics is None else metrics)
    return {"own_metrics": found} if found else {}
