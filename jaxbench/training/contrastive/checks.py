"""What can be told to be amiss before anything is trained."""

from collections.abc import Iterator

from jaxbench.training.contrastive.encoder import Encoder
from jaxbench.training.contrastive.recipes import ContrastiveRecipe
from jaxbench.training.members import HyperParameters, member_problems
from jaxbench.training.optimizers import Optimizer
from jaxbench.training.recipes import Recipe


def contrastive_problems(
    optimizer: Optimizer,
    member: HyperParameters,
    recipe: ContrastiveRecipe,
    num_images: int | None = None,
) -> list[str]:
    """What can be told to be amiss before an image is read.

    Args:
        optimizer: As for `train_contrastive`, and so are the others.
        member: See there.
        recipe: See there.
        num_images: Of the training set, if known.
    """
    problems = list(member_problems((member,), optimizer, Recipe()))
    if member.label_smoothing is not None:
        problems.append("label_smoothing has no use: there are no labels")
    if optimizer.curvature_every is not None:
        problems.append(
            f"{optimizer.name} needs the curvature of a classifier's loss, and there "
            "are no classes; choose another optimizer"
        )
    if optimizer.evaluated is not None:
        problems.append(
            f"{optimizer.name} is evaluated at other weights than it trains at, for "
            "which running statistics would have to be taken anew; choose another"
        )
    if num_images is not None and recipe.batch_size > num_images:
        problems.append(
            f"batch_size is {recipe.batch_size} and there are {num_images} images, so "
            "no batch can be filled; choose a smaller batch_size"
        )
    return problems


def encoder_problems(
    encoder: Encoder, recipe: ContrastiveRecipe, size: tuple[int, ...]
) -> Iterator[str]:
    """What of an encoder does not fit the recipe or the images.

    Args:
        encoder: As for `train_contrastive`, and so is the recipe.
        recipe: See there.
        size: Height and width of the images.
    """
    wanted = tuple(encoder.input_spec.size)
    if size != wanted:
        yield (
            f"images are {size} (height, width), {encoder.name} wants {wanted}; load "
            "them with its input_spec"
        )
    features = encoder.classifier.num_features
    head = (encoder.hidden or features, encoder.width)
    asked = (recipe.hidden or features, recipe.width)
    if head != asked:
        yield (
            f"the encoder's head has (hidden, width) {head}, the recipe's {asked}; "
            "make it Encoder(classifier, recipe.hidden, recipe.width)"
        )
