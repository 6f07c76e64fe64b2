"""Embeddings beside the counts: against torch, documents without words, saving, bits."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from reference import noise
from test_topics import Norm, TorchTopics
from themes import THEMES, X

import fastvae
from fastvae import TopicModel

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(9)
# Vectors of the documents as a language model might give them: the theme, turned, with noise.
TURN = np.linalg.qr(RNG.normal(size=(16, 16)))[0]
E = (np.eye(5, 16)[THEMES] @ TURN + 0.05 * RNG.normal(size=(len(X), 16))).astype(np.float32)
FAST: dict[str, Any] = {"epochs": 40, "random_state": 0, "init": "clusters", "n_jobs": 1}
BOTH = [(decoder, mode) for decoder in ("mixture", "product") for mode in ("combined", "only")]


@pytest.mark.parametrize(("decoder", "mode"), BOTH)
def test_losses_and_gradients_are_those_of_torch(decoder: str, mode: str) -> None:
    options: dict[str, Any] = {"decoder": decoder, "contextual": mode, "hidden": (8,), "masking": 0.0, "alpha": 0.6}
    model = TopicModel(5, **FAST | options | {"epochs": 1, "input_transform": None, "beta": 1.0})
    model.fit(X, embeddings=E)
    state = model.state_dict()
    assert state["encoder.0.weight"].shape == (8, X.shape[1] + 16)
    assert state["topics.weight"].shape == (X.shape[1], 5)
    twin = TorchTopics(X.shape[1] + 16, 5, (8,), decoder, 0.6)
    twin.topics = torch.nn.Linear(5, X.shape[1], bias=False).double()
    if decoder == "product":
        twin.topics.norm = Norm(X.shape[1], shift=True).double()
    shift, scale = (state.pop(f"standardize.y_{name}", default) for name, default in (("shift", 0.0), ("scale", 1.0)))
    vectors = torch.tensor((E[:50].astype(np.float64) - shift) / scale)
    twin.load(state)
    twin.train()
    rows = slice(0, 50)
    eps = noise(50, 5)
    losses, gradients = model.loss_and_gradients(X[rows], eps, y=E[rows])
    words = torch.tensor(X[rows], dtype=torch.float64)
    read = torch.cat([words if mode == "combined" else 0 * words, vectors], 1)
    mu, logvar = twin.posterior(read)
    z = mu + (logvar / 2).exp() * torch.as_tensor(eps, dtype=torch.float64)
    reconstruction = -(words * twin.log_words(twin.theta(z))).sum(1).mean()
    kl = 0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum(1).mean()
    (reconstruction + kl).backward()
    assert losses["reconstruction"] == pytest.approx(reconstruction.item(), rel=1e-5)
    assert losses["kl"] == pytest.approx(kl.item(), rel=1e-4)
    for name, parameter in twin.named_parameters():
        expected = np.zeros(parameter.shape) if parameter.grad is None else parameter.grad.numpy()
        np.testing.assert_allclose(gradients[name], expected, atol=2e-3 * max(np.abs(expected).max(), 1e-3))


@pytest.mark.parametrize("decoder", ["mixture", "product"])
def test_documents_without_words_get_the_topics_of_their_embeddings(decoder: str) -> None:
    model = TopicModel(5, decoder=decoder, contextual="only", **FAST).fit(X[:500], embeddings=E[:500])
    theta = model.transform(None, embeddings=E[500:])
    np.testing.assert_array_equal(theta, model.transform(X[500:], embeddings=E[500:]))
    topic = {int(k): int(model.components_[k, :60].reshape(5, 12).sum(1).argmax()) for k in range(5)}
    right = np.mean([topic[int(k)] == theme for k, theme in zip(theta.argmax(1), THEMES[500:], strict=True)])
    assert right > 0.85


def test_embeddings_help_where_words_are_few() -> None:
    few = np.random.default_rng(0).binomial(X, 0.1)  # three words of thirty
    plain = TopicModel(5, **FAST).fit(few)
    combined = TopicModel(5, **FAST).fit(few, embeddings=E)
    pure = [
        sum(np.bincount(THEMES[theta.argmax(1) == k], minlength=5).max() for k in range(5)) / len(X)
        for theta in (plain.transform(few), combined.transform(few, embeddings=E))
    ]
    assert pure[1] > pure[0] + 0.1
    assert not np.array_equal(combined.transform(few, embeddings=E), combined.transform(few, embeddings=-E))


@pytest.mark.parametrize(("decoder", "mode"), BOTH)
def test_models_with_embeddings_are_saved_and_go_on(decoder: str, mode: str, tmp_path: Path) -> None:
    options = FAST | {"epochs": 3, "decoder": decoder, "contextual": mode, "warm_start": True}
    model = TopicModel(5, **options).fit(X, embeddings=E)
    model.save(tmp_path / "model.fv")
    for other in (fastvae.load(tmp_path / "model.fv"), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(other.transform(X, embeddings=E), model.transform(X, embeddings=E))
        other.set_params(warm_start=True, n_jobs=2).fit(X, embeddings=E)
        whole = TopicModel(5, **options | {"epochs": 6}).fit(X, embeddings=E)
        np.testing.assert_array_equal(other.components_, whole.components_)
    fresh = TopicModel(5, decoder=decoder, contextual=mode).load_state_dict(model.state_dict())
    np.testing.assert_allclose(fresh.transform(X, embeddings=E), model.transform(X, embeddings=E), atol=1e-6)


def test_all_methods_take_embeddings() -> None:
    sparse: Any = pytest.importorskip("scipy.sparse")
    counts = sparse.csr_matrix(X)
    model = TopicModel(5, **FAST | {"epochs": 20})
    theta = model.fit_transform(counts, embeddings=E)
    np.testing.assert_array_equal(theta, model.transform(X, embeddings=E))
    np.testing.assert_array_equal(theta, model.transform(X, y=E))
    assert model.perplexity(counts, embeddings=E) < 72
    assert model.encode(X, embeddings=E)[0].shape == (600, 5)
    assert model.reconstruct(X, embeddings=E).shape == X.shape
    assert model.score_samples(X, y=E).shape == (600,)
    assert model.explain(counts, embeddings=E).shares.shape[1] == 5
    assert model.similar_documents(X, X[:1], 1, embeddings=E, query_embeddings=E[:1])[0] == 0
    assert len(model.diagnose(X, embeddings=E).usage) == 5
    assert model.sample(3).shape == (3, 72)
    assert model.sample_documents(3).shape == (3, 72)
    assert model.components_.shape == (5, 72)
    model.partial_fit(X, embeddings=E)
    model.fit(X, embeddings=E, validation_data=(X, E))


def test_wrong_embeddings_are_named(tmp_path: Path) -> None:
    model = TopicModel(5, **FAST | {"epochs": 1}).fit(X, embeddings=E)
    for call in (model.transform, model.score, lambda X: model.posterior_sample(X, 2)):
        with pytest.raises(ValueError, match="pass embeddings=, or y= to a method without it: this TopicModel was"):
            call(X)
    with pytest.raises(ValueError, match=r"shape \(600, 3\); expected \(600, 16\)"):
        model.transform(X, embeddings=E[:, :3])
    with pytest.raises(ValueError, match='only a model with contextual="only" and embeddings= needs no words'):
        model.transform(None, embeddings=E)
    with pytest.raises(ValueError, match="embeddings have 10 rows, but there are 600 documents"):
        TopicModel(5).fit(X, embeddings=E[:10])
    with pytest.raises(ValueError, match="embeddings must be finite"):
        TopicModel(5).fit(X, embeddings=np.full_like(E, np.nan))
    with pytest.raises(ValueError, match="embeddings is 1-D"):
        TopicModel(5).fit(X, embeddings=E[:, 0])
    with pytest.raises(ValueError, match="leave out embeddings=: this TopicModel was fitted without"):
        TopicModel(5, epochs=1, random_state=0).fit(X).transform(X, embeddings=E)
    with pytest.raises(ValueError, match="contextual='both'"):
        TopicModel(5, contextual="both").fit(X)
    with pytest.raises(ValueError, match="a topic model with embeddings cannot be exported"):
        model.export_onnx(tmp_path / "model.onnx")
    again = model.fit(X)  # without: another model
    assert again.transform(X).shape == (600, 5)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_an_encoder_of_embeddings_alone_needs_embeddings(method: str) -> None:
    with pytest.raises(ValueError, match='contextual="only" needs embeddings='):
        getattr(TopicModel(3, contextual="only", **FAST), method)(X[:100])
