"""CLIP's tokenizer: byte pairs of lower-cased text, through the tokenizers library.

Radford et al. (2021), https://arxiv.org/abs/2103.00020, section 2.4. The vocabulary is
the checkpoint's: `tokenizer.json` or `merges.txt` beside the weights. Text is cleaned
as OpenAI's code does it (entities, white space, case), but for mojibake, which that
code repairs with a library of its own.
"""

import gzip
import html
import json
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int

START, END = "<|startoftext|>", "<|endoftext|>"
# Contractions, runs of letters, single digits, runs of anything else but space.
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_WORD_END = "</w>"
_FILES = (
    "tokenizer.json",
    "merges.txt",
    "bpe_simple_vocab_16e6.txt",
    "bpe_simple_vocab_16e6.txt.gz",
)
# OpenAI's file of merges goes on behind those that its vocabulary of 49408 was cut to.
_OPENAI_MERGES = 49152 - 256 - 2

Merges = tuple[tuple[str, str], ...]


class Tokenizer:
    """Texts to rows of token numbers.

    Args:
        merges: Pairs of symbols in the order in which they are merged.

    Raises:
        ImportError: If the tokenizers library is not installed.
    """

    def __init__(self, merges: Merges) -> None:
        try:
            import tokenizers
            from tokenizers import Regex, models, pre_tokenizers
        except ImportError as error:
            raise ImportError(
                "zero-shot classification needs the tokenizers library, which is not "
                "installed: pip install 'jaxbench[clip]'"
            ) from error
        self.vocabulary = _vocabulary(merges)
        model = models.BPE(
            vocab=self.vocabulary, merges=list(merges), end_of_word_suffix=_WORD_END
        )
        self._words = tokenizers.Tokenizer(model)
        self._words.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(_WORDS), "removed", invert=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Tokenizer":
        """Reads a vocabulary.

        Args:
            path: `tokenizer.json` or `merges.txt` as Hugging Face's libraries write
                them, OpenAI's `bpe_simple_vocab_16e6.txt` (also with `.gz`), or a
                folder with one of them.

        Raises:
            ImportError: If the tokenizers library is not installed.
            FileNotFoundError: If the file does not exist.
            ValueError: If it is not a vocabulary of CLIP's kind.
        """
        return cls(read_merges(Path(path)))

    def encode(self, text: str) -> list[int]:
        """Numbers of a text's tokens, without its ends."""
        text = unicodedata.normalize("NFC", text)
        text = html.unescape(html.unescape(text))
        text = " ".join(text.split()).lower()
        return self._words.encode(text, add_special_tokens=False).ids

    def __call__(
        self, texts: Sequence[str], context_length: int = 77
    ) -> Int[np.ndarray, "n t"]:
        """Encodes texts: start, tokens, end, zeros.

        Args:
            texts: What to encode.
            context_length: Tokens of a row; longer texts are cut off, their end is not.
        """
        start, end = self.vocabulary[START], self.vocabulary[END]
        rows = np.zeros((len(texts), context_length), np.int32)
        for row, text in zip(rows, texts, strict=True):
            tokens = [start, *self.encode(text)[: context_length - 2], end]
            row[: len(tokens)] = tokens
        return rows


def find_vocabulary(folder: Path) -> Path | None:
    """A folder's file with a vocabulary; None where there is none."""
    return next((folder / name for name in _FILES if (folder / name).is_file()), None)


def read_merges(path: Path) -> Merges:
    """The merges of a vocabulary, see `Tokenizer.load`."""
    if path.is_dir():
        found = find_vocabulary(path)
        if found is None:
            raise FileNotFoundError(
                f"no vocabulary in {path}; wanted one of {', '.join(_FILES)}"
            )
        path = found
    if not path.is_file():
        raise FileNotFoundError(
            f"no vocabulary at {path}; give a tokenizer.json or a merges.txt, or a "
            "folder with one"
        )
    raw = path.read_bytes()
    try:
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8")
        merges = _json_merges(text) if path.suffix == ".json" else _text_merges(text)
    except (
        AttributeError,
        EOFError,
        LookupError,
        OSError,
        TypeError,
        ValueError,
    ) as error:
        raise ValueError(
            f"{path} is not a vocabulary of CLIP's tokenizer ({error}); wanted its "
            "tokenizer.json or merges.txt"
        ) from error
    return merges


def _json_merges(text: str) -> Merges:
    """The merges of a tokenizer.json whose tokens are numbered as CLIP's are."""
    model = json.loads(text)["model"]
    if model.get("end_of_word_suffix") != _WORD_END:
        raise ValueError(f"its words do not end with {_WORD_END}")
    pairs = (m.split(" ") if isinstance(m, str) else m for m in model["merges"])
    merges = tuple((first, second) for first, second in pairs)
    stored = model["vocab"]
    other = [t for t, number in _vocabulary(merges).items() if stored.get(t) != number]
    if other:
        raise ValueError(
            f"{len(other)} tokens, {other[0]!r} first, do not have the numbers that "
            "CLIP gives them: bytes, bytes at a word's end, merges, start, end"
        )
    return merges


def _text_merges(text: str) -> Merges:
    """The merges of a text file, behind its first line, which says the version."""
    lines = text.split("\n")[1:]
    lines = [line for line in lines[:_OPENAI_MERGES] if line.strip()]
    return tuple((first, second) for first, second in map(str.split, lines))


def _vocabulary(merges: Merges) -> dict[str, int]:
    """Tokens and their numbers: bytes, bytes at a word's end, merges, start, end."""
    letters = _byte_letters()
    tokens = [
        *letters,
        *(letter + _WORD_END for letter in letters),
        *(first + second for first, second in merges),
        START,
        END,
    ]
    return {token: number for number, token in enumerate(tokens)}


def _byte_letters() -> list[str]:
    """A printable letter for every byte, as byte-level models of text write them.

    Printable bytes come first, each as itself; the others follow as letters from 256.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(byte) for byte in printable] + [
        chr(256 + number) for number in range(256 - len(printable))
    ]
