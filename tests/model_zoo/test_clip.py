"""CLIP's towers and what is made of them, against tiny random models of OpenCLIP.

The files were made by `scripts/make_goldens_clip.py`.
"""

import jax
import numpy as np
import pytest

from model_zoo import check_variables
from model_zoo.clip import (
    Prompts,
    class_vectors,
    encode_texts,
    zero_shot_classifier,
)
from model_zoo.weights.rules import convert
from tests.model_zoo import clip_models
from tests.model_zoo.clip_models import CASES, CLASSES, TEMPLATES, FixedTokens
from tests.model_zoo.test_goldens import relative, run

PROMPTS = Prompts(
    tuple(f"class {k}" for k in range(CLASSES)),
    tuple(f"{{}} in the style of {t}" for t in range(TEMPLATES)),
)

# Cosines differ by rounding alone; their factor is 100.
COSINES = 100 * 2e-6


@pytest.fixture(scope="module")
def loaded():
    """Each golden once: its model, its variables, its arrays."""
    found = {}

    def load(case):
        if case not in found:
            arrays, _ = clip_models.load(case)
            found[case] = clip_models.make(case), clip_models.variables(case), arrays
        return found[case]

    return load


@pytest.mark.parametrize("case", CASES)
def test_both_towers_equal_the_originals(loaded, case):
    clip, variables, arrays = loaded(case)

    def embed(variables, images, tokens):
        return clip.apply(variables, images), clip.encode_text(variables, tokens)

    outputs, texts = run(embed, variables, arrays["images"], arrays["tokens"])
    # Float32 rounding of two blocks, in other orders of summation.
    assert relative(outputs.logits, arrays["image_features"]) < 1e-5
    assert relative(texts, arrays["text_features"]) < 1e-5
    assert clip.num_classes == texts.shape[1]
    kernel = class_vectors(texts.reshape(CLASSES, TEMPLATES, -1)).T
    images = outputs.logits / np.linalg.norm(outputs.logits, axis=1, keepdims=True)
    assert np.abs(100 * images @ kernel - arrays["logits"]).max() < COSINES


def test_zero_shot_logits_equal_the_originals(loaded):
    clip, variables, arrays = loaded("openai")
    classifier, held = zero_shot_classifier(
        clip, variables, PROMPTS, FixedTokens(arrays["tokens"])
    )
    check_variables(classifier, held)
    assert (classifier.num_classes, classifier.name) == (CLASSES, "tiny.golden")
    outputs = run(classifier.apply, held, arrays["images"])
    assert arrays["logits"].std() > 0.5  # the comparison has something to see
    assert np.abs(outputs.logits - arrays["logits"]).max() < COSINES
    assert outputs.features.shape[1] == classifier.num_features
    np.testing.assert_allclose(
        np.linalg.norm(outputs.features, axis=1), 1, rtol=0, atol=1e-6
    )


def test_the_checkpoints_own_scale(loaded):
    clip, variables, arrays = loaded("openai")
    tokens = FixedTokens(arrays["tokens"])
    fixed, own = (
        zero_shot_classifier(clip, variables, PROMPTS, tokens, logit_scale=scale)[1]
        for scale in (1.0, None)
    )
    factor = np.exp(np.float64(arrays["weights/logit_scale"]))
    np.testing.assert_allclose(
        own["head.kernel"], factor * fixed["head.kernel"], rtol=1e-5
    )
    with pytest.raises(ValueError, match=r"logit_scale is 0\.0, wanted above 0"):
        zero_shot_classifier(clip, variables, PROMPTS, tokens, logit_scale=0.0)


def test_class_vectors_are_means_of_unit_vectors():
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(4, 6, 9)).astype(np.float32)
    rows = np.float64(embeddings)
    rows /= np.linalg.norm(rows, axis=-1, keepdims=True)
    means = rows.mean(1)
    means /= np.linalg.norm(means, axis=-1, keepdims=True)
    np.testing.assert_allclose(class_vectors(embeddings), means, rtol=0, atol=1e-6)


def test_batches_of_short_texts_change_nothing(loaded):
    clip, variables, arrays = loaded("openai")
    lengths = arrays["tokens"].argmax(-1)
    assert len(set(lengths)) > 5
    found = encode_texts(clip, variables, arrays["tokens"], batch_size=4)
    assert relative(found, arrays["text_features"]) < 1e-5


def test_what_follows_the_end_of_a_text_is_not_seen(loaded):
    clip, variables, arrays = loaded("openai")
    changed = arrays["tokens"].copy()
    for row in changed:
        row[row.argmax() + 1 :] = 7
    before = run(clip.encode_text, variables, arrays["tokens"])
    after = run(clip.encode_text, variables, changed)
    np.testing.assert_array_equal(before, after)
    # But what comes before the end is.
    changed[:, 1] = 9
    assert relative(run(clip.encode_text, variables, changed), before) > 1e-2


def test_a_zero_shot_classifier_trains(loaded):
    clip, variables, arrays = loaded("openai")
    classifier, held = zero_shot_classifier(
        clip, variables, PROMPTS, FixedTokens(arrays["tokens"])
    )

    def loss(held):
        outputs, _ = classifier.apply_train(held, arrays["images"], jax.random.key(0))
        return -jax.nn.log_softmax(outputs.logits)[:, 0].mean()

    # Shapes alone: the numbers are those of the families' own gradients.
    gradients = jax.eval_shape(jax.grad(loss), held)
    assert gradients.keys() == classifier.parameter_names == held.keys()
    drawn = classifier.init(jax.random.key(0))
    assert {k: v.shape for k, v in drawn.items()} == {
        k: v.shape for k, v in held.items()
    }


def test_both_towers_are_drawn_and_computed_in_bfloat16(loaded):
    clip = clip_models.make("openclip", "bfloat16")
    _, variables, arrays = loaded("openclip")
    texts = run(clip.encode_text, variables, arrays["tokens"])
    assert texts.dtype == np.float32
    # Two blocks in eight bits of mantissa.
    assert 1e-4 < relative(texts, arrays["text_features"]) < 5e-2
    drawn = clip.init(jax.random.key(0))
    check_variables(clip, drawn)
    assert drawn["logit_scale"] == pytest.approx(np.log(1 / 0.07))


def test_every_tensor_is_used_once_or_named(loaded):
    case = "custom_text"
    clip, rules = clip_models.make(case), clip_models.rules(case)
    _, weights = clip_models.load(case)
    del weights["text.ln_final.bias"], weights["visual.ln_post.weight"]
    weights["text.ln_extra.bias"] = weights["visual.adapter"] = np.zeros(3)
    weights["logit_bias"] = np.zeros(())
    weights["text.text_projection"] = weights["text.text_projection"].T
    weights["logit_scale"] = np.asarray(np.nan)
    with pytest.raises(ValueError, match="not the weights of tiny") as error:
        convert(weights, clip, rules)
    for said in (
        "missing: image.norm.weight, text.ln_final.bias",
        "unknown: image.adapter, logit_bias, text.ln_extra.bias",
        "text.text_projection has shape (24, 32)",
        "logit_scale holds 1 values that are not finite",
    ):
        assert said in str(error.value)


def test_positions_follow_the_image_size():
    case = "openclip"
    clip, rules = clip_models.make(case), clip_models.rules(case)
    _, weights = clip_models.load(case)
    # Only square grids are resized, as no file says what the sides were.
    weights["visual.positional_embedding"] = np.zeros((1 + 8, 48))
    with pytest.raises(ValueError, match="pos_embed has shape"):
        convert(weights, clip, rules)
    weights["visual.positional_embedding"] = np.full((1 + 9, 48), 0.5)
    resized = convert(weights, clip, rules)["image.pos_embed"]
    np.testing.assert_allclose(resized, np.full((1, 1 + 15, 48), 0.5), rtol=1e-6)


def test_a_vocabulary_of_another_size_is_refused(loaded):
    clip, variables, arrays = loaded("openai")
    with pytest.raises(ValueError, match="tokenizer knows 63 tokens, the text tower"):
        zero_shot_classifier(
            clip, variables, PROMPTS, FixedTokens(arrays["tokens"], size=63)
        )
