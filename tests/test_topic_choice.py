"""The number of topics: document completion against a direct computation, the advice, the picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from themes import WORDS, X

from fastvae import TopicModel
from fastvae._topics import choice, measures

FAST: dict[str, Any] = {"epochs": 40, "random_state": 0, "init": "clusters", "n_jobs": 1}


def read(values: Any) -> Any:
    return TopicModel(2)._read_first(values, None)[0]


def test_documents_are_divided_into_training_and_two_halves() -> None:
    sparse: Any = pytest.importorskip("scipy.sparse")
    for given in (X, sparse.csr_matrix(X)):
        held = choice.hold_out(len(X), 0.25, np.random.default_rng(2))
        training, seen, scored = choice.divide(read(given), held, np.random.default_rng(3))
        assert training.shape == (450, 72)
        assert seen.shape == scored.shape == (150, 72)
        parts = np.concatenate([training.toarray(), seen.toarray() + scored.toarray()])
        np.testing.assert_array_equal(parts, np.concatenate([X[~held], X[held]]))
        np.testing.assert_array_equal(seen.toarray().sum(1), 15)
        np.testing.assert_array_equal(scored.toarray().sum(1), 15)


@pytest.mark.parametrize("decoder", ["mixture", "product"])
def test_completion_is_the_perplexity_of_the_other_half(decoder: str) -> None:
    held = choice.hold_out(len(X), 0.5, np.random.default_rng(0))
    training, seen, scored = choice.divide(read(X), held, np.random.default_rng(0))
    model = TopicModel(5, decoder=decoder, **FAST | {"epochs": 5}).fit(training)
    theta = model.transform(seen)
    p, x = model.inverse_transform(theta).astype(np.float64), scored.toarray()
    expected = np.exp(-(x * np.log(p)).sum() / x.sum())
    assert choice.completion(theta, model.inverse_transform, scored) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("decoder", ["mixture", "product"])
def test_the_true_number_of_topics_is_advised(decoder: str) -> None:
    found = TopicModel(decoder=decoder, **FAST).choose_n_topics(X, (2, 5, 12), n_repeats=2)
    assert found.best == 5
    assert found.perplexity.shape == found.coherence.shape == (2, 3)
    assert "5 topics" in found.advice
    text = str(found)
    assert text.splitlines()[2].endswith("*")
    again = TopicModel(decoder=decoder, **FAST).choose_n_topics(X, [12, 5, 2, 5], n_repeats=2)
    np.testing.assert_array_equal(again.perplexity, found.perplexity)


def test_the_advice_names_what_it_gives_up_and_the_ends_of_the_grid() -> None:
    numbers = np.array([5, 10, 20])
    best, why = choice.advise(numbers, np.array([900.0, 700.0, 690.0]), np.array([0.3, 0.2, 0.15]))
    assert best == 10
    assert "within 5% of the lowest (690, with 20 topics)" in why
    assert "5 topics are more coherent (0.300), but predict documents worse" in why
    best, why = choice.advise(numbers, np.array([900.0, 700.0, 600.0]), np.array([0.1, 0.2, 0.3]))
    assert best == 20
    assert "It is the largest number of the grid: try larger ones." in why
    best, why = choice.advise(np.array([2, 3]), np.array([700.0, 900.0]), np.array([0.2, 0.205]))
    assert best == 2
    assert "try smaller" not in why, "2 is the least"
    assert "more coherent" not in why, "by 0.005"
    assert choice.advise(numbers, np.array([700.0, 700.0, 700.0]), np.array([0.295, 0.3, 0.3]))[0] == 5


def test_embeddings_are_divided_as_the_documents_are() -> None:
    # The first dimension of an embedding is the number of its document, found again by the document's counts.
    E = np.stack([np.arange(len(X)) / len(X), np.ones(len(X))], 1).astype(np.float32)
    of = {tuple(row): i for i, row in enumerate(X)}
    seen: list[tuple[str, Any, Any]] = []

    class Recorded(TopicModel):
        def fit(self, X: Any, *args: Any, embeddings: Any = None, **options: Any) -> Any:
            seen.append(("fit", X.toarray(), embeddings))
            return super().fit(X, *args, embeddings=embeddings, **options)

        def transform(self, X: Any, *, y: Any = None, embeddings: Any = None) -> Any:
            if embeddings is not None:
                seen.append(("transform", X, embeddings))
            return super().transform(X, y=y, embeddings=embeddings)

    found = Recorded(contextual="combined", **FAST | {"epochs": 2}).choose_n_topics(X, (2, 5), embeddings=E)
    assert found.perplexity.shape == (1, 2)
    assert [what for what, *_ in seen] == ["fit", "transform"] * 2
    for _, counts, vectors in seen[::2]:
        rows = [of[tuple(row)] for row in counts]
        np.testing.assert_array_equal(vectors, E[rows])
    fitted = {float(row[0]) for row in seen[0][2]}
    held = {float(row[0]) for row in seen[1][2]}
    assert fitted | held == {float(row[0]) for row in E}
    assert not fitted & held
    with pytest.raises(ValueError, match="embeddings have 3 rows"):
        TopicModel(**FAST).choose_n_topics(X, (2, 5), embeddings=E[:3])


def test_names_and_seeds_are_kept() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=WORDS)
    model = TopicModel(seed_words={0: ["a1"]}, **FAST | {"epochs": 2})
    assert model.choose_n_topics(frame, (4, 5)).best in (4, 5)
    with pytest.raises(ValueError, match="not in the vocabulary"):
        TopicModel(seed_words={0: ["zebra"]}, **FAST).choose_n_topics(frame, (4, 5))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grid": ()}, "grid is empty"),
        ({"grid": 5}, "grid=5 must be numbers of topics"),
        ({"grid": (1, 5)}, "a number of the grid"),
        ({"held_out": 0}, "held_out=0 leaves no documents"),
        ({"held_out": 1.0}, "held_out"),
        ({"held_out": 0.9999}, "too few documents"),
        ({"n_repeats": 0}, "n_repeats"),
    ],
)
def test_bad_arguments_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TopicModel(**FAST).choose_n_topics(X, **{"grid": (2, 3)} | options)


def test_documents_that_cannot_be_divided_are_refused() -> None:
    with pytest.raises(ValueError, match=r"X\[0, \d+\] is \d*\.?5: the words of documents are divided"):
        TopicModel(**FAST).choose_n_topics(X * 0.5, (2, 3))
    with pytest.raises(ValueError, match="the held-out documents contain no words"):
        TopicModel(**FAST).choose_n_topics(np.zeros((10, 4)), (2, 3))
    with pytest.raises(ValueError, match="the vocabulary has one word"):
        measures.coherence(np.ones((2, 1)), np.ones((3, 1)))


def test_a_prior_of_each_topic_does_not_fit_other_numbers() -> None:
    with pytest.raises(ValueError, match="alpha is a number for each topic"):
        TopicModel(2, alpha=[0.1, 0.2]).choose_n_topics(X, (2, 3))
    with pytest.raises(TypeError, match="holds texts"):
        TopicModel(2).choose_n_topics(["one text", "another"], (2, 3))


def test_the_picture_shows_both_measures() -> None:
    pytest.importorskip("matplotlib")
    from fastvae import plots

    found = TopicModel(**FAST | {"epochs": 2}).choose_n_topics(X, (2, 5), n_repeats=2)
    ax = plots.n_topics(found)
    other = ax.figure.axes[1]
    np.testing.assert_allclose(ax.lines[0].get_ydata(), found.perplexity.mean(0))
    np.testing.assert_allclose(other.lines[0].get_ydata(), found.coherence.mean(0))
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["2", "5"]


def test_fractions_of_words_are_refused() -> None:
    counts = np.random.default_rng(0).poisson(1.0, (40, 12))
    with pytest.raises(ValueError, match=r"X\[\d+, \d+\] is 0.\d+: .* whole counts"):
        TopicModel(2, epochs=1, random_state=0).choose_n_topics(counts / 7, (2, 3))
