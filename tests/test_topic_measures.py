"""Measures of topics and documents: naive loops, closed forms, and the lecture's process of drawing documents."""

from __future__ import annotations

from itertools import combinations
from math import log
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from helpers import run_python
from numpy.typing import NDArray

from fastvae import TopicModel
from fastvae._topics import documents, measures

RANDOM = np.random.default_rng(0)
N_WORDS = 30
# Words of all frequencies: 0 is in no document, 1 in all of them.
X = (RANDOM.random((200, N_WORDS)) < np.linspace(0, 0.6, N_WORDS)) * RANDOM.integers(1, 5, (200, N_WORDS))
X[:, 1] = 2
COMPONENTS = RANDOM.random((6, N_WORDS))
COMPONENTS[0, :2] = 2  # a topic whose first two words are those


def drawn(n: int, n_topics: int, alpha: float = 0.5) -> NDArray[np.float64]:
    return np.random.default_rng(1).dirichlet(np.full(n_topics, alpha), n)


# ---------------------------------------------------------------------------------------------- coherence


def naive_coherence(components: Any, documents: Any, measure: str, n: int) -> list[float]:
    """The formulas read aloud: sets of words, one pair after the other."""
    sets = [{w for w, count in enumerate(row) if count > 0} for row in documents]

    def frequency(*words: int) -> int:
        return sum({*words} <= those for those in sets)

    found = []
    for topic in components:
        top = sorted(range(len(topic)), key=lambda w: (-topic[w], w))[:n]
        terms = []
        for first, second in combinations(top, 2):
            both, a, b = frequency(first, second), frequency(first), frequency(second)
            if measure == "umass":
                terms.append(log((both + 1) / a) if a else log(1 / len(sets)))
            elif both in (0, len(sets)):
                terms.append(-1.0 if both == 0 else 0.0)
            else:
                p, p_a, p_b = (count / len(sets) for count in (both, a, b))
                terms.append(log(p / (p_a * p_b)) / -log(p))
        found.append(sum(terms) if measure == "umass" else sum(terms) / len(terms))
    return found


@pytest.mark.parametrize("measure", measures.MEASURES)
@pytest.mark.parametrize("n", [2, 5, N_WORDS])
def test_coherence_is_that_of_a_naive_loop(measure: str, n: int) -> None:
    found = measures.coherence(COMPONENTS, X, measure, n)
    assert found.shape == (6,)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, naive_coherence(COMPONENTS, X, measure, n), rtol=1e-12)


@pytest.mark.parametrize("measure", measures.MEASURES)
def test_coherence_of_sparse_documents_is_that_of_dense_ones(measure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = measures.coherence(COMPONENTS, X, measure)
    sparse = scipy.sparse.csr_matrix(X)
    rows = [np.tile(sparse.indices[a:b][::-1], 2) for a, b in zip(sparse.indptr, sparse.indptr[1:], strict=False)]
    rows[0] = np.append(rows[0], 0)  # word 0, which no document has
    indices = np.concatenate(rows)
    data = np.ones(len(indices))
    data[len(rows[0]) - 1] = 0
    indptr = np.cumsum([0, *map(len, rows)])
    # Every entry twice, in descending order, and a zero that is stored.
    doubled = SimpleNamespace(indptr=indptr, indices=indices, data=data, shape=X.shape)
    wide = SimpleNamespace(
        indptr=sparse.indptr.astype(np.int64), indices=sparse.indices.astype(np.int64),
        data=sparse.data.astype(np.float32), shape=sparse.shape,
    )  # fmt: skip
    for several_reads in (False, True):
        if several_reads:
            monkeypatch.setattr(measures, "_BLOCK", 7)
        for same in (
            X,
            X.astype(np.float32),
            X.tolist(),
            sparse,
            scipy.sparse.csr_array(X),
            scipy.sparse.csc_matrix(X),
            doubled,
            wide,
        ):
            np.testing.assert_array_equal(measures.coherence(COMPONENTS, same, measure), expected)


def test_coherence_is_of_ten_words_or_as_many_as_there_are() -> None:
    for components, corpus, n in ((COMPONENTS, X, 10), (COMPONENTS[:, :7], X[:, :7], 7)):
        expected = measures.coherence(components, corpus, n=n)
        np.testing.assert_array_equal(measures.coherence(components, corpus), expected)
    with pytest.raises(ValueError, match="n=10 must be"):
        measures.coherence(COMPONENTS[:, :7], X[:, :7], n=10)


def test_coherence_at_its_ends() -> None:
    topic = [[3.0, 2.0, 1.0, 0.0]]
    always = np.array([[1, 1, 1, 0]] * 3 + [[0, 0, 0, 1]] * 5)
    never = np.eye(4)
    assert measures.coherence(topic, always, n=3) == pytest.approx(1)
    assert measures.coherence(topic, never, n=3) == -1
    independent = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    assert measures.coherence(topic, independent, n=2) == pytest.approx(0)
    assert measures.coherence(topic, np.ones((5, 4)), n=4) == 0
    # D(w_1) = 3 documents, D(w_1, w_2) = 1: ln(2 / 3). The word that is in no document is w_2, then w_1, of 4.
    assert measures.coherence([[2, 1.0]], [[1, 1], [1, 0], [1, 0]], "umass", 2) == pytest.approx(log(2 / 3))
    assert measures.coherence([[2, 1.0]], [[1, 0], [1, 0], [1, 0], [0, 0]], "umass", 2) == pytest.approx(log(1 / 3))
    assert measures.coherence([[2, 1.0]], [[0, 1], [0, 1], [0, 1], [0, 0]], "umass", 2) == pytest.approx(log(1 / 4))


def test_no_scipy_is_imported() -> None:
    program = "import sys, fastvae._topics.measures; print('scipy' in sys.modules)"
    assert run_python(program).strip() == "False"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"measure": "c_v"}, "measure='c_v' is not known; use one of 'npmi', 'umass'"),
        ({"n": 1}, "n=1 must be an integer, at least 2 and at most 30"),
        ({"n": 31}, "n=31 must be"),
        ({"components": COMPONENTS[0]}, "components is 1-D"),
        ({"components": COMPONENTS * np.inf}, "components must be finite"),
        ({"X": X[:, :20]}, "X has 20 features, but components is expecting 30"),
        ({"X": -X}, "X must hold word counts: non-negative numbers"),
        ({"X": X * np.nan}, "X must hold word counts"),
        ({"X": scipy.sparse.csr_matrix(-X)}, "X must hold word counts"),
        ({"X": scipy.sparse.csr_matrix(X[:, :20])}, "X has 20 features"),
        ({"X": SimpleNamespace(indptr=[0, 2], indices=[0, 99], data=[1, 1], shape=(1, N_WORDS))}, "X.indices holds"),
        ({"X": scipy.sparse.csr_matrix((0, N_WORDS))}, "X is empty: it has 0 examples"),
    ],
)  # fmt: skip
def test_what_coherence_refuses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measures.coherence(**({"components": COMPONENTS, "X": X} | arguments))


# ---------------------------------------------------------------------------------------------- words of topics


def test_top_words_are_in_descending_order_and_ties_in_the_vocabulary_s() -> None:
    words = np.array(["ball", "goal", "film", "vote"])
    components = [[0.1, 0.5, 0.1, 0.3], [0, 0, 1, 0]]
    assert measures.top_words(components, words, 3) == [["goal", "vote", "ball"], ["film", "ball", "goal"]]
    assert measures.top_words(components, list(words), 4)[0] == ["goal", "vote", "ball", "film"]
    assert measures.top_words(np.array([[1, 3, 2, 0]], np.uint8), words, 1) == [["goal"]], "whole numbers are no bits"
    with pytest.raises(ValueError, match="vocabulary has 3 words, but components has 4 columns"):
        measures.top_words(components, words[:3])
    with pytest.raises(ValueError, match="n=10 must be an integer, at least 1 and at most 4"):
        measures.top_words(components, words, 10)
    assert measures.top_words(components, words) == measures.top_words(components, words, 4), "as many as there are"
    assert [len(topic) for topic in measures.top_words(COMPONENTS, list(map(str, range(N_WORDS))))] == [10] * 6


def test_a_vocabulary_that_maps_words_to_columns_is_read_by_the_columns() -> None:
    components = [[0.1, 0.5, 0.1, 0.3], [0, 0, 1, 0]]
    columns = {"vote": 3, "goal": np.int64(1), "ball": 0, "film": 2}
    assert measures.top_words(components, columns, 3) == [["goal", "vote", "ball"], ["film", "ball", "goal"]]
    for wrong in ({"vote": 4}, {"vote": 2}, {"vote": -1}, {"vote": 3.0}, {"vote": "3"}, {"vote": True}):
        with pytest.raises(ValueError, match="vocabulary must map each word to a different column, 0 to 3"):
            measures.top_words(components, dict.fromkeys(columns, 0) | columns | wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="vocabulary has 5 words"):
        measures.top_words(components, columns | {"more": 4})
    with pytest.raises(ValueError, match="vocabulary is one string, 'abcd'"):
        measures.top_words(components, "abcd")


def test_diversity_counts_different_words() -> None:
    assert measures.diversity(np.eye(5)[:, ::-1] + 1, 1) == 1
    assert measures.diversity(np.tile(np.arange(8.0), (4, 1)), 3) == 1 / 4
    topics = [[9, 8, 7, 0, 0], [0, 8, 9, 7, 0]]  # words 0 1 2 and 2 1 3: four of six
    assert measures.diversity(topics, 3) == 4 / 6
    tops = [sorted(range(N_WORDS), key=lambda w: -topic[w])[:7] for topic in COMPONENTS]
    assert measures.diversity(COMPONENTS, 7) == len({w for top in tops for w in top}) / (6 * 7)
    assert measures.diversity(topics) == 5 / 10, "of as many words as there are"
    with pytest.raises(ValueError, match="n=25 must be"):
        measures.diversity(topics, 25)
    assert measures.diversity(np.eye(30)[:2]) == measures.diversity(np.eye(30)[:2], 25)


# ---------------------------------------------------------------------------------------------- drawing documents


def test_relevance_is_its_formula_and_ranks_shared_words_lower() -> None:
    topics = np.array([[0.5, 0.3, 0.2, 0.0], [0.5, 0.1, 0.0, 0.4]])
    found = measures.relevance(topics, 0.6)
    for k, w in ((0, 0), (0, 1), (1, 1), (1, 3)):
        p, mean = topics[k, w], topics[:, w].mean()
        assert found[k, w] == pytest.approx(0.6 * log(p) + 0.4 * log(p / mean), rel=1e-12)
    words = ["said", "goal", "match", "bank"]
    assert measures.top_words(topics, words, 1) == [["said"], ["said"]]
    assert measures.top_words(measures.relevance(topics, 0.2), words, 2)[1][0] == "bank"
    np.testing.assert_array_equal(np.argsort(measures.relevance(topics, 1.0)[0])[::-1][:3], [0, 1, 2])
    for bad in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="relevance"):
            measures.relevance(topics, bad)


def test_a_model_ranks_by_relevance() -> None:
    X = np.random.default_rng(0).poisson(0.5, (60, 12))
    model = TopicModel(3, epochs=2, random_state=0, vocabulary=[f"a{i}" for i in range(12)]).fit(X)
    values = measures.relevance(model.components_, 0.3)
    assert model.top_words(n=4, relevance=0.3) == measures.top_words(values, model.vocabulary, 4)
    assert model.topic_diversity(4, relevance=0.3) == measures.diversity(values, 4)
    np.testing.assert_array_equal(model.coherence(X, n=4, relevance=0.3), measures.coherence(values, X, n=4))
    with pytest.raises(ValueError, match="relevance=2"):
        model.top_words(relevance=2)


def test_drawn_documents_have_the_frequencies_of_the_process() -> None:
    theta, phi = drawn(4, 3), np.random.default_rng(2).dirichlet(np.full(12, 0.5), 3)
    length = 200_000
    X = documents.sample_documents(theta, phi, length, np.random.default_rng(3)).toarray()
    p = theta @ phi  # p(w|d) = sum_t theta_dt phi_tw
    assert (X.sum(axis=1) == length).all()
    assert (np.abs(X - length * p) <= 5 * np.sqrt(length * p * (1 - p)) + 1).all()


def test_words_of_a_document_are_independent_draws() -> None:
    """The variance of a count is the binomial one: a topic is drawn for every word, not one for the document."""
    theta, phi = np.tile([0.5, 0.5], (20_000, 1)), np.array([[0.9, 0.1, 0], [0, 0.2, 0.8]])
    X = documents.sample_documents(theta, phi, 30, np.random.default_rng(4)).toarray()
    p = theta[0] @ phi
    np.testing.assert_allclose(X.var(axis=0), 30 * p * (1 - p), rtol=0.05)


def test_drawn_documents_are_a_sparse_matrix() -> None:
    theta, phi = drawn(50, 4), np.random.default_rng(2).dirichlet(np.full(40, 0.1), 4)
    lengths = np.random.default_rng(5).integers(0, 60, 50)
    lengths[[0, 20, 49]] = 0
    counts = documents.sample_documents(theta, phi, lengths, np.random.default_rng(6))
    dense = counts.toarray()
    assert dense.shape == counts.shape == (50, 40)
    assert (dense.sum(axis=1) == lengths).all()
    assert counts.nnz == (dense > 0).sum(), "no entry is stored twice, and none that is zero"
    theirs = scipy.sparse.csr_matrix((counts.data, counts.indices, counts.indptr), counts.shape)
    theirs.check_format(full_check=True)
    assert theirs.has_sorted_indices
    assert theirs.has_canonical_format
    np.testing.assert_array_equal(theirs.toarray(), dense)
    assert (measures.coherence(phi, counts) == measures.coherence(phi, dense)).all()
    again = documents.sample_documents(theta, phi, lengths, np.random.default_rng(6))
    np.testing.assert_array_equal(again.toarray(), dense)
    other = documents.sample_documents(theta, phi, lengths, np.random.default_rng(7))
    assert (other.toarray() != dense).any()


@pytest.mark.parametrize("way", ["mixture", "own words"])
def test_a_drawn_document_depends_neither_on_the_blocks_nor_on_those_after_it(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    theta, phi = drawn(90, 4), np.random.default_rng(2).dirichlet(np.full(40, 0.1), 4)
    lengths = np.random.default_rng(5).integers(0, 60, 90)

    def sample(n: int) -> NDArray[np.int32]:
        generator = np.random.default_rng(6)
        if way == "mixture":
            found = documents.sample_documents(theta[:n], phi, lengths[:n], generator)
        else:
            found = documents.sample_words(theta[:n], lambda some: some @ phi, 40, lengths[:n], generator)
        theirs = scipy.sparse.csr_matrix((found.data, found.indices, found.indptr), found.shape)
        theirs.check_format(full_check=True)
        assert theirs.has_canonical_format
        return found.toarray()

    whole = sample(90)
    assert (whole.sum(axis=1) == lengths).all()
    for cells in (1, 7 * 60, 89 * 60, 2**40):
        monkeypatch.setattr(documents, "_MAX_CELLS", cells)
        np.testing.assert_array_equal(sample(90), whole)
        np.testing.assert_array_equal(sample(31), whole[:31])


def test_words_without_probability_are_not_drawn_and_float32_rows_are_probabilities() -> None:
    phi = np.zeros((2, 1000), np.float32)
    phi[0, 100:400] = phi[1, 500:999] = 1
    phi /= phi.sum(axis=1, keepdims=True)
    theta = drawn(200, 2).astype(np.float32)
    X = documents.sample_documents(theta, phi, 1000, np.random.default_rng(8)).toarray()
    assert set(np.flatnonzero(X.sum(axis=0))) <= {*range(100, 400), *range(500, 999)}
    assert X.sum() == 200_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"theta": [[0.5, 0.6]]}, "each row of theta must be probabilities"),
        ({"theta": [[1.5, -0.5]]}, "each row of theta must be probabilities"),
        ({"theta": [[np.nan, 1.0]]}, "each row of theta must be probabilities"),
        ({"components": [[0.5, 0.4], [0.5, 0.5]]}, "each row of components must be probabilities"),
        ({"components": [[0.5, 0.5]]}, "theta has 2 topics, but components has 1"),
        ({"lengths": -1}, "lengths=-1 must be an integer, or 1 integers, at least 0 and at most 16777216"),
        ({"lengths": [3, 4]}, r"lengths=\[3, 4\] must be"),
        ({"lengths": 2.5}, r"lengths=2.5 must be"),
        ({"lengths": 2**40}, r"lengths=1099511627776 must be"),
    ],
)
def test_what_sample_documents_refuses(arguments: dict[str, Any], message: str) -> None:
    good = {"theta": [[0.5, 0.5]], "components": np.full((2, 4), 0.25), "lengths": 5}
    with pytest.raises(ValueError, match=message):
        documents.sample_documents(**(good | arguments), generator=np.random.default_rng(0))  # type: ignore[arg-type]


def test_words_of_documents_own_distributions_have_their_frequencies() -> None:
    p = np.random.default_rng(2).dirichlet(np.full(12, 0.5), 4)
    p[:, 3] = 0
    p /= p.sum(axis=1, keepdims=True)
    X = documents.sample_words(np.eye(4), lambda some: some @ p, 12, 200_000, np.random.default_rng(3)).toarray()
    assert (X.sum(axis=1) == 200_000).all()
    assert (np.abs(X - 200_000 * p) <= 5 * np.sqrt(200_000 * p * (1 - p))).all()


# ---------------------------------------------------------------------------------------------- documents


def hellinger(theta: Any, others: Any) -> NDArray[np.float64]:
    """Hellinger distances, by the coefficient of Bhattacharyya."""
    coefficients = np.sqrt(np.asarray(theta)[:, np.newaxis] * np.asarray(others)).sum(axis=2)
    return np.sqrt(np.maximum(1 - coefficients, 0))


def test_similar_documents_are_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    theta = drawn(100, 4)
    theta[70] = theta[30]
    monkeypatch.setattr("fastvae._neighbours._MAX_DISTANCES", 700)  # seven rows at a time
    indices, distances = documents.similar_documents(theta, theta[:40], 5)
    assert indices.shape == distances.shape == (40, 5)
    whole = hellinger(theta[:40], theta)
    np.fill_diagonal(whole, 0)
    np.testing.assert_array_equal(indices[:, 2:], np.argsort(whole, axis=1, kind="stable")[:, 2:5])
    np.testing.assert_allclose(distances[:, 1:], np.sort(whole, axis=1)[:, 1:5], rtol=1e-6, atol=1e-7)
    assert (indices[:, 0] == range(40)).all()
    assert (distances[:, 0] == 0).all(), "no rounding between equal documents"
    assert documents.similar_documents([[1, 0], [0, 1.0]], [[0.25, 0.75]])[1] == pytest.approx(
        np.array([[np.sqrt(1 - np.sqrt(0.75)), np.sqrt(0.5)]])
    )
    assert documents.similar_documents(theta, theta[:3])[0].shape == (3, 5)
    assert documents.similar_documents(theta[:2], theta[:3])[0].shape == (3, 2), "as many as there are"
    assert indices[30, :2].tolist() == [30, 70], "of equally distant ones the lower index first"
    with pytest.raises(ValueError, match="each row of query must be probabilities"):
        documents.similar_documents(theta, np.ones((2, 4)))
    with pytest.raises(ValueError, match="theta has 4 topics, but query has 2"):
        documents.similar_documents(theta, [[0.5, 0.5]])
    with pytest.raises(ValueError, match="n=101 must be an integer, at least 1 and at most 100"):
        documents.similar_documents(theta, theta, 101)


def test_the_map_is_the_plane_of_the_principal_components() -> None:
    theta = drawn(300, 6)
    places = documents.document_map(theta)
    assert places.shape == (300, 2)
    roots = np.sqrt(theta)
    variances = np.linalg.eigvalsh(np.cov(roots.T))[::-1]
    np.testing.assert_allclose(np.cov(places.T), np.diag(variances[:2]), atol=1e-12)
    np.testing.assert_allclose(places.mean(axis=0), 0, atol=1e-12)
    # The coordinates are an orthogonal projection of the roots: a plane's axes have length one.
    axes = np.linalg.lstsq(roots - roots.mean(axis=0), places, rcond=None)[0]
    np.testing.assert_allclose(axes.T @ axes, np.eye(2), atol=1e-10)
    assert (np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[np.newaxis], axis=0) > 0).all()
    np.testing.assert_allclose(documents.document_map(theta[::-1]), places[::-1], atol=1e-10)


def test_a_map_of_two_topics_keeps_hellinger_distances_and_of_one_there_is_none() -> None:
    theta = drawn(20, 2)
    places = documents.document_map(theta)
    distances = np.linalg.norm(places[:, np.newaxis] - places, axis=2) / np.sqrt(2)
    np.testing.assert_allclose(distances, hellinger(theta, theta), atol=1e-7)
    assert documents.document_map(theta[:2]).shape == (2, 2)
    assert (documents.document_map(np.full((3, 2), 0.5)) == 0).all(), "documents that are all the same"
    for bad in (np.ones((5, 1)), [[0.5, 0.5]]):
        with pytest.raises(ValueError, match="at least two documents and two topics"):
            documents.document_map(bad)
