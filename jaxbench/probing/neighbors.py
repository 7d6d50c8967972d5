"""k-nearest-neighbour classification of frozen features, in bounded memory."""

import functools
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxbench.errors import UserError, unknown_name
from jaxbench.probing.features import Features
from jaxbench.probing.heads import to_unit_length

Votes = Literal["weighted", "uniform"]

_QUERY_ROWS = 1024
_BANK_ROWS = 16384


class Neighbors(NamedTuple):
    """The nearest examples of a bank to each query, the nearest first.

    Attributes:
        similarity: Cosine similarities, float32 [queries, k], falling along a row.
        position: In the bank, int32 [queries, k]. Of equal similarities the lower
            position comes first.
    """

    similarity: Float[np.ndarray, "q k"]
    position: Int[np.ndarray, "q k"]


def find_neighbors(
    queries: Float[np.ndarray, "q w"],
    bank: Float[np.ndarray, "n v"],
    k: int,
    *,
    query_rows: int = _QUERY_ROWS,
    bank_rows: int = _BANK_ROWS,
    max_device_bytes: int = 4 * 2**30,
) -> Neighbors:
    """The k nearest examples of a bank by cosine similarity.

    Queries and bank are taken in blocks and only the best k are carried on, so at most
    query_rows x (bank_rows + k) similarities exist at a time. Products are full
    float32: on accelerators a faster precision would reorder neighbours.

    Args:
        queries: Feature vectors to classify.
        bank: Feature vectors with known labels.
        k: Neighbours of each query.
        query_rows: Queries of a block.
        bank_rows: Rows of the bank of a block.
        max_device_bytes: A bank up to this size stays on the device for all queries.

    Raises:
        UserError: If the bank has fewer than k rows, or widths differ.
    """
    if k < 1 or len(bank) < k:
        raise UserError(
            f"{k} neighbours were asked for and the training set has {len(bank)} "
            "images; give 1 to that many"
        )
    if queries.shape[1] != bank.shape[1]:
        raise UserError(
            f"features have widths {queries.shape[1]} and {bank.shape[1]}, wanted one"
        )
    query_rows, bank_rows = min(query_rows, len(queries)), min(bank_rows, len(bank))
    resident = bank.nbytes <= max_device_bytes
    blocks = [
        (start, _block(bank, start, bank_rows))
        for start in (range(0, len(bank), bank_rows) if resident else ())
    ]
    found = []
    for start in range(0, len(queries), query_rows):
        rows = jnp.asarray(_slice(queries, start, query_rows))
        best = _empty(query_rows, k)
        for first, block in blocks or _streamed(bank, bank_rows):
            count = min(bank_rows, len(bank) - first)
            best = _merge(best, rows, block, np.int32(first), np.int32(count))
        found.append(jax.device_get(best))
    similarity, index = (np.concatenate(part) for part in zip(*found, strict=True))
    return Neighbors(similarity[: len(queries)], index[: len(queries)])


def vote(
    neighbors: Neighbors,
    labels: Int[np.ndarray, " n"],
    num_classes: int,
    k: int,
    *,
    votes: Votes = "weighted",
    temperature: float = 0.07,
    prior_votes: float = 0.0,
) -> Float[np.ndarray, "q c"]:
    """Probabilities from the labels of the first k neighbours.

    A neighbour of similarity s votes for its class with weight exp(s / temperature)
    (Wu et al. 2018, section 3.4: https://arxiv.org/abs/1805.01978; DINO evaluates so),
    or with weight 1; shares of all weight are the probabilities. Of classes with equal
    votes the first is predicted.

    A class without a neighbour gets probability zero, and its NLL is infinite.
    `prior_votes` more neighbours that are spread evenly over the classes make every
    probability positive: p' = (k p + prior / classes) / (k + prior). That is this
    project's, not the papers'; it changes no prediction and no order of confidences.

    Args:
        neighbors: At least k of them.
        labels: Of the bank.
        num_classes: Classes.
        k: Neighbours that vote.
        votes: "weighted" or "uniform".
        temperature: Of the weights, above 0.
        prior_votes: 0 for the votes as they are.

    Returns:
        Rows that sum to 1, float32.

    Raises:
        ValueError: If an option is out of range; all such are named.
    """
    problems = []
    if votes not in get_args(Votes):
        problems.append(unknown_name("votes", votes, get_args(Votes)))
    if temperature <= 0:
        problems.append(f"temperature is {temperature}, wanted a positive number")
    if prior_votes < 0:
        problems.append(f"prior_votes is {prior_votes}, wanted 0 or more")
    if not 1 <= k <= neighbors.position.shape[1]:
        problems.append(f"k is {k}, wanted 1 to {neighbors.position.shape[1]}")
    if problems:
        raise ValueError(f"vote: {'; '.join(problems)}")
    parts = []
    for start in range(0, len(neighbors.position), _QUERY_ROWS):
        block = slice(start, start + _QUERY_ROWS)
        parts.append(
            _shares(
                neighbors.similarity[block, :k],
                np.asarray(labels)[neighbors.position[block, :k]],
                np.float32(temperature),
                np.float32(prior_votes),
                num_classes=num_classes,
                uniform=votes == "uniform",
            )
        )
    return np.concatenate([np.asarray(part) for part in parts])


class NeighborClassifier:
    """A bank of features that gives logits for any k: log of the voted probabilities.

    The last queries' neighbours are remembered: several k and several temperatures
    cost one search.

    Args:
        bank: Training features.
        num_classes: Classes.
        most: The largest k that will be asked for.
        votes: As `vote`.
        temperature: As `vote`.
        prior_votes: As `vote`, above 0, so that logarithms are finite.
    """

    def __init__(
        self,
        bank: Features,
        num_classes: int,
        most: int,
        *,
        votes: Votes = "weighted",
        temperature: float = 0.07,
        prior_votes: float = 1.0,
    ) -> None:
        if prior_votes <= 0:
            raise ValueError(
                f"prior_votes is {prior_votes}, wanted more than 0: the logarithm of a "
                "class without votes is infinite"
            )
        self.bank, self.num_classes, self.most = bank, num_classes, most
        self._options = {
            "votes": votes,
            "temperature": temperature,
            "prior_votes": prior_votes,
        }
        self._last: tuple[np.ndarray, Neighbors] | None = None

    def logits(self, features: Features, k: int) -> Float[np.ndarray, "n c"]:
        """Logits of every example, float32 [n, classes]: their softmax is the vote."""
        # By the array: a cache may hand it out in another `Features` each time.
        if self._last is None or self._last[0] is not features.values:
            found = find_neighbors(features.values, self.bank.values, self.most)
            self._last = (features.values, found)
        shares = vote(
            self._last[1], self.bank.labels, self.num_classes, k, **self._options
        )
        return np.log(shares)


def _slice(rows: np.ndarray, start: int, count: int) -> np.ndarray:
    """`count` rows from `start`, filled up with zeros at the end."""
    taken = np.asarray(rows[start : start + count], np.float32)
    return np.pad(taken, ((0, count - len(taken)), (0, 0)))


def _block(bank: np.ndarray, start: int, count: int) -> Float[Array, "b w"]:
    return _unit(jnp.asarray(_slice(bank, start, count)))


def _streamed(bank: np.ndarray, count: int):
    for start in range(0, len(bank), count):
        yield start, _block(bank, start, count)


def _empty(rows: int, k: int) -> tuple[Float[Array, "q k"], Int[Array, "q k"]]:
    # Position -1 never survives: the bank has k rows or more.
    return jnp.full((rows, k), -jnp.inf), jnp.full((rows, k), -1, jnp.int32)


_unit = jax.jit(to_unit_length)


@jax.jit
def _merge(best, queries, block, first, count):
    """The best k of those so far and of a block of the bank."""
    similarity, index = best
    near = jnp.matmul(to_unit_length(queries), block.T, precision="highest")
    places = jnp.arange(block.shape[0], dtype=jnp.int32)
    near = jnp.where(places < count, near, -jnp.inf)
    joined = jnp.concatenate([similarity, near], axis=1)
    # Earlier columns win ties, and hold lower positions of the bank.
    top, column = jax.lax.top_k(joined, similarity.shape[1])
    k = similarity.shape[1]
    earlier = jnp.take_along_axis(index, jnp.minimum(column, k - 1), axis=1)
    return top, jnp.where(column < k, earlier, first + column - k)


@functools.partial(jax.jit, static_argnames=("num_classes", "uniform"))
def _shares(similarity, labels, temperature, prior, *, num_classes: int, uniform: bool):
    queries, k = labels.shape
    # Relative to the nearest: the same shares, and no overflow.
    weight = jnp.exp((similarity - similarity[:, :1]) / temperature)
    weight = jnp.ones_like(weight) if uniform else weight
    rows = jnp.arange(queries)[:, None]
    total = jnp.zeros((queries, num_classes)).at[rows, labels].add(weight)
    shares = total / jnp.sum(total, axis=1, keepdims=True)
    return (k * shares + prior / num_classes) / (k + prior)
