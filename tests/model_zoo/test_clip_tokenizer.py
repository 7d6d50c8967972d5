"""CLIP's tokenizer with a tiny vocabulary, beside byte pairs in plain Python."""

import gzip
import html
import itertools
import json
import re
import sys
import unicodedata

import numpy as np
import pytest

from model_zoo.clip.tokenizer import END, START, Tokenizer
from tests.model_zoo.clip_models import MERGES, write_vocabulary

TEXTS = [
    "A photo of the cat.",
    "  to\tthe   dog's\ncat, at 42 ",
    "It's DON'T we'll",
    "café CAFÉ cafe\u0301",
    "&lt;b&gt; &amp;amp; cats!! ... !!",
    "日本 😀 ½",
    "",
]


def byte_letters():
    """Letters that stand for bytes: printable ones for themselves, others from 256."""
    kept = [b for b in range(256) if chr(b).isprintable() and b not in (32, 160, 173)]
    others = [b for b in range(256) if b not in kept]
    letters = {b: chr(b) for b in kept}
    letters |= {b: chr(256 + i) for i, b in enumerate(others)}
    return letters, [letters[b] for b in (*kept, *others)]


def twin_encode(text):
    """Words by Unicode's categories, then the pair of lowest rank first, repeatedly."""
    letters, ordered = byte_letters()
    ends = [letter + "</w>" for letter in ordered]
    tokens = [*ordered, *ends, *(a + b for a, b in MERGES)]
    found = []
    text = " ".join(html.unescape(html.unescape(text)).split()).lower()
    # In Python's own patterns a letter is a word character that is not a number.
    words = r"'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_½]+|[\d½]|[^\s\w½]+|_+"
    for word in re.findall(words, text):
        parts = [letters[byte] for byte in word.encode()]
        parts[-1] += "</w>"
        while True:
            pairs = list(itertools.pairwise(parts))
            ranked = [MERGES.index(pair) for pair in pairs if pair in MERGES]
            if not ranked:
                break
            best = MERGES[min(ranked)]
            at = pairs.index(best)
            parts[at : at + 2] = ["".join(best)]
        found += [tokens.index(part) for part in parts]
    return found


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return Tokenizer.load(write_vocabulary(tmp_path_factory.mktemp("vocabulary")))


@pytest.mark.parametrize("text", TEXTS)
def test_equals_byte_pairs_in_plain_python(tokenizer, text):
    assert tokenizer.encode(text) == twin_encode(unicodedata.normalize("NFC", text))


def test_merged_words_are_one_token(tokenizer):
    first = 512
    assert tokenizer.encode("cat photo of dog's") == [
        first + MERGES.index(pair)
        for pair in (("c", "at</w>"), ("pho", "to</w>"), ("o", "f</w>"))
    ] + [first + MERGES.index(("do", "g</w>")), first + MERGES.index(("'", "s</w>"))]


def test_rows_have_ends_and_zeros_and_long_texts_keep_their_end(tokenizer):
    rows = tokenizer(["cat", "cat " * 20], 6)
    start, end = tokenizer.vocabulary[START], tokenizer.vocabulary[END]
    cat = 512 + 1
    want = [[start, cat, end, 0, 0, 0], [start, cat, cat, cat, cat, end]]
    np.testing.assert_array_equal(rows, want)
    assert end == len(tokenizer.vocabulary) - 1 == rows.max()
    assert tokenizer(["cat"]).shape == (1, 77)


def as_json(merges=MERGES, *, text=False, **changes):
    ordered = byte_letters()[1]
    ends = [letter + "</w>" for letter in ordered]
    tokens = [*ordered, *ends, *(a + b for a, b in merges), START, END]
    model = {
        "type": "BPE",
        "end_of_word_suffix": "</w>",
        "vocab": {token: number for number, token in enumerate(tokens)},
        "merges": [" ".join(m) if text else list(m) for m in merges],
    }
    return json.dumps({"model": model | changes})


@pytest.mark.parametrize("text", [True, False])
def test_tokenizer_json(tmp_path, tokenizer, text):
    (tmp_path / "tokenizer.json").write_text(as_json(text=text))
    found = Tokenizer.load(tmp_path)
    assert found.vocabulary == tokenizer.vocabulary
    np.testing.assert_array_equal(found(TEXTS), tokenizer(TEXTS))


def test_openais_own_file(tmp_path, tokenizer):
    path = write_vocabulary(tmp_path)
    packed = tmp_path / "bpe_simple_vocab_16e6.txt.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    np.testing.assert_array_equal(Tokenizer.load(packed)(TEXTS), tokenizer(TEXTS))


def test_what_is_not_a_vocabulary(tmp_path):
    with pytest.raises(FileNotFoundError, match="no vocabulary in"):
        Tokenizer.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="no vocabulary at"):
        Tokenizer.load(tmp_path / "merges.txt")
    path = tmp_path / "tokenizer.json"
    for text, said in (
        ("{", "is not a vocabulary of CLIP's tokenizer"),
        (as_json(end_of_word_suffix=None), "words do not end with </w>"),
        (as_json(vocab={"!": 7}), "526 tokens, '!' first, do not have the numbers"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=said):
            Tokenizer.load(path)
    damaged = tmp_path / "bpe_simple_vocab_16e6.txt.gz"
    damaged.write_bytes(b"no archive")
    with pytest.raises(ValueError, match="is not a vocabulary"):
        Tokenizer.load(damaged)


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ImportError, match=r"pip install 'jaxbench\[clip\]'"):
        Tokenizer(MERGES)
