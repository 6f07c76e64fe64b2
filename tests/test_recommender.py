"""Recommenders: rankings beside a sort of dense scores, measures beside plain loops, names, messages, files."""

from __future__ import annotations

import io
import os
import pickle
import signal
import threading
import time
import warnings
from typing import Any

import numpy as np
import pytest
from helpers import steps
from numpy.typing import NDArray
from sklearn_checks import WEIGHTS, passes_all_checks

import fastvae
from fastvae import Recommender
from fastvae._data import sparse as matrices
from fastvae._recommender import bounds
from fastvae._recommender.clicks import Clicks

sparse = pytest.importorskip("scipy.sparse", reason="scipy, which these tests need, is not installed")

USERS, ITEMS = 700, 90


def clicks(users: int = USERS, items: int = ITEMS, seed: int = 0, genres: int = 6) -> Any:
    """Clicks of users with tastes, [users, items], 5 to 30 of each."""
    rng = np.random.default_rng(seed)
    popular = 1 / np.arange(1, items + 1) ** 0.5
    tastes = popular * rng.gamma(0.15, 1.0, (genres, items))
    share = rng.dirichlet(np.full(genres, 0.1), users) @ (tastes / tastes.sum(1, keepdims=True))
    return sparse.csr_matrix([rng.multinomial(rng.integers(8, 40), p / p.sum()) > 0 for p in share], dtype=np.float32)


X = clicks()


def same(a: NDArray[Any], b: NDArray[Any]) -> None:
    """Assert that arrays have the same type, shape and bits."""
    assert (a.dtype, a.shape) == (b.dtype, b.shape)
    assert a.tobytes() == b.tobytes()


def small(**parameters: Any) -> Recommender:
    return Recommender(
        **({"latent_dim": 8, "hidden": (24,), "epochs": 12, "batch_size": 50, "random_state": 0} | parameters)
    )


@pytest.fixture(scope="module")
def model() -> Recommender:
    return small(validation_fraction=0.2).fit(X)


def logits(model: Recommender, given: Any) -> NDArray[np.float32]:
    """The scores of all items by numpy, from the state dict."""
    state, code = model.state_dict(), model.transform(given)
    hidden = np.tanh(code.astype(np.float64) @ state["decoder.0.weight"].T + state["decoder.0.bias"])
    return (hidden @ state["decoder.2.weight"].T.astype(np.float64) + state["decoder.2.bias"]).astype(np.float32)


# ------------------------------------------------------------------------------------------------------ rankings


@pytest.mark.parametrize("items", [2, 5, 31, 32, 33, 64, 200])
@pytest.mark.parametrize("n", [1, 3, 32, 250])
@pytest.mark.parametrize("exclude_seen", [True, False])
def test_recommendations_are_those_of_a_sort_of_dense_scores(items: int, n: int, exclude_seen: bool) -> None:
    rng = np.random.default_rng(items)
    given = (rng.random((70, items)) < 0.3).astype(np.float32)
    given[0] = 1  # a user who has seen all
    given[:, 0] = 1
    model = small(epochs=1, validation_fraction=0).fit(given)
    scores = logits(model, given).astype(np.float64)
    if exclude_seen:
        scores[given > 0] = -np.inf
    found, values = model.recommend(given, n, exclude_seen=exclude_seen)
    assert found.shape == values.shape == (70, n)
    assert (found.dtype, values.dtype) == (np.int64, np.float32)
    for user in range(70):
        known = np.flatnonzero(np.isfinite(scores[user]))
        shown = found[user][found[user] >= 0]
        assert len(shown) == len(set(shown)) == min(n, len(known))
        assert (found[user, len(shown) :] == -1).all()
        assert (values[user, len(shown) :] == -np.inf).all()
        assert set(shown) <= set(known)
        np.testing.assert_allclose(values[user, : len(shown)], scores[user][shown], rtol=1e-4, atol=1e-5)
        assert (np.diff(values[user, : len(shown)]) <= 0).all()
        rest = np.setdiff1d(known, shown)
        if len(rest) and len(shown):
            assert scores[user][rest].max() <= scores[user][shown].min() + 1e-5


def test_scores_are_the_decoders_logits(model: Recommender) -> None:
    found, values = model.recommend(X, ITEMS, exclude_seen=False)
    exact = np.take_along_axis(np.log(model.reconstruct(X)), found, 1)
    shift = values - exact
    np.testing.assert_allclose(shift, np.broadcast_to(shift[:, :1], shift.shape), atol=2e-5)


def test_of_equal_items_the_lower_column_comes_first() -> None:
    model = small(epochs=1, validation_fraction=0).fit(X)
    state = model.state_dict()
    state["decoder.2.weight"][:] = 0
    state["decoder.2.bias"][:] = np.arange(ITEMS) % 3
    model.load_state_dict(state)
    best = [i for level in (2, 1, 0) for i in range(ITEMS) if i % 3 == level]
    for n in (1, 7, 40, ITEMS):
        found, _ = model.recommend(X[:5], n, exclude_seen=False)
        assert (found == best[:n]).all()
    found, _ = model.recommend(X[:5], ITEMS)
    for user, row in enumerate(found):
        unseen = [i for i in best if X[user, i] == 0]
        assert row.tolist() == unseen + [-1] * (ITEMS - len(unseen))


def test_results_do_not_depend_on_threads_or_other_users(model: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTVAE_OVERSUBSCRIBE", "1")
    results = []
    for threads in (1, 2, 3, 5):
        model.set_params(n_jobs=threads)
        results.append(model.recommend(X, 20))
        parts = [model.recommend(X[i::7], 20) for i in range(7)]
        results.append((np.concatenate([items for items, _ in parts]), np.concatenate([values for _, values in parts])))
    model.set_params(n_jobs=None)
    order = np.argsort(np.concatenate([np.arange(USERS)[i::7] for i in range(7)]))
    for i, (items, scores) in enumerate(results):
        same(results[0][0], items if i % 2 == 0 else items[order])
        same(results[0][1], scores if i % 2 == 0 else scores[order])


def test_the_model_has_the_same_bits_with_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTVAE_OVERSUBSCRIBE", "1")
    one, three = (small(epochs=3, n_jobs=jobs).fit(X) for jobs in (1, 3))
    assert one.history_ == three.history_
    for name, value in one.state_dict().items():
        same(value, three.state_dict()[name])


@pytest.mark.parametrize(
    "convert",
    [
        lambda x: x.toarray(),
        lambda x: x.toarray().astype(np.uint8),
        lambda x: x.toarray().astype(bool),
        lambda x: x.astype(np.int64),
        lambda x: x.astype(bool),
        lambda x: x.tocsc().astype(np.float64),
        lambda x: x.tocoo(),
        sparse.csr_array,
    ],
)
def test_clicks_of_every_container_and_type_rank_alike(model: Recommender, convert: Any) -> None:
    items, scores = model.recommend(X, 15)
    others, theirs = model.recommend(convert(X), 15)
    same(items, others)
    same(scores, theirs)
    seen, held = halves(X)
    assert model.evaluate(convert(seen), convert(held)) == model.evaluate(seen, held)


def test_a_stored_zero_is_no_click(model: Recommender) -> None:
    given = X[:20].copy()
    given.data = given.data.copy()
    given.data[::2] = 0
    without = given.copy()
    without.eliminate_zeros()
    same(model.recommend(given, 30)[0], model.recommend(without, 30)[0])


@pytest.mark.parametrize("items", [40, 90, 321])
@pytest.mark.parametrize("n", [1, 10, 60])
def test_bounds_of_logits_change_no_bit(items: int, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTVAE_OVERSUBSCRIBE", "1")
    given = clicks(300, items, genres=4)
    model = small(hidden=(70,), epochs=6, validation_fraction=0).fit(given)
    fitted, X, state = model._fitted, matrices.matrix(given, "X"), model.state_dict()
    assert fitted is not None
    weights, bias = state["decoder.2.weight"], state["decoder.2.bias"]
    plain = fitted.best_items(X, n, None, True, 1)
    likely, random = np.argsort(-model.popularity_, kind="stable"), np.random.default_rng(0).permutation(items)
    best = bounds.bounds(weights, bias, fitted.engine.last_hidden(X, None, 1).reshape(-1, 70), likely)
    assert best is not None
    others = bounds.bounds(weights[::-1] ** 3, bias, weights[:7] ** 3, random)  # other directions: loose bounds
    assert others is not None
    v = others[0].reshape(70, bounds.WIDTH)[:, : bounds.WIDTH - 3]
    loose = others[1].reshape(items, bounds.WIDTH)
    loose[:, : bounds.WIDTH - 3] = weights[random] @ v
    rest = weights[random].astype(np.float64) @ (np.eye(70) - v.astype(np.float64) @ v.T)
    loose[:, -3] = 1.001 * np.linalg.norm(rest, axis=1)
    loose[:, -2] = 1e-4 * np.linalg.norm(weights[random], axis=1)
    for limits in (best, (others[0], loose.ravel(), others[2])):
        for threads in (1, 3):
            for mine, theirs in zip(fitted.best_items(X, n, None, True, threads, limits), plain, strict=True):
                same(mine, theirs)
    with pytest.raises(ValueError, match="each item once"):
        fitted.best_items(X, n, None, True, 1, (best[0], best[1], np.zeros(items, np.uint32)))
    with pytest.raises(ValueError, match="32 or more numbers"):
        fitted.best_items(X, n, None, True, 1, (best[0], best[1][:-1], best[2]))


def test_bounds_hold_and_rule_out_most_items() -> None:
    given = clicks(300, 400, genres=4)
    model = small(hidden=(128,), epochs=20, validation_fraction=0).fit(given)
    state = model.state_dict()
    weights, bias = state["decoder.2.weight"], state["decoder.2.bias"]
    hidden = np.tanh(model.transform(given).astype(np.float64) @ state["decoder.0.weight"].T + state["decoder.0.bias"])
    engine = model._require_fitted().engine
    inputs = engine.last_hidden(given.toarray(), np.arange(0, 300, 3, dtype=np.uint64), 1).reshape(100, 128)
    np.testing.assert_allclose(inputs, hidden[::3], atol=1e-5)
    found = bounds.bounds(weights, bias, inputs, np.arange(400))
    assert found is not None
    v, items = found[0].reshape(128, -1).astype(np.float64), found[1].reshape(400, -1).astype(np.float64)
    np.testing.assert_allclose(v[:, :-3].T @ v[:, :-3], np.eye(v.shape[1] - 3), atol=1e-5)
    code = hidden @ v
    code[:, -3] = np.linalg.norm(hidden - code[:, :-3] @ v[:, :-3].T, axis=1)
    code[:, -2], code[:, -1] = np.linalg.norm(hidden, axis=1), 1
    exact = hidden @ weights.T.astype(np.float64) + bias
    limits = code @ items.T
    assert (limits >= exact).all()
    tenth = np.sort(exact, axis=1)[:, -10, None]
    assert (limits >= tenth).mean() < 0.25
    for scale in ((1e30, 1), (1, 1e30)):
        large, small_one = (np.full((400, 128), each, np.float32) for each in scale)
        assert bounds.bounds(large, bias, small_one, np.arange(400)) is None


def test_many_users_are_ranked_by_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    given = clicks(600, 1200)
    model = small(hidden=(128,), epochs=2, validation_fraction=0).fit(given)
    used = []
    real = bounds.bounds
    monkeypatch.setattr(bounds, "bounds", lambda *arguments: used.append(real(*arguments)) or used[-1])
    whole = model.recommend(given, 10)
    assert len(used) == 1
    parts = [model.recommend(given[i : i + 100], 10) for i in range(0, 600, 100)]
    assert len(used) == 1
    for i in range(2):
        same(whole[i], np.concatenate([part[i] for part in parts]))


def test_candidates_limit_the_items(model: Recommender) -> None:
    chosen = [80, 3, 17, 40, 41]
    mask = np.isin(np.arange(ITEMS), chosen)
    found, scores = model.recommend(X, 8, candidates=chosen)
    same(found, model.recommend(X, 8, candidates=mask)[0])
    everything, all_scores = model.recommend(X, ITEMS)
    for user in range(USERS):
        keep = np.isin(everything[user], chosen)
        wanted = everything[user][keep]
        assert found[user].tolist() == wanted.tolist() + [-1] * (8 - len(wanted))
        assert scores[user, : len(wanted)].tolist() == all_scores[user][keep].tolist()


def test_users_without_clicks_get_the_most_popular_items_with_a_warning(model: Recommender) -> None:
    given = sparse.csr_matrix((3, ITEMS), dtype=np.float32)
    with pytest.warns(UserWarning, match="3 users of X have no clicks, the first of them user 0"):
        found, scores = model.recommend(given, 12)
    counts = np.asarray((X > 0).sum(0)).ravel()
    assert (model.popularity_ == counts).all()
    wanted = np.argsort(-counts, kind="stable")[:12]
    assert (found == wanted).all()
    np.testing.assert_allclose(scores[0], np.log((counts[wanted] + 1) / (counts + 1).sum()), rtol=1e-6)
    with pytest.warns(UserWarning, match="no clicks"):
        found, _ = model.recommend(given, 3, candidates=[7, 60])
    assert sorted(found[0].tolist()) == [-1, 7, 60]


@pytest.mark.skipif(os.name != "posix", reason="a process cannot send itself Ctrl-C on this system")
@pytest.mark.slow
def test_ctrl_c_stops_recommend_and_the_model_answers_the_next() -> None:
    model = small(epochs=1, latent_dim=64, hidden=(2000,), validation_fraction=0, n_jobs=1).fit(clicks(60, 4000))
    many = sparse.vstack([clicks(500, 4000)] * 40).tocsr()
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    start = time.process_time()
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        [model.recommend(many, 5) for _ in range(1000)]
    assert time.process_time() - start < 3
    assert model.recommend(many[:2], 5)[0].shape == (2, 5)


# ------------------------------------------------------------------------------------------------------ measures


def halves(X: Any) -> tuple[Any, Any]:
    """Every third click held out."""
    seen, held = X.tocsr().copy(), X.tocsr().copy()
    third = np.arange(X.nnz) % 3 == 0
    seen.data, held.data = np.where(third, 0, X.data), np.where(third, X.data, 0)
    seen.eliminate_zeros(), held.eliminate_zeros()
    return seen, held


def test_measures_are_those_of_plain_loops(model: Recommender) -> None:
    seen, held = halves(X)
    lil = held.tolil()
    lil[5] = 0  # a user without held-out items is left out
    held = lil.tocsr()
    held.eliminate_zeros()
    names = ["ndcg@100", "recall@20", "recall@50", "ndcg@3", "recall@1", "precision@4", "hit@2"]
    totals, users = dict.fromkeys(names, 0.0), 0
    found, _ = model.recommend(seen, ITEMS)
    for user in range(USERS):
        wanted = set(held[user].indices.tolist())
        if not wanted:
            continue
        users += 1
        ranking = [item for item in found[user].tolist() if item >= 0]
        for name in names:
            kind, k = name.split("@")[0], int(name.split("@")[1])
            hits = [item in wanted for item in ranking[:k]]
            gain = sum(1 / np.log2(rank + 2) for rank, hit in enumerate(hits) if hit)
            best = sum(1 / np.log2(rank + 2) for rank in range(min(k, len(wanted))))
            totals[name] += {
                "ndcg": gain / best,
                "recall": sum(hits) / min(k, len(wanted)),
                "precision": sum(hits) / k,
                "hit": float(any(hits)),
            }[kind]
    assert users == USERS - 1
    measured = model.evaluate(seen, held, names)
    assert list(measured) == names
    for name in names:
        assert measured[name] == pytest.approx(totals[name] / users, rel=1e-12), name
    assert model.evaluate(seen, held, "hit@2") == {"hit@2": measured["hit@2"]}


def test_a_perfect_ranking_has_measures_of_one() -> None:
    model = small(epochs=1, validation_fraction=0).fit(X)
    state = model.state_dict()
    state["decoder.2.weight"][:] = 0
    state["decoder.2.bias"][:] = -np.arange(ITEMS)
    model.load_state_dict(state)
    held = np.zeros((4, ITEMS))
    held[:, 1:6] = 1
    seen = np.zeros((4, ITEMS))
    seen[:, [0, 80]] = 1
    assert set(model.evaluate(seen, held, ["ndcg@5", "ndcg@50", "recall@5", "recall@3", "precision@5"]).values()) == {
        1.0
    }
    assert model.evaluate(seen, held, "precision@10") == {"precision@10": 0.5}


def test_score_hides_a_fifth_of_each_users_clicks(model: Recommender) -> None:
    whole = Clicks.of(matrices.matrix(X, "X"))
    seen, held = whole.split(0)
    assert sorted([*seen.keys, *held.keys]) == whole.keys.tolist()
    assert (held.lengths == np.maximum(1, np.rint(0.2 * whole.lengths))).all()
    parts = [sparse.csr_matrix((c.values, c.items, c.indptr), X.shape) for c in (seen, held)]
    assert model.score(X) == model.evaluate(*parts, "ndcg@100")["ndcg@100"] == model.score(X.toarray())
    single = Clicks.of(np.eye(3, dtype=np.float32))
    assert len(single.split(0)[1].items) == 0


# ------------------------------------------------------------------------------------------------------ training


def test_rankings_beat_popularity_and_training_keeps_the_best_epoch() -> None:
    train, test = X[:550], X[550:]
    model = small(epochs=60, masking=0.5).fit(train)
    seen, held = halves(test)
    popularity = np.asarray(train.sum(0)).ravel()
    order = np.argsort(-popularity, kind="stable")
    gains = []
    for user in range(test.shape[0]):
        new = [item for item in order if seen[user, item] == 0][:100]
        wanted = set(held[user].indices.tolist())
        best = sum(1 / np.log2(rank + 2) for rank in range(len(wanted)))
        gains.append(sum(1 / np.log2(rank + 2) for rank, item in enumerate(new) if item in wanted) / best)
    assert model.evaluate(seen, held)["ndcg@100"] > 1.15 * np.mean(gains)
    measured = model.history_["val_ndcg@100"]
    assert model.best_epoch_ == np.argmax(measured) + 1
    assert len(measured) == model.n_iter_ == min(60, model.best_epoch_ + 10)
    assert model.beta_ == pytest.approx(model.best_epoch_ / 60, rel=0.02)
    # The kept weights are those of that epoch.
    again = small(epochs=60, callbacks=lambda _, logs: logs.epoch == model.best_epoch_).fit(train)
    for name, value in model.state_dict().items():
        same(value, again.state_dict()[name])


def test_the_losses_are_those_of_a_vae_with_the_papers_settings() -> None:
    ours = small(validation_fraction=0, epochs=4, batch_size=35, beta=0.3).fit(X)
    vae = fastvae.VAE(
        8,
        hidden=(24,),
        activation="tanh",
        likelihood="multinomial",
        input_transform="l2",
        corruption=fastvae.corruption.MaskingNoise(0.5),
        beta=fastvae.schedules.linear(0, 0.3, epochs=4),
        batch_size=35,
        epochs=4,
        random_state=0,
    ).fit(X)
    assert ours.history_ == vae.history_
    same(ours.transform(X), vae.transform(X))
    assert ours.best_epoch_ == 4
    assert ours.beta_ == pytest.approx(0.3, rel=0.02)


def test_validation_data_and_small_data() -> None:
    model = small(epochs=2).fit(X[:600], validation_data=X[-90:])
    assert len(model.history_["val_ndcg@100"]) == 2
    assert "val_ndcg@100" not in small(epochs=2).fit(X[:4]).history_  # a tenth of four users is none
    assert steps(model) == 40  # 20 in an epoch of 600 users, although batch_size=50 would be 12
    with pytest.raises(ValueError, match="no validation user has two clicks"):
        small(epochs=1).fit(X, validation_data=np.eye(ITEMS, dtype=np.float32))


def test_a_model_no_better_than_popularity_says_so() -> None:
    rng = np.random.default_rng(0)
    popular = (rng.random((1200, 40)) < np.linspace(0.6, 0.02, 40)).astype(np.float32)
    popular[:, :2] = 1
    with pytest.warns(UserWarning, match=r"no better than popularity does: NDCG@100 is 0\.\d+, popularity's 0\.\d+"):
        small(epochs=3, learning_rate=1e-8, validation_fraction=0.2).fit(popular)


def test_training_goes_on_and_resumes(tmp_path: Any) -> None:
    whole = small(epochs=6, beta=fastvae.schedules.linear(0, 1, epochs=6)).fit(X)
    halfway = small(epochs=6, beta=whole.beta, warm_start=True).fit(X, epochs=3).fit(X, epochs=3)
    assert halfway.history_ == whole.history_
    stopped = small(epochs=6, callbacks=lambda _, logs: 1 / (logs.epoch - 3), beta=whole.beta)
    with pytest.raises(ZeroDivisionError):
        stopped.fit(X, checkpoint=tmp_path / "run.fv", checkpoint_every=1)
    resumed = fastvae.resume(tmp_path / "run.fv", X, callbacks=lambda *_: None)
    assert resumed.history_ == whole.history_
    for name, value in whole.state_dict().items():
        same(value, resumed.state_dict()[name])


def test_partial_fit_continues_and_keeps_the_popularity(model: Recommender) -> None:
    copy = pickle.loads(pickle.dumps(model))
    copy.partial_fit(X[:100])
    assert copy.n_iter_ == model.n_iter_ + 1
    assert (copy.popularity_ == model.popularity_).all()
    first = small().partial_fit(X[:100])
    assert (first.popularity_ == np.asarray((X[:100] > 0).sum(0)).ravel()).all()


# ------------------------------------------------------------------------------------------------- similar items


def test_similar_items_are_those_of_the_cosines(model: Recommender) -> None:
    vectors = model.item_embeddings_.astype(np.float64)
    np.testing.assert_allclose(vectors.mean(0), 0, atol=1e-6)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    found, values = model.similar_items([4, 0, 4], 7)
    assert (found == np.argsort(-cosines[[4, 0, 4]], axis=1)[:, :7]).all()
    np.testing.assert_allclose(values, np.take_along_axis(cosines[[4, 0, 4]], found, 1), atol=1e-5)
    one, _ = model.similar_items(4, 7)
    assert (one == found[0]).all()
    everything, values = model.similar_items(4, ITEMS + 2)
    assert sorted(everything[:-3]) == [i for i in range(ITEMS) if i != 4]
    assert (everything[-3:] == -1).all()
    assert (values[-3:] == -np.inf).all()


# --------------------------------------------------------------------------------------------------------- names


def test_names_of_items_are_returned_and_taken() -> None:
    names = [f"film {i}" for i in range(ITEMS)]
    plain, named = small(epochs=2).fit(X), small(epochs=2, items=names).fit(X)
    assert named.items_.tolist() == names
    assert (plain.items_ == np.arange(ITEMS)).all()
    found, scores = named.recommend(X[:3], 4)
    columns, same_scores = plain.recommend(X[:3], 4)
    assert found.tolist() == [[names[i] for i in row] for row in columns.tolist()]
    same(scores, same_scores)
    some, _ = named.recommend(X[:3], 3, candidates=["film 7", "film 9"], exclude_seen=False)
    assert [set(row) for row in some.tolist()] == [{"film 7", "film 9", None}] * 3
    assert named.similar_items("film 4", 2)[0].tolist() == [names[i] for i in plain.similar_items(4, 2)[0]]
    loaded = fastvae.load(dumped(named))
    assert isinstance(loaded, Recommender)
    assert loaded.recommend(X[:3], 4)[0].tolist() == found.tolist()
    integers = small(epochs=1, items=np.arange(1000, 1000 + ITEMS)).fit(X)
    assert set(integers.recommend(X[:3], 4)[0].ravel()) <= set(range(1000, 1000 + ITEMS))


def test_names_of_a_frame_are_the_items() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas, which this test needs, is not installed")
    frame = pandas.DataFrame(X.toarray(), columns=[f"film {i}" for i in range(ITEMS)])
    model = small(epochs=1).fit(frame)
    assert model.items_.tolist() == model.feature_names_in_.tolist() == list(frame.columns)
    assert set(model.recommend(frame[:3], 4)[0].ravel()) <= set(frame.columns)


# ------------------------------------------------------------------------------------------------------ messages

BAD = X[:10].toarray()
BAD[3, 7] = -1.0
NAN = X[:10].toarray()
NAN[2, 5] = np.nan


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.recommend(BAD), r"Negative values in data: X\[3, 7\] is -1, of user 3 and item 7\. Clicks are"),
        (lambda m: small().fit(BAD), r"X\[3, 7\] is -1, of user 3 and item 7"),
        (lambda m: small(items=[f"f{i}" for i in range(ITEMS)]).fit(BAD), r"user 3 and item 'f7' \(column 7\)"),
        (lambda m: small().fit(NAN), r"X\[2, 5\] is nan, of user 2 and item 5; X must be finite, without NaN"),
        (lambda m: m.recommend(sparse.csr_matrix(NAN)), r"X\[2, 5\] is nan, of user 2 and item 5"),
        (lambda m: m.recommend(X[:, :50]), "50 features"),
        (lambda m: m.recommend(X, 0), "n=0"),
        (lambda m: m.recommend(X, candidates=[3, ITEMS]), f"candidates has {ITEMS}, which is no column of X, 0 to 89"),
        (lambda m: m.recommend(X, candidates=["film"]), "candidates has 'film', which is no column"),
        (lambda m: m.recommend(X, candidates=[]), "candidates is empty"),
        (lambda m: m.recommend(X, candidates=np.zeros(ITEMS, bool)), "at least one True"),
        (lambda m: m.recommend(X, exclude_seen=3), "exclude_seen"),
        (lambda m: m.similar_items(-1), "items has -1, which is no column"),
        (lambda m: m.evaluate(X, X), r"user 0 has item \d+ in X_seen and in X_held"),
        (lambda m: m.evaluate(X, X[:5]), "X_seen has 700 users and X_held 5"),
        (lambda m: m.evaluate(X, sparse.csr_matrix(X.shape)), "X_held has no clicks"),
        (
            lambda m: m.evaluate(*halves(X), metrics=("ndcg@100", "auc")),
            "metrics: 'auc' must be ndcg, recall, precision",
        ),
        (lambda m: m.evaluate(*halves(X), metrics="recall@0"), "metrics: 'recall@0'"),
        (lambda m: m.evaluate(*halves(X), metrics=()), "metrics is empty"),
        (lambda m: m.score(np.eye(ITEMS)), "no user of X has two"),
        (lambda m: small(items=["a", "b"]).fit(X), "items has 2 names, but X has 90 columns"),
        (lambda m: small(items=["a", "b", "a"]).fit(X), "items has the name 'a' twice"),
        (lambda m: small(items=[1.5] * ITEMS).fit(X), "items has the name 1.5: names are strings or integers"),
        (lambda m: small(items="abc").fit(X), "items='abc' must be a sequence"),
        (lambda m: small().fit(X[:, :1]), "single item"),
        (lambda m: small(masking=1.0).fit(X), "masking"),
        (lambda m: small(beta=-1).fit(X), "beta"),
        (lambda m: small(validation_fraction=1.5).fit(X), "validation_fraction"),
        (lambda m: Recommender().recommend(X), "not fitted yet"),
    ],
)
def test_bad_input_gets_a_sentence(model: Recommender, call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(model)


def test_a_diverged_model_is_an_error() -> None:
    model = small(epochs=1).fit(X)
    state = model.state_dict()
    state["decoder.2.weight"][:] = 3e38
    state["decoder.0.bias"][:] = 5
    model.load_state_dict(state)
    with pytest.raises(FloatingPointError, match="not a finite number"):
        model.recommend(X[:3])


# --------------------------------------------------------------------------------------------- files, scikit-learn


def dumped(model: Recommender) -> bytes:
    buffer = io.BytesIO()
    model.save(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("how", ["file", "pickle"])
def test_a_saved_model_recommends_the_same(model: Recommender, how: str) -> None:
    other: Any = fastvae.load(dumped(model)) if how == "file" else pickle.loads(pickle.dumps(model))
    assert isinstance(other, Recommender)
    for mine, theirs in zip(model.recommend(X, 9), other.recommend(X, 9), strict=True):
        same(mine, theirs)
    assert (other.popularity_ == model.popularity_).all()
    assert other.history_ == model.history_
    assert (other.best_epoch_, other.beta_) == (model.best_epoch_, model.beta_)
    with pytest.warns(UserWarning, match="no clicks"):
        other.recommend(np.zeros((1, ITEMS)))


def test_a_damaged_popularity_is_refused(model: Recommender) -> None:
    state = pickle.loads(pickle.dumps(model.__getstate__()))
    state["_extras"]["_popularity"] = state["_extras"]["_popularity"][:-1]
    with pytest.raises(fastvae.FormatError, match="popularity"):
        small().__setstate__(state)


def test_a_state_dict_makes_a_model_without_popularity(model: Recommender) -> None:
    other = small().load_state_dict(model.state_dict())
    same(other.recommend(X, 5)[0], model.recommend(X, 5)[0])
    with pytest.raises(AttributeError, match="popularity_"):
        _ = other.popularity_
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (other.recommend(np.zeros((1, ITEMS)), 3)[0] >= 0).all()  # what the network makes of nothing


@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_checks_pass() -> None:
    passes_all_checks(small(latent_dim=2, hidden=(5,), epochs=1), WEIGHTS)


def test_a_search_chooses_by_ndcg() -> None:
    search = pytest.importorskip("sklearn.model_selection", reason="scikit-learn, which this test needs, is missing")
    found = search.GridSearchCV(small(epochs=3), {"learning_rate": [1e-7, 5e-3]}, cv=2).fit(X)
    assert found.best_params_ == {"learning_rate": 5e-3}


def test_a_metric_named_twice_is_the_same(model):
    seen = X.toarray()
    hidden = np.zeros_like(seen)
    for user, row in enumerate(X.toarray()):
        first = np.flatnonzero(row)[:1]
        seen[user, first], hidden[user, first] = 0, row[first]
    once, twice = (model.evaluate(seen, hidden, ["ndcg@5"] * times) for times in (1, 2))
    assert once == twice


@pytest.mark.parametrize("kind", ["list", "series"])
def test_a_mask_of_candidates_need_not_be_an_array(model, kind):
    mask = np.arange(X.shape[1]) % 3 == 0
    given = mask.tolist() if kind == "list" else pytest.importorskip("pandas").Series(mask)
    np.testing.assert_array_equal(model.recommend(X, 4, candidates=given)[0], model.recommend(X, 4, candidates=mask)[0])


def test_more_items_than_a_model_can_have_are_refused(model):
    with pytest.raises(ValueError, match="n=1000000000 must be an integer"):
        model.recommend(X[:1], 10**9)


def test_the_best_epoch_after_partial_fit_is_the_last():
    trained = small(validation_fraction=0.2).fit(X)
    trained.partial_fit(X)
    assert trained.best_epoch_ == trained.n_iter_
