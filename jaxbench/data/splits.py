"""Splits drawn by hashing: the same on every machine and for every NumPy version."""

import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

SPLIT_SEED = 0
# Shares of the parts, in the order in which they are cut off a stratified order.
STANDARD_SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


def hash_fraction(*parts: object) -> float:
    """A number in [0, 1) that only the parts' text decides."""
    text = "\0".join(map(str, parts)).encode()
    digest = hashlib.blake2b(text, digest_size=8).digest()
    # 53 bits: what a float64 holds exactly, so that 1.0 is never reached.
    return (int.from_bytes(digest) >> 11) / 2**53


def stratified_order(
    labels: Int[np.ndarray, " n"], ids: Sequence[str], seed: int
) -> Int[np.ndarray, " n"]:
    """Orders examples so that every prefix holds the classes in their proportions.

    Within a class the order is that of a hash of (seed, id). The r-th of a class of n
    stands at (r + 1/2) / n, and the classes are merged by that position, ties by hash:
    a prefix that ends at position t holds t * n of every class to within half an
    example. Classes of equal size are taken equally often.

    Args:
        labels: Class of each example.
        ids: Identity of each example; only these and the labels decide the order.
        seed: Another seed, another order.

    Returns:
        A permutation of the positions 0 to n - 1.
    """
    fractions = np.array([hash_fraction(seed, i) for i in ids])
    by_class = np.lexsort((fractions, labels))
    _, starts, sizes = np.unique(
        labels[by_class], return_index=True, return_counts=True
    )
    ranks = np.arange(len(by_class)) - np.repeat(starts, sizes)
    position = np.empty(len(by_class))
    position[by_class] = (ranks + 0.5) / np.repeat(sizes, sizes)
    return np.lexsort((fractions, position))


def stratified_parts(
    labels: Int[np.ndarray, " n"],
    ids: Sequence[str],
    shares: dict[str, float],
    seed: int = SPLIT_SEED,
) -> dict[str, Int[np.ndarray, " part"]]:
    """Cuts the examples into stratified parts of the given shares.

    Args:
        labels: Class of each example.
        ids: Identity of each example.
        shares: Name and share of each part; the shares add up to one.
        seed: Seed of the draw.

    Returns:
        For each part the positions of its examples, ascending. The parts are disjoint
        and hold every example; sizes are the shares rounded at the cuts.
    """
    order = stratified_order(labels, ids, seed)
    cuts = np.round(np.cumsum(list(shares.values())) * len(order)).astype(int)[:-1]
    parts = np.split(order, cuts)
    return {name: np.sort(part) for name, part in zip(shares, parts, strict=True)}
