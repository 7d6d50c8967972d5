"""Nearest neighbours against float64, scikit-learn, and themselves in other blocks."""

import dataclasses

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from jaxbench.errors import UserError
from jaxbench.probing import NeighborClassifier, Neighbors, find_neighbors, vote
from jaxbench.probing import neighbors as neighbors_module
from tests.probing import twins

BANK, QUERIES = twins.blobs(0, 203), twins.blobs(1, 77)


@pytest.fixture(scope="module")
def found():
    return find_neighbors(QUERIES.values, BANK.values, 20)


def test_neighbours_are_those_of_float64(found):
    similarity, position = twins.nearest(QUERIES.values, BANK.values, 20)
    np.testing.assert_allclose(found.similarity, similarity, atol=1e-6)
    # float32 does not separate random similarities this close together.
    clear = np.abs(np.diff(similarity, axis=1)).min(axis=1) > 1e-6
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(found.position[clear], position[clear])


@pytest.mark.parametrize("blocks", [(10, 21), (77, 50), (1000, 1000)])
@pytest.mark.parametrize("room", [0, 2**30])
def test_blocks_change_nothing(found, blocks, room):
    query_rows, bank_rows = blocks
    again = find_neighbors(
        QUERIES.values,
        BANK.values,
        20,
        query_rows=query_rows,
        bank_rows=bank_rows,
        max_device_bytes=room,
    )
    np.testing.assert_allclose(again.similarity, found.similarity, atol=1e-6)
    np.testing.assert_array_equal(again.position, found.position)


def test_of_equals_the_earlier_in_the_bank_comes_first():
    # Exact in float32: unit vectors along the axes, and zeros.
    bank = np.eye(4, dtype=np.float32)[[3, 0, 1, 0, 2, 0, 0]]
    queries = np.array([[5, 0, 0, 0], [0, 0, 0, 0]], np.float32)
    for bank_rows in (2, 3, 7):
        near = find_neighbors(queries, bank, 6, bank_rows=bank_rows)
        assert near.position.tolist() == [[1, 3, 5, 6, 0, 2], [0, 1, 2, 3, 4, 5]]
        assert near.similarity.tolist() == [[1, 1, 1, 1, 0, 0], [0] * 6]


def test_no_block_of_similarities_is_larger_than_asked(monkeypatch):
    shapes = []

    def spy(best, rows, block, first, count):
        shapes.append((rows.shape[0], block.shape[0]))
        return merge(best, rows, block, first, count)

    merge = neighbors_module._merge
    monkeypatch.setattr(neighbors_module, "_merge", spy)
    find_neighbors(QUERIES.values, BANK.values, 5, query_rows=30, bank_rows=64)
    assert set(shapes) == {(30, 64)}
    assert len(shapes) == 3 * 4


@pytest.mark.parametrize("k", [1, 5, 20])
def test_weighted_votes_are_those_of_float64(found, k):
    labels = BANK.labels[found.position[:, :k]]
    for temperature, prior in ((0.07, 0.0), (0.5, 2.0)):
        shares = vote(
            *(found, BANK.labels, 3, k), temperature=temperature, prior_votes=prior
        )
        near = found.similarity[:, :k].astype(np.float64)
        wanted = twins.votes(near, labels, 3, temperature, prior)
        # float32 exponents up to 1 / 0.07: 14 times 6e-8 of the largest weight.
        np.testing.assert_allclose(shares, wanted, atol=3e-6)


@pytest.mark.parametrize("k", [1, 7, 20])
def test_uniform_votes_are_scikit_learns(found, k):
    shares = vote(found, BANK.labels, 3, k, votes="uniform")
    twin = KNeighborsClassifier(k, metric="cosine", algorithm="brute")
    wanted = twin.fit(BANK.values, BANK.labels).predict_proba(QUERIES.values)
    np.testing.assert_allclose(shares, wanted, atol=1e-6)
    np.testing.assert_array_equal(shares.argmax(axis=1), twin.predict(QUERIES.values))


def test_a_prior_moves_no_prediction_and_no_order(found):
    plain = vote(found, BANK.labels, 3, 10)
    smooth = vote(found, BANK.labels, 3, 10, prior_votes=1.0)
    assert plain.min() == 0
    assert smooth.min() > 0
    np.testing.assert_allclose(smooth.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(plain.argmax(axis=1), smooth.argmax(axis=1))
    order = np.argsort(plain.max(axis=1), kind="stable")
    assert (np.diff(smooth.max(axis=1)[order]) >= -1e-6).all()


def test_a_classifier_searches_once_for_all_k(found, monkeypatch):
    searches = []

    def spy(*arguments):
        searches.append(arguments)
        return find_neighbors(*arguments)

    monkeypatch.setattr(neighbors_module, "find_neighbors", spy)
    classifier = NeighborClassifier(BANK, 3, 20)
    for k in (1, 10, 20):
        logits = classifier.logits(QUERIES, k)
        wanted = vote(found, BANK.labels, 3, k, prior_votes=1.0)
        np.testing.assert_allclose(twins.softmax(logits), wanted, atol=1e-6)
    assert len(searches) == 1
    # A cache gives the same array in another wrapping.
    classifier.logits(dataclasses.replace(QUERIES, seconds=0.0), 5)
    assert len(searches) == 1
    classifier.logits(BANK, 1)
    assert len(searches) == 2


def test_what_is_out_of_range_is_refused():
    with pytest.raises(UserError, match=r"300 neighbours .* 203 images"):
        find_neighbors(QUERIES.values, BANK.values, 300)
    with pytest.raises(UserError, match="widths 6 and 2"):
        find_neighbors(QUERIES.values, BANK.values[:, :2], 3)
    near = Neighbors(np.zeros((1, 2), np.float32), np.zeros((1, 2), np.int32))
    with pytest.raises(ValueError, match=r"temperature is 0.*k is 3, wanted 1 to 2"):
        vote(near, BANK.labels, 3, 3, temperature=0.0)
    with pytest.raises(ValueError, match="prior_votes is 0"):
        NeighborClassifier(BANK, 3, 2, prior_votes=0.0)
