"""Words of documents by topic: the formula, sums, storage, memory."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from fastvae import TopicModel
from fastvae._topics import explanation

RNG = np.random.default_rng(0)
PHI = RNG.dirichlet(np.full(30, 0.1), 4)
THETA = RNG.dirichlet(np.full(4, 0.2), 300)
X = np.array([RNG.multinomial(20, theta @ PHI) for theta in THETA])
X[7] = 0


@pytest.fixture(scope="module", params=["mixture", "product"])
def model(request: pytest.FixtureRequest) -> TopicModel:
    words = [f"word{j}" for j in range(30)]
    return TopicModel(4, decoder=request.param, epochs=60, random_state=0, init="clusters", vocabulary=words).fit(X)


def test_shares_are_the_responsibilities_of_a_mixture(model: TopicModel) -> None:
    found = model.explain(X)
    theta, phi = model.transform(X).astype(np.float64), model.components_.astype(np.float64)
    assert found.shape == (300, 30, 4)
    dense = found.toarray()
    for d, w in ((0, X[0].argmax()), (299, X[299].argmax())):
        joint = theta[d] * phi[:, w]
        np.testing.assert_allclose(dense[d, w], joint / joint.sum(), rtol=1e-5)
    np.testing.assert_allclose(found.shares.sum(1), 1, rtol=1e-6)
    np.testing.assert_array_equal(dense.sum(2) > 0.5, X > 0)  # of the words that occur
    np.testing.assert_allclose(found.topic_counts().sum(1), X.sum(1), rtol=1e-5)
    assert (found.topic_counts()[7] == 0).all()


def test_topics_of_words_are_those_they_were_drawn_from() -> None:
    rng = np.random.default_rng(1)
    topics = np.array([rng.choice(4, 20, p=theta) for theta in THETA])
    words = np.array([[rng.choice(30, p=PHI[k]) for k in row] for row in topics])
    drawn = np.array([np.bincount(row, minlength=30) for row in words])
    model = TopicModel(4, random_state=0, init="clusters", epochs=150).fit(drawn)
    match = (np.minimum(model.components_[:, None], PHI[None]).sum(2)).argmax(1)
    assert sorted(match) == [0, 1, 2, 3]
    dense = model.explain(drawn).toarray()
    best = match[dense.argmax(2)]
    right = np.mean([best[d, w] == k for d in range(300) for w, k in zip(words[d], topics[d], strict=True)])
    prior = np.mean([match[model.transform(drawn[d : d + 1]).argmax()] == k for d in range(40) for k in topics[d]])
    assert right > 0.8
    assert right > prior


def test_storage_types_and_topics_agree(model: TopicModel) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    whole = model.explain(X)
    for given in (sparse.csr_matrix(X), X.astype(np.uint8), X.astype(np.float32)):
        other = model.explain(given)
        for name in ("shares", "counts", "indices", "indptr"):
            np.testing.assert_array_equal(getattr(whole, name), getattr(other, name))
    for k in range(4):
        one = model.explain(sparse.csr_matrix(X), topic=k)
        matrix = sparse.csr_matrix((one.data, one.indices, one.indptr), one.shape)
        np.testing.assert_array_equal(matrix.toarray(), whole.toarray()[:, :, k])


def test_a_document_lists_its_words(model: TopicModel) -> None:
    found = model.explain(X)
    words = found.document(-1)
    assert [word for word, _ in words] == [f"word{j}" for j in np.flatnonzero(X[299])]
    assert found.document(7) == []
    assert found.document(0, [f"w{j}" for j in range(30)])[0][0].startswith("w")
    assert "300 documents" in repr(found)
    with pytest.raises(IndexError, match="document 300 is not one of 300"):
        found.document(300)
    with pytest.raises(ValueError, match="topic=4"):
        model.explain(X, topic=4)
    with pytest.raises(ValueError, match="vocabulary has 2 words, but X has 30 columns"):
        found.document(0, ["a", "b"])


def test_memory_is_that_of_the_result_and_of_a_block(model: TopicModel) -> None:
    sparse: Any = pytest.importorskip("scipy.sparse")
    many = sparse.csr_matrix(np.tile(X, (40, 1)))
    model.explain(many[:10])
    tracemalloc.start()
    found = model.explain(many, topic=0)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    result = found.data.nbytes + found.indices.nbytes + found.indptr.nbytes
    dense = many.shape[0] * 30 * 4 * 4
    theta = many.shape[0] * 4 * 4
    assert most < 3 * result + 4 * theta + 300 * explanation._BLOCK * 4 < dense
