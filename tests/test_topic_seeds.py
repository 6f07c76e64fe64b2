"""Seed words and starts from clusters: against torch's autograd, against known topics, and what is refused."""

from __future__ import annotations

import pickle
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from themes import N_EACH, N_THEMES, THEMES, WORDS, X, corpus

import fastvae
from fastvae import TopicModel
from fastvae._topics import clusters, weights
from fastvae._topics.seeds import occurrences

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

DECODERS = ("mixture", "product")
SEEDS = {0: ["c3", "c7"], 2: ["a1", "a2", "a5"]}
FAST: dict[str, Any] = {"epochs": 40, "random_state": 0, "n_jobs": 1}


def theme_of(topic: NDArray[np.float32]) -> int:
    """The theme with the largest share of a topic."""
    return int(topic[: N_THEMES * N_EACH].reshape(N_THEMES, N_EACH).sum(1).argmax())


# ---------------------------------------------------------------------------------------------- the prior


@pytest.mark.parametrize("decoder", DECODERS)
def test_the_gradient_of_the_prior_is_that_of_torch(decoder: str) -> None:
    options: dict[str, Any] = {"decoder": decoder, "hidden": (8,), "masking": 0.0, "epochs": 1, "random_state": 0}
    options |= {"vocabulary": WORDS, "init": "random", "beta": 1.0}
    seeded = TopicModel(5, seed_words=SEEDS, seed_strength=0.3, **options).fit(X)
    plain = TopicModel(5, **options).fit(X)
    state = seeded.state_dict()
    plain.load_state_dict(state)
    (losses, gradients), (bare, bare_gradients) = (model.loss_and_gradients(X) for model in (seeded, plain))
    weight = torch.tensor(state["topics.weight"], dtype=torch.float64, requires_grad=True)  # [words, topics]
    each = 0.3 / 0.7 * X.sum() / 5
    penalty = torch.zeros((), dtype=torch.float64)
    for topic, words in SEEDS.items():
        for word in words:
            column = WORDS.index(word)
            if decoder == "mixture":
                share = (10 * weight).log_softmax(0)[column, topic]
            else:
                share = weight[column].log_softmax(0)[topic]
            penalty = penalty - each / len(words) * share
    (penalty / len(X)).backward()
    assert weight.grad is not None
    expected = weight.grad.numpy()
    found = gradients["topics.weight"] - bare_gradients["topics.weight"]
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, atol=2e-4 * np.abs(expected).max() + 1e-5)
    for name, gradient in bare_gradients.items():
        if name != "topics.weight":
            np.testing.assert_array_equal(gradients[name], gradient)
    assert losses["loss"] - bare["loss"] == pytest.approx(penalty.item() / len(X), rel=1e-5)
    assert losses["elbo"] == bare["elbo"]  # without the prior


def test_occurrences_are_a_share_of_a_topic() -> None:
    found = occurrences([(0, 3), (0, 4), (2, 9)], 0.2, 4, total=1000.0)
    assert [(seed["topic"], seed["word"]) for seed in found] == [(0, 3), (0, 4), (2, 9)]
    fair = 1000 / 4
    own = found[0]["count"] + found[1]["count"]
    assert own / (own + fair) == pytest.approx(0.2)
    assert found[2]["count"] == pytest.approx(own)


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_topic_collects_the_theme_of_its_seeds(decoder: str) -> None:
    for seed in range(3):
        model = TopicModel(5, decoder=decoder, seed_words=SEEDS, vocabulary=WORDS, **FAST | {"random_state": seed}).fit(
            X
        )
        themes = [theme_of(topic) for topic in model.components_]
        assert themes[0] == 2, "c"
        assert themes[2] == 0, "a"
        theta = model.transform(X)
        assert theta[THEMES == 2].argmax(1).tolist().count(0) > 0.8 * (THEMES == 2).sum()
        for topic, words in SEEDS.items():
            columns = [WORDS.index(word) for word in words]
            assert (model.components_[:, columns].argmax(0) == topic).all()
    plain = TopicModel(5, decoder=decoder, **FAST).fit(X)
    assert [theme_of(topic) for topic in plain.components_][0:3:2] != [2, 0], "seeds, not luck"


@pytest.mark.parametrize("decoder", DECODERS)
def test_words_that_never_occur_together_share_a_topic_if_they_are_its_seeds(decoder: str) -> None:
    seeds = {1: ["a1", "e1"]}
    model = TopicModel(5, decoder=decoder, seed_words=seeds, seed_strength=0.3, vocabulary=WORDS, **FAST)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two themes in one topic leave two topics for one theme
        model.fit(X)
    plain = TopicModel(5, decoder=decoder, init="clusters", **FAST).fit(X)
    columns = [WORDS.index(word) for word in ("a1", "e1")]
    assert (model.components_[:, columns].argmax(0) == 1).all()
    assert len(set(plain.components_[:, columns].argmax(0))) == 2


def test_a_stronger_prior_gives_seeds_a_larger_share() -> None:
    columns = [WORDS.index(word) for word in SEEDS[0]]
    shares = [
        TopicModel(5, seed_words=SEEDS, vocabulary=WORDS, seed_strength=strength, **FAST)
        .fit(X)
        .components_[0, columns]
        .sum()
        for strength in (0.01, 0.2, 0.6)
    ]
    assert shares[0] < shares[1] < shares[2]
    assert shares[2] > 0.5


# ---------------------------------------------------------------------------------------------- names


def test_seeds_are_words_or_columns() -> None:
    named = TopicModel(5, seed_words=SEEDS, vocabulary=WORDS, **FAST | {"epochs": 2}).fit(X)
    by_column = {topic: [WORDS.index(word) for word in words] for topic, words in SEEDS.items()}
    mapping = {word: column for column, word in reversed(list(enumerate(WORDS)))}
    for options in (
        {"seed_words": by_column},
        {"seed_words": {np.int64(topic): np.array(words) for topic, words in by_column.items()}},
        {"seed_words": SEEDS, "vocabulary": mapping},
        {"seed_words": {topic: tuple(words) for topic, words in SEEDS.items()}, "vocabulary": np.array(WORDS)},
    ):
        other = TopicModel(5, **FAST | {"epochs": 2}, **options).fit(X)
        np.testing.assert_array_equal(named.components_, other.components_)
    assert named.top_words() == named.top_words(WORDS)


def test_seeds_are_columns_of_a_frame() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=WORDS)
    model = TopicModel(5, seed_words=SEEDS, **FAST | {"epochs": 2}).fit(frame)
    named = TopicModel(5, seed_words=SEEDS, vocabulary=WORDS, **FAST | {"epochs": 2}).fit(X)
    np.testing.assert_array_equal(named.components_, model.components_)
    assert model.top_words(n=3) == named.top_words(n=3)
    with pytest.raises(ValueError, match=r"seed_words\[0\] has 'zebra', not in the vocabulary of 72 words"):
        TopicModel(5, seed_words={0: ["zebra"]}).fit(frame)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed_words": {0: ["comon3", "x"]}}, r"\[0\] has 'comon3', 'x', not in .* 72 words \(there is 'common3'\)"),
        ({"seed_words": {5: ["a1"]}}, "the topic 5, but n_topics=5: topics are 0 to 4"),
        ({"seed_words": {"sport": ["a1"]}}, "the topic 'sport', but n_topics=5"),
        ({"seed_words": {0: "a1"}}, r"seed_words\[0\]='a1' must be a list of words"),
        ({"seed_words": {0: [1.5]}}, r"seed_words\[0\] has 1.5; a seed is a word or the index"),
        ({"seed_words": {0: [72]}}, r"seed_words\[0\] has the column 72; the columns of X are 0 to 71"),
        ({"seed_words": ["a1"]}, "must map topics to their words"),
        ({"seed_words": {0: ["a1"]}, "vocabulary": None}, "columns of X have no names: pass vocabulary="),
        ({"seed_words": {0: ["a1"]}, "vocabulary": WORDS[:9]}, "vocabulary has 9 words, but X has 72 columns"),
        ({"seed_words": {0: ["a1"]}, "seed_strength": 1.0}, "seed_strength"),
        ({"seed_words": {0: ["a1"]}, "seed_strength": 0.0}, "seed_strength"),
        ({"init": "kmeans"}, "init='kmeans'"),
    ],
)
def test_bad_seeds_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TopicModel(5, **{"vocabulary": WORDS, "epochs": 1} | options).fit(X)


def test_seeds_that_never_occur_are_warned_of() -> None:
    without = X.copy()
    without[:, WORDS.index("a1")] = 0
    options: dict[str, Any] = {"seed_words": {2: ["a1", "a2"]}, "vocabulary": WORDS}
    with pytest.warns(UserWarning, match=r"^seed_words\[2\] 'a1': no training document has such a word"):
        TopicModel(5, **FAST | {"epochs": 2}, **options).fit(without)


def test_a_model_without_names_asks_for_them() -> None:
    model = TopicModel(5, epochs=1, random_state=0).fit(X)
    with pytest.raises(ValueError, match="pass vocabulary="):
        model.top_words()


# ---------------------------------------------------------------------------------------------- saving, bits


@pytest.mark.parametrize("decoder", DECODERS)
def test_seeds_survive_saving_and_go_on(decoder: str, tmp_path: Path) -> None:
    model = TopicModel(
        5, decoder=decoder, seed_words=SEEDS, vocabulary=WORDS, warm_start=True, **FAST | {"epochs": 3}
    ).fit(X)
    model.save(tmp_path / "model.fv")
    others = [fastvae.load(tmp_path / "model.fv"), pickle.loads(pickle.dumps(model))]
    model.fit(X)
    whole = TopicModel(5, decoder=decoder, seed_words=SEEDS, vocabulary=WORDS, **FAST | {"epochs": 6}).fit(X)
    np.testing.assert_array_equal(model.components_, whole.components_)
    for other in others:
        assert {k: list(v) for k, v in other.seed_words.items()} == SEEDS
        assert other.top_words(n=2)
        np.testing.assert_array_equal(other.set_params(warm_start=True).fit(X).components_, model.components_)
    with pytest.raises(ValueError, match="seed_words has changed: set it back, or fit with warm_start=False"):
        model.set_params(seed_words={0: ["a1"]}).fit(X)


@pytest.mark.parametrize("decoder", DECODERS)
def test_results_with_seeds_depend_neither_on_threads_nor_on_storage(decoder: str) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    options = FAST | {"epochs": 2, "decoder": decoder, "seed_words": SEEDS, "vocabulary": WORDS}
    first = TopicModel(5, **options).fit(X)
    other = TopicModel(5, **options | {"n_jobs": 2}).fit(sparse.csr_matrix(X))
    for name, value in first.state_dict().items():
        np.testing.assert_array_equal(value, other.state_dict()[name])


# ---------------------------------------------------------------------------------------------- clusters


def read(values: Any) -> Any:
    return TopicModel(2)._read_first(values, None)[0]


@pytest.mark.parametrize("seed", range(4))
def test_clusters_are_the_themes(seed: int) -> None:
    examples = read(X)
    found = clusters.topics(examples, None, weights.count_words(examples), N_THEMES, seed, [])
    assert found.shape == (N_THEMES, len(WORDS))
    np.testing.assert_allclose(found.sum(1), 1)
    assert sorted(theme_of(topic) for topic in found) == list(range(N_THEMES))
    seeded = clusters.topics(examples, None, weights.count_words(examples), N_THEMES, seed, [(3, 1), (3, 4)])
    assert theme_of(seeded[3]) == 0


def test_clusters_are_of_the_training_rows_and_within_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    rows = np.arange(0, len(X), 2, dtype=np.uint64)
    counts = weights.count_words(read(X), rows)
    part = clusters.topics(read(X), rows, counts, 5, 0, [])
    own = np.ascontiguousarray(X[::2])
    np.testing.assert_array_equal(part, clusters.topics(read(own), None, counts, 5, 0, []))
    np.testing.assert_array_equal(part, clusters.topics(read(sparse.csr_matrix(X)), rows, counts, 5, 0, []))
    monkeypatch.setattr(clusters, "_PAIRS", 10_000)  # fewer documents
    assert not np.array_equal(part, clusters.topics(read(X), rows, counts, 5, 0, []))


def test_products_of_clusters_are_exact() -> None:
    largest = clusters._CONTEXTS * clusters._LEVELS * clusters._CENTRE
    assert largest < 2**24
    words = clusters._describe(read(X), None, weights.count_words(read(X)))
    assert (words.features == np.rint(words.features)).all()
    assert clusters._SUMMED * clusters._LEVELS * clusters._PART < 2**24
    assert words.features.max() <= clusters._LEVELS
    assert words.parts.max() <= clusters._PART
    assert (words.parts == np.rint(words.parts)).all()
    centres = clusters._centres(words.features, words.parts, np.tile(np.arange(len(WORDS)) < 20, (3, 1)))
    assert 0 < np.abs(centres).max() <= clusters._CENTRE
    assert (centres == np.rint(centres)).all()


@pytest.mark.parametrize("decoder", DECODERS)
def test_few_epochs_are_enough_after_clusters(decoder: str) -> None:
    many, _ = corpus(3000, seed=5)
    options: dict[str, Any] = {"decoder": decoder, "random_state": 0, "epochs": 2, "learning_rate": 5e-3}
    started = TopicModel(5, init="clusters", **options).fit(many)
    assert sorted(theme_of(topic) for topic in started.components_) == list(range(N_THEMES))
    random = TopicModel(5, **options).fit(many)
    assert started.coherence(many).mean() > random.coherence(many).mean() + 0.05


@pytest.mark.parametrize("decoder", DECODERS)
def test_corpora_without_clusters_do_no_harm(decoder: str) -> None:
    for few in (np.eye(6, 4, dtype=int), np.zeros((5, 4), int), np.ones((3, 2), int)):
        model = TopicModel(7, decoder=decoder, init="clusters", epochs=2, random_state=0).fit(few)
        assert np.isfinite(model.components_).all()


def test_the_default_start_depends_on_the_seeds() -> None:
    assert "linear(0, 1, steps=500)" in TopicModel(5).describe_objective()
    assert TopicModel(5, init="clusters")._objective().beta == 1.0
    assert TopicModel(5, seed_words={0: [1]})._objective().beta == 1.0
    assert TopicModel(5, seed_words={0: [1]}, init="random")._objective().beta != 1.0
