"""Zero-shot classification: class names encoded once, then an ordinary classifier.

Radford et al. (2021), https://arxiv.org/abs/2103.00020, section 3.1.4: a class is the
mean of its prompts' unit embeddings, made unit again, and its logit the cosine with the
image's embedding times a factor. The factor is 100 as in Vishniakov et al. (2024),
https://arxiv.org/abs/2311.09215, whatever a checkpoint was trained with.
"""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from model_zoo.architecture import Settings
from model_zoo.catalog import make_classifier
from model_zoo.classifier import Classifier, NetworkClassifier, Variables
from model_zoo.clip.networks import Clip, ZeroShotArchitecture, unit
from model_zoo.clip.prompts import Prompts
from model_zoo.clip.tokenizer import Tokenizer

LOGIT_SCALE = 100.0
# Rows of tokens are cut to a multiple of this, so that few programs are compiled.
_STEP = 8


def zero_shot_classifier(
    clip: Clip,
    variables: Variables,
    prompts: Prompts,
    tokenizer: Tokenizer,
    *,
    logit_scale: float | None = LOGIT_SCALE,
    batch_size: int = 512,
) -> tuple[Classifier, Variables]:
    """Makes a classifier of the classes that prompts name.

    The text tower runs here, once; what comes back is the image tower and one column
    a class, and is evaluated, masked or trained further as any classifier of the zoo.

    Args:
        clip: Image and text tower.
        variables: Those of `clip`.
        prompts: Class names and templates.
        tokenizer: The one that `clip` was trained with.
        logit_scale: Factor of the cosines; None takes the checkpoint's own.
        batch_size: Prompts that are encoded at a time.

    Returns:
        The classifier, named as `clip`, whose features are images' unit embeddings, and
        its variables: those of the image tower, and the classes in "head.kernel".

    Raises:
        ValueError: If the vocabulary is not the text tower's, or the scale not
            positive.
    """
    text = clip.architecture.text
    if len(tokenizer.vocabulary) != text.vocabulary_size:
        raise ValueError(
            f"{clip.name}: the tokenizer knows {len(tokenizer.vocabulary)} tokens, the "
            f"text tower {text.vocabulary_size}; give the vocabulary that it was "
            "trained with"
        )
    if logit_scale is None:
        logit_scale = float(np.exp(np.asarray(variables["logit_scale"])).item())
    if not logit_scale > 0:
        raise ValueError(f"{clip.name}: logit_scale is {logit_scale}, wanted above 0")
    tokens = tokenizer(prompts.texts, text.context_length)
    embeddings = encode_texts(clip, variables, tokens, batch_size=batch_size)
    per_class = embeddings.reshape(len(prompts.class_names), len(prompts.templates), -1)
    kernel = logit_scale * class_vectors(per_class).T
    classifier = image_classifier(clip, len(prompts.class_names))
    image = {k: v for k, v in variables.items() if k.startswith("image.")}
    return classifier, {**image, "head.kernel": np.asarray(kernel, np.float32)}


def image_classifier(clip: Clip, num_classes: int) -> NetworkClassifier:
    """The classifier that compares a CLIP model's images with so many classes."""
    chosen = clip.settings
    settings = Settings(num_classes, chosen.size, chosen.dtype)
    architecture = ZeroShotArchitecture(clip.architecture.image, clip.num_classes)
    return make_classifier(clip.name, architecture, clip.input_spec, settings)


def class_vectors(
    embeddings: Float[Array | np.ndarray, "k t d"],
) -> Float[np.ndarray, "k d"]:
    """Unit vectors of classes: the means of their prompts' unit embeddings.

    Args:
        embeddings: Of every class's prompts, of any length.
    """
    return np.asarray(unit(unit(jnp.asarray(embeddings)).mean(1)))


def encode_texts(
    clip: Clip,
    variables: Variables,
    tokens: Int[np.ndarray, "n t"],
    *,
    batch_size: int = 512,
) -> Float[np.ndarray, "n d"]:
    """Embeds many texts in jitted batches of equal length.

    Padding behind a text's end changes nothing, so short texts are encoded with short
    ones and their rows cut: ImageNet's prompts have 10 tokens on average, not 77.

    Args:
        clip: Image and text tower.
        variables: Those of `clip`; only the text tower's go to the device.
        tokens: As `Tokenizer` gives them.
        batch_size: Texts of a batch.
    """
    # What the compiled program does not use, the image tower, is not sent.
    held = {
        name: jnp.asarray(leaf) if name.startswith("text.") else leaf
        for name, leaf in variables.items()
    }
    found = np.zeros((len(tokens), clip.num_classes), np.float32)
    for rows, batch in _batches(tokens, batch_size):
        found[rows] = np.asarray(_encode(clip, held, batch))[: len(rows)]
    return found


@functools.partial(jax.jit, static_argnums=0)
def _encode(
    clip: Clip, variables: Variables, tokens: Int[Array, "n t"]
) -> Float[Array, "n d"]:
    return clip.encode_text(variables, tokens)


def _batches(
    tokens: Int[np.ndarray, "n t"], batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows and their tokens, short texts first; the last batch is filled up."""
    lengths = tokens.argmax(-1) + 1
    order = np.argsort(lengths, kind="stable")
    size = min(batch_size, len(tokens))
    for start in range(0, len(tokens), size):
        rows = order[start : start + size]
        longest = -(-int(lengths[rows].max()) // _STEP) * _STEP
        filled = np.resize(rows, size)
        yield rows, tokens[filled, : min(longest, tokens.shape[1])]
