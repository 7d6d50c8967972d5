"""Which class each output of a model means, and so which labels its images have.

What says it, in this order: `classes` or `class_order` of the model's table; the
`label_names` of the config.json beside its weights; that it is an ImageNet model and
the dataset's classes are ImageNet's. Else the outputs are the dataset's classes in
their own order, unless that order is in doubt.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from jaxbench.config import SubjectConfig
from jaxbench.data import Source
from jaxbench.data.class_names import (
    IMAGENET,
    are_wordnet_ids,
    folder_classes,
    folder_order_of,
    imagenet_ids,
    match_classes,
    order_difference,
    read_class_names,
)
from jaxbench.data.known.imagenet_classes import NUM_CLASSES, wordnet_ids
from jaxbench.data.scoring import scoring_of
from jaxbench.errors import UserError

# What names a model's classes where its config.json does.
LABEL_NAMES = "label_names"


@dataclass(frozen=True)
class Declared:
    """What is known of a model's outputs without reading its weights.

    Attributes:
        name: The model.
        count: Outputs that the registry or a config.json says it has.
        label_names: The classes in order, where a config.json names them.
        descriptions: More words for these, by name.
        of_imagenet: Whether the registry says that its classes are ImageNet's.
        in_own_order: Whether its outputs are in a folder's order here for certain: it
            was trained by this package, or not at all.
    """

    name: str
    count: int | None = None
    label_names: tuple[str, ...] | None = None
    descriptions: Mapping[str, str] = field(default_factory=dict)
    of_imagenet: bool = False
    in_own_order: bool = False


@dataclass(frozen=True)
class Outputs:
    """The classes that a model's outputs mean.

    Attributes:
        count: How many there are.
        class_names: Their names in order; None where nothing but the dataset says
            them.
        said_by: "label_names", "imagenet", "timm", "torchvision" or a file of names;
            None where nothing was needed.
    """

    count: int
    class_names: tuple[str, ...] | None = None
    said_by: str | None = None


def find_outputs(
    declared: Declared,
    entry: SubjectConfig,
    source: Source,
    address: str,
    *,
    stated: bool,
) -> Outputs:
    """Finds out which class each output of a model means.

    Args:
        declared: What is known of the model.
        entry: Its table.
        source: The first clean dataset.
        address: That of the dataset, for messages.
        stated: Whether the user listed the experiment's classes, so that their order
            is known.

    Raises:
        UserError: If the counts differ, a name does not match, or the order is in
            doubt.
    """
    own = _own_names(source)
    counts = {n for n in (entry.num_classes, declared.count) if n is not None}
    said_by, wanted = _listed(declared, entry, source, own, counts)
    expected = len(own if wanted is None else wanted)
    for count in counts:
        if count != expected:
            what = entry.classes if said_by == entry.classes else said_by
            _refuse_count(declared, count, expected, own, address, what)
    if wanted is None:
        if not (stated or declared.in_own_order):
            _check_order(declared.name, source, address)
        return Outputs(expected)
    if wanted == own and said_by == entry.class_order:
        return Outputs(expected)  # The order that it would have anyway.
    return Outputs(expected, wanted, said_by)


def _own_names(source: Source) -> tuple[str, ...]:
    """The classes that a classifier of the source has, in the source's order."""
    scoring = scoring_of(source)
    if scoring is not None and scoring.groups is not None:
        count = scoring.num_outputs
        return scoring.output_names or tuple(map(str, range(count)))
    return tuple(source.class_names)


def _listed(
    declared: Declared,
    entry: SubjectConfig,
    source: Source,
    own: tuple[str, ...],
    counts: set[int],
) -> tuple[str | None, tuple[str, ...] | None]:
    """What lists the outputs' classes, and the list; (None, None) if nothing does."""
    if entry.classes is not None and entry.class_order is not None:
        raise UserError(
            f"model {entry.name!r}: classes and class_order both say which class an "
            "output means; give one"
        )
    if entry.classes is not None:
        return entry.classes, read_class_names(entry.classes)
    if entry.class_order is not None:
        return entry.class_order, folder_order_of(source, entry.class_order)
    if declared.label_names is not None:
        return LABEL_NAMES, _matching_names(declared, own)
    ours = declared.of_imagenet or len(own) != NUM_CLASSES
    if ours and counts == {NUM_CLASSES} and imagenet_ids(own):
        return IMAGENET, wordnet_ids()
    return None, None


def _matching_names(declared: Declared, own: tuple[str, ...]) -> tuple[str, ...]:
    """A configuration's names, or descriptions where the dataset has those."""
    names, descriptions = declared.label_names or (), declared.descriptions
    if declared.count not in (None, len(names)):
        raise UserError(
            f"{declared.name}: its config.json has {len(names)} label_names and "
            f"{declared.count} classes; correct it, or give `classes`"
        )
    matched = match_classes(own, names, descriptions)
    if matched is None:
        lacking = [name for name in own if name not in names]
        raise UserError(
            f"{declared.name}: {len(lacking)} of the dataset's {len(own)} classes "
            f"({', '.join(lacking[:3])}) are not among the label_names of its "
            f"config.json ({', '.join(names[:3])}, ...); say which class an output "
            "means: `classes`, a file with the dataset's names in the model's order, "
            'or class_order = "torchvision" or "timm" (--classes, --class-order)'
        )
    # The dataset's own words where they differ, so that every dataset is matched by
    # name afterwards.
    words = dict(zip(matched, own, strict=True))
    return tuple(words.get(name, name) for name in names)


def _refuse_count(
    declared: Declared,
    count: int,
    expected: int,
    own: tuple[str, ...],
    address: str,
    listed: str | None,
) -> None:
    if are_wordnet_ids(own) and count > NUM_CLASSES:
        raise UserError(
            f"{declared.name} has {count} outputs: those of a larger ImageNet (21k, "
            "22k or 12k), whose order this package does not know. Choose weights that "
            "were fine-tuned on ImageNet-1k (their tag ends in in1k), or give "
            "`classes` (--classes), a file with its class names in order"
        )
    if listed is not None:
        raise UserError(
            f"{declared.name} has num_classes={count}, and {listed} names {expected}; "
            "give a list with one name an output"
        )
    raise UserError(
        f"{declared.name} has num_classes={count}, {address} has {expected} classes, "
        "so its label numbers are not the model's; give `classes` (--classes), a file "
        'with the model\'s class names in order, or "imagenet"'
    )


def _check_order(name: str, source: Source, address: str) -> None:
    """Raises UserError if libraries number this folder's classes differently."""
    names = folder_classes(source)
    difference = names and order_difference(names)
    if difference:
        raise UserError(
            f"{name}: nothing says in which order it has the classes of {address}, and "
            f"libraries differ: {difference}. Give --class-order (class_order) timm if "
            "timm's script trained it on such folders, torchvision if ImageFolder "
            "numbered them; or --classes (classes), a file of its class names in order"
        )
