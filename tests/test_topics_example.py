"""The comparison of topic models in examples/topics, on tiny sizes: sane measures, and a run that can be stopped."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from numpy.typing import NDArray

import fastvae
from fastvae._topics.documents import sample_documents

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parents[1] / "examples" / "topics"
MODULES = ("compare", "corpus", "measures", "prodlda", "tune")
N_TOPICS, N_WORDS = 3, 60
MODELS = ["lda", "nmf", "torch", *(["mixture", "product"] if hasattr(fastvae, "TopicModel") else [])]


@pytest.fixture(scope="module", autouse=True)
def importable() -> Iterator[None]:
    sys.path.insert(0, str(FOLDER))
    yield
    sys.path.remove(str(FOLDER))
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def truth() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shares and topics: three topics of twenty words each, and documents mostly of one topic."""
    random = np.random.default_rng(0)
    phi = np.kron(np.eye(N_TOPICS), np.full(20, 1 / 20))
    return random.dirichlet(np.full(N_TOPICS, 0.1), 300), phi


@pytest.fixture(scope="module")
def corpus_file(truth: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    theta, phi = truth
    counts = sample_documents(theta, phi, 40, np.random.default_rng(1))
    path = tmp_path_factory.mktemp("data") / "corpus.npz"
    np.savez(
        path, data=counts.data.astype(np.uint16), indices=counts.indices, indptr=counts.indptr.astype(np.int32),
        shape=np.array(counts.shape), vocabulary=np.array([f"w{i}" for i in range(N_WORDS)]),
        labels=np.array(["a", "b", "c"])[theta.argmax(axis=1)], split=np.array(["train"] * 200 + ["test"] * 100),
    )  # fmt: skip
    return path


def run(corpus_file: Path, folder: Path, *options: str) -> list[dict[str, Any]]:
    import compare

    sizes = ["--data", str(corpus_file), "--out", str(folder), "--topics", str(N_TOPICS), "--quick"]
    compare.main([*sizes, "--models", *(options or MODELS)])
    path = folder / "bbc.json"
    found: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    return found


@pytest.fixture(scope="module")
def whole(corpus_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    run(corpus_file, folder)
    return folder


def test_measures_are_sane_and_in_the_table(whole: Path) -> None:
    runs = json.loads((whole / "bbc.json").read_text())
    assert [one["model"] for one in runs] == MODELS
    for one in runs:
        assert -1 <= one["npmi"] <= 1
        assert 1 / N_TOPICS <= one["diversity"] <= 1
        if one["model"] == "nmf":
            assert one["perplexity"] is None, "it has no probabilities of words"
        else:
            assert 20 * 0.9 < one["perplexity"] < 3 * N_WORDS, "a topic has twenty words"
        assert 0 < one["accuracy"] <= 1
        assert 1 <= one["topics_used"] <= N_TOPICS + 1e-6
        assert one["seconds"] > 0
        assert one["ms_an_epoch"] == pytest.approx(1000 * one["seconds"] / one["settings"]["epochs"])
        assert one["settings"]["epochs"] == 3
        assert [len(words.split()) for words in one["words"]] == [10] * N_TOPICS
    lines = (whole / "bbc.md").read_text().splitlines()
    assert len(lines) == 2 + len(MODELS)
    assert len({line.count("|") for line in lines}) == 1
    assert f"{runs[0]['npmi']:.3f}" in lines[2]


def test_a_stopped_run_goes_on(corpus_file: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import compare

    good = compare.run

    def dying(name: str, *arguments: Any) -> Any:
        if name == "torch":
            raise KeyboardInterrupt
        return good(name, *arguments)

    monkeypatch.setattr(compare, "run", dying)
    with pytest.raises(KeyboardInterrupt):
        run(corpus_file, tmp_path)
    first = json.loads((tmp_path / "bbc.json").read_text())
    assert [one["model"] for one in first] == ["lda", "nmf"]
    monkeypatch.setattr(compare, "run", good)
    runs = run(corpus_file, tmp_path)
    assert runs[:2] == first, "they are not done again"
    times = ("seconds", "wall_seconds", "ms_an_epoch")
    for one, other in zip(runs, json.loads((whole / "bbc.json").read_text()), strict=True):
        assert {k: v for k, v in one.items() if k not in times} == {k: v for k, v in other.items() if k not in times}


def test_a_model_can_be_measured_again_and_the_others_are_kept(corpus_file: Path, whole: Path, tmp_path: Path) -> None:
    (tmp_path / "bbc.json").write_bytes((whole / "bbc.json").read_bytes())
    before = json.loads((tmp_path / "bbc.json").read_text())
    after = run(corpus_file, tmp_path, "lda", "--again")
    assert [one["model"] for one in after] == MODELS
    assert after[0]["seconds"] != before[0]["seconds"]
    assert after[1:] == before[1:]


def test_models_that_are_right_measure_best(corpus_file: Path, truth: Any) -> None:
    """The measures, on the model that the documents were drawn from, and on one that knows nothing."""
    import corpus
    import measures

    documents = corpus.load(corpus_file)
    _, phi = truth
    smooth = 0.999 * phi + 0.001 / N_WORDS

    class Truth:
        components_ = smooth

        def transform(self, X: Any) -> Any:
            """Shares of the words by topic: exact, as no word is in two topics."""
            return X @ phi.T / np.maximum((X @ phi.T).sum(axis=1, keepdims=True), 1e-9)

        def inverse_transform(self, theta: Any) -> Any:
            return (0.99 * theta + 0.01 / N_TOPICS) @ smooth

    class Nothing:
        components_ = np.full((N_TOPICS, N_WORDS), 1 / N_WORDS)

        def transform(self, X: Any) -> Any:
            return np.tile([0.98, 0.01, 0.01], (X.shape[0], 1))

        def inverse_transform(self, theta: Any) -> Any:
            return theta @ self.components_

    right, wrong = (measures.measure(model, documents) for model in (Truth(), Nothing()))
    assert right["accuracy"] > 0.9 > wrong["accuracy"]
    assert 20 < right["perplexity"] < 35
    assert wrong["perplexity"] == pytest.approx(N_WORDS)
    assert right["topics_used"] > 2.5
    assert wrong["topics_used"] == pytest.approx(np.exp(-(0.98 * np.log(0.98) + 0.02 * np.log(0.01))))
    assert right["npmi"] > 0.1
    assert right["diversity"] == 60 / 75, "of the 25 top words five are of other topics"
    assert wrong["diversity"] == 1 / 3


def test_titles_are_the_words_of_their_articles(corpus_file: Path, tmp_path: Path) -> None:
    import corpus

    documents = corpus.load(corpus_file)
    counts, article = corpus.titles(documents.counts, 0)
    assert abs(counts.sum(1).mean() - 8) < 0.5
    of = scipy.sparse.csr_matrix((np.ones(len(article)), (article, np.arange(len(article)))))
    np.testing.assert_array_equal((of @ counts).toarray(), documents.counts.toarray())
    found = corpus.in_titles(documents, 0)
    assert (found.labels == documents.labels[article]).all()
    run(corpus_file, tmp_path, "nmf", "product", "--corpus", "titles")
    runs = json.loads((tmp_path / "titles.json").read_text())
    assert [one["model"] for one in runs] == ["nmf", "product"]
    assert runs[1]["settings"]["init"] == "clusters"


def test_halves_are_all_of_the_words(corpus_file: Path) -> None:
    import corpus

    dense = corpus.load(corpus_file).counts.toarray()
    dense[3] = 0
    dense[4, 7] += 1  # an odd number of words
    counts = scipy.sparse.csr_matrix(dense)
    first, second = corpus.halves(counts)
    np.testing.assert_array_equal(counts.toarray(), dense)
    np.testing.assert_array_equal((first + second).toarray(), dense)
    totals, seen = np.asarray(counts.sum(axis=1)), np.asarray(first.sum(axis=1))
    np.testing.assert_array_equal(seen, totals // 2)
    assert (first.data > 0).all()
    assert (second.data > 0).all()
    again = corpus.halves(counts)[0]
    assert abs(again - first).nnz == 0, "all models are asked the same"


def test_prodlda_s_loss_is_that_of_torch_s_distributions() -> None:
    torch = pytest.importorskip("torch")
    import prodlda

    n_topics, alpha = 4, 0.3
    X = np.random.default_rng(0).integers(0, 3, (8, 12)).astype(np.float32)
    model = prodlda.ProdLDA(n_topics, alpha=alpha, dropout=0.0, random_state=1)
    model.start(scipy.sparse.csr_matrix(X))
    x = torch.from_numpy(X)
    torch.manual_seed(2)
    losses = model.losses(x)
    torch.manual_seed(2)
    h = model.encoder(x)
    q = torch.distributions.Normal(model.mu(h), torch.exp(model.logvar(h) / 2))
    log_words = torch.log_softmax(model.norm(model.beta(torch.softmax(q.rsample(), dim=1))), dim=1)
    a = np.full(n_topics, alpha)
    mean = np.log(a) - np.log(a).mean()
    variance = (1 - 2 / n_topics) / a + (1 / a).sum() / n_topics**2
    prior = torch.distributions.Normal(torch.tensor(mean).float(), torch.tensor(np.sqrt(variance)).float())
    kl = torch.distributions.kl_divergence(q, prior).sum(1)
    torch.testing.assert_close(losses, kl - (x * log_words).sum(1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shift", [True, False])
def test_prodlda_learns(corpus_file: Path, shift: bool) -> None:
    import corpus
    import measures
    import prodlda

    documents = corpus.load(corpus_file)
    train, _ = documents.part("train")
    model = prodlda.ProdLDA(N_TOPICS, epochs=60, batch_size=50, learning_rate=1e-2, shift=shift, random_state=0)
    model.fit(train)
    np.testing.assert_allclose(model.transform(train).sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(model.inverse_transform(model.transform(train)).sum(axis=1), 1, atol=1e-5)
    found = measures.measure(model, documents)
    assert found["accuracy"] > 0.8
    assert len(model.seconds_) == 60


def test_tuning_takes_the_best_sum(corpus_file: Path) -> None:
    import corpus
    import tune

    documents = corpus.load(corpus_file)
    documents.split[documents.split == "test"] = "val"
    tried = tune.attempt({"dropout": 0.2, "batch_size": 50}, documents, (2, 4))
    assert [one["setting"]["epochs"] for one in tried] == [2, 4]
    assert tune.best([*tried, {"npmi": 1.0, "accuracy": 1.0}]) == {"npmi": 1.0, "accuracy": 1.0}


def test_what_is_no_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="Pass --data PATH"):
        run(tmp_path / "nothing.npz", tmp_path)
    np.savez(tmp_path / "wrong.npz", data=np.zeros(3))
    with pytest.raises(SystemExit, match="indptr"):
        run(tmp_path / "wrong.npz", tmp_path)
