"""RecVAE's composite prior: losses and gradients beside autograd, the posterior before an epoch, files, messages."""

import io
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse

import fastvae
from fastvae import Recommender
from fastvae.priors import CompositePrior

USERS, ITEMS, LATENT = 60, 45, 19
X = (np.random.default_rng(0).random((USERS, ITEMS)) < 0.2).astype(np.float32)
X[:, :3] = 1
X[5] *= 3
EPS = np.random.default_rng(1).standard_normal((USERS, LATENT)).astype(np.float32)
PRIOR = CompositePrior((2.0, 5.0, 3.0), wide_logvar=3.0)


def small(**parameters: Any) -> Recommender:
    given: dict[str, Any] = {"hidden": (24,), "epochs": 2, "masking": 0, "random_state": 0, "prior": PRIOR}
    return Recommender(LATENT, **given | {"beta": 0.3} | parameters)


@pytest.fixture(scope="module")
def model() -> Recommender:
    return small(epochs=4, learning_rate=5e-3, validation_fraction=0).fit(X)


def previous(seed: int = 2) -> list[NDArray[np.float32]]:
    """Posteriors of an earlier epoch, some of them narrow."""
    rng = np.random.default_rng(seed)
    means, logvars = rng.normal(0, 1, (USERS, LATENT)), rng.normal(-1, 2, (USERS, LATENT))
    logvars[0, :3] = -35, 25, -12  # beyond the range of log variances
    return [means.astype(np.float32), logvars.astype(np.float32)]


def autograd(
    model: Recommender, posteriors: list[NDArray[Any]], prior: CompositePrior, beta: float, weights: Any = None
) -> tuple[list[float], dict[str, NDArray[Any]]]:
    """Reconstruction, KL and loss, and the gradients, in float64."""
    torch = pytest.importorskip("torch", reason="PyTorch, which this test needs, is not installed")
    state = {name: torch.tensor(value, dtype=torch.float64) for name, value in model.state_dict().items()}
    for value in state.values():
        value.requires_grad_()
    x, eps = torch.from_numpy(X.astype(float)), torch.from_numpy(EPS.astype(float))

    def linear(name: str, value: Any) -> Any:
        return value @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    hidden = torch.tanh(linear("encoder.0", x / x.norm(dim=1, keepdim=True)))
    mu, logvar = linear("mu", hidden), linear("logvar", hidden).clamp(-30, 20)
    z = mu + torch.exp(logvar / 2) * eps
    q = torch.distributions.Normal(mu, torch.exp(logvar / 2)).log_prob(z)
    mean, old = (torch.from_numpy(part.astype(float)) for part in posteriors)
    zero = torch.zeros_like(z)
    parts = [(zero, zero), (mean, old.clamp(-30, 20)), (zero, zero + prior.wide_logvar)]
    logs = [torch.distributions.Normal(m, torch.exp(lv / 2)).log_prob(z) for m, lv in parts]
    shares = torch.tensor(prior.weights, dtype=torch.float64)
    p = torch.logsumexp(torch.stack(logs) + torch.log(shares / shares.sum())[:, None, None], 0)
    kl = (q - p).sum(1)
    logits = linear("decoder.2", torch.tanh(linear("decoder.0", z)))
    reconstruction = -(torch.log_softmax(logits, 1) * x).sum(1)
    w = torch.ones(USERS, dtype=torch.float64) if weights is None else torch.from_numpy(np.asarray(weights, float))
    means = [(w * each).sum() / w.sum() for each in (reconstruction, kl, reconstruction + beta * x.sum(1) * kl)]
    means[2].backward()
    return [each.item() for each in means], {name: value.grad.numpy() for name, value in state.items()}


def close(ours: dict[str, NDArray[Any]], theirs: dict[str, NDArray[Any]]) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        error = np.linalg.norm(ours[name] - value) / np.linalg.norm(value)
        assert error < 1e-5, (name, error)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_losses_and_gradients_are_those_of_autograd(model: Recommender, form: str, weighted: bool) -> None:
    """The earlier posterior is that of the current parameters: z lies near its mean."""
    weights = np.random.default_rng(3).random(USERS) if weighted else None
    losses, gradients = model.loss_and_gradients(
        sparse.csr_matrix(X) if form == "sparse" else X, EPS, sample_weight=weights
    )
    expected, theirs = autograd(model, list(model.encode(X)), PRIOR, 0.3, weights)
    assert [losses[name] for name in ("reconstruction", "kl", "loss")] == pytest.approx(expected, rel=1e-6)
    close(gradients, theirs)


@pytest.mark.parametrize("weights", [(0.15, 0.75, 0.1), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 2.0)])
def test_any_earlier_posterior_and_any_mixture(model: Recommender, weights: tuple[float, float, float]) -> None:
    posteriors, factors = previous(), X.sum(1)
    if weights == (0.0, 1.0, 0.0):
        posteriors[1][0, 0] = 0  # without another component, a density that float32 holds
    fitted = model._require_fitted()
    (*losses,), gradients = fitted.loss_and_gradients(
        fastvae._data.examples.Data(X),
        2,
        eps=EPS,
        corrupted=None,
        objective=(1.0, 0.2, 0.0, None, 1, False),
        corruption=None,
        binarize=None,
        prior=(weights, 10.0, posteriors, factors),
    )
    expected, theirs = autograd(model, posteriors, CompositePrior(weights), 0.2)
    assert losses == pytest.approx(expected, rel=1e-6)
    close(gradients, theirs)


def test_all_steps_of_an_epoch_have_the_posterior_before_it(model: Recommender) -> None:
    """Two batches of a pass, fused, are two steps with gradients from the same earlier posteriors."""
    fused, apart = (pickle.loads(pickle.dumps(model)).set_params(batch_size=USERS // 2) for _ in range(2))
    fitted = apart._require_fitted()
    mu, logvar = apart.encode(X)
    losses = []
    for half in (slice(0, USERS // 2), slice(USERS // 2, USERS)):
        (_, kl, _), gradients = fitted.loss_and_gradients(
            fastvae._data.examples.Data(X[half]),
            1,
            eps=EPS[half],
            corrupted=None,
            objective=apart._current_objective().for_core(),
            corruption=None,
            binarize=None,
            prior=(PRIOR.weights, PRIOR.wide_logvar, [mu[half], logvar[half]], X[half].sum(1)),
        )
        losses.append(kl)
        apart.apply_gradients(gradients)
    # At least 20 steps in an epoch by default.
    fused._plan = lambda plan=fused._plan: replace(plan(), least_steps=1)  # type: ignore[method-assign]
    fused.partial_fit(X, eps=EPS)
    assert fused.history_["kl"][-1] == pytest.approx(np.mean(losses), rel=1e-6)
    for name, value in fused.state_dict().items():
        assert (value == apart.state_dict()[name]).all(), name
    assert not np.array_equal(mu, apart.encode(X)[0])


def test_the_default_is_the_papers() -> None:
    prior = CompositePrior()
    assert prior.weights == (3 / 20, 3 / 4, 1 / 10)
    assert prior.wide_logvar == 10
    by_name, by_object = (
        small(prior=given, beta=beta, masking=0.5).fit(X) for given, beta in (("composite", None), (prior, 0.005))
    )
    assert by_name.history_ == by_object.history_
    assert by_name.beta_ == pytest.approx(0.005)
    sentence = by_name.describe_objective()
    assert "- 0.005 n sum_j KL_j" in sentence
    assert "0.15 N(0, 1) + 0.75 N(m_j, s_j²) + 0.1 N(0, e^10)" in sentence


def test_the_history_has_no_validation_loss(model: Recommender) -> None:
    history = small(validation_fraction=0.3).fit(X).history_
    assert set(history) == {"loss", "reconstruction", "kl", "elbo", "val_reconstruction", "val_ndcg@100"}
    factor = X.sum(1).mean()
    assert model.history_["loss"][-1] - model.history_["reconstruction"][-1] == pytest.approx(
        0.3 * factor * model.history_["kl"][-1], rel=0.2
    )


def test_training_goes_on_and_resumes(tmp_path: Any) -> None:
    given: dict[str, Any] = {"epochs": 6, "masking": 0.5, "prior": "composite"}
    whole = small(**given).fit(X)
    halfway = small(**given, warm_start=True).fit(X, epochs=3).fit(X, epochs=3)
    assert halfway.history_ == whole.history_
    stopped = small(**given, callbacks=lambda _, logs: 1 / (logs.epoch - 3))
    with pytest.raises(ZeroDivisionError):
        stopped.fit(X, checkpoint=tmp_path / "run.fv", checkpoint_every=1)
    resumed = fastvae.resume(tmp_path / "run.fv", X, callbacks=lambda *_: None)
    assert resumed.history_ == whole.history_
    for name, value in whole.state_dict().items():
        assert (value == resumed.state_dict()[name]).all(), name


@pytest.mark.parametrize("how", ["file", "pickle"])
def test_a_saved_model_keeps_its_prior(model: Recommender, how: str) -> None:
    buffer = io.BytesIO()
    model.save(buffer)
    other: Any = fastvae.load(buffer.getvalue()) if how == "file" else pickle.loads(pickle.dumps(model))
    assert other.prior == PRIOR
    assert other.partial_fit(X).history_ == pickle.loads(pickle.dumps(model)).partial_fit(X).history_


def test_sparse_and_dense_clicks_and_threads_give_the_same_bits() -> None:
    code = (
        "import numpy as np, fastvae, hashlib, sys\n"
        "from scipy import sparse\n"
        "X = (np.random.default_rng(0).random((200, 300)) < 0.05).astype(np.float32); X[:, :2] = 1\n"
        "hashes = set()\n"
        "for data in (X, sparse.csr_matrix(X)):\n"
        "    for jobs in (1, 2, 3):\n"
        "        m = fastvae.Recommender(19, hidden=(24,), epochs=3, prior='composite', random_state=0, n_jobs=jobs)\n"
        "        m.fit(data)\n"
        "        parts = b''.join(v.tobytes() for v in m.state_dict().values()) + repr(m.history_).encode()\n"
        "        hashes.add(hashlib.sha256(parts).hexdigest())\n"
        "print(len(hashes))\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"FASTVAE_OVERSUBSCRIBE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == "1"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"prior": "normal"}, "prior='normal' is not known; use 'standard', 'composite' or a fastvae.priors"),
        ({"prior": None}, "prior=None is not known"),
        ({"prior": CompositePrior((1.0, 2.0))}, "weights must be three numbers"),  # type: ignore[arg-type]
        ({"prior": CompositePrior((1.0, -2.0, 1.0))}, r"weights\[1\]"),
        ({"prior": CompositePrior((0.0, 0.0, 0.0))}, "one of the weights must be above 0"),
        ({"prior": CompositePrior(wide_logvar=50)}, "wide_logvar"),
        ({"beta": -1}, "beta"),
    ],
)
def test_bad_priors_get_a_sentence(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**parameters).fit(X)


def test_the_core_refuses_what_does_not_fit(model: Recommender) -> None:
    engine, (mu, logvar), factors = model._require_fitted().engine, previous(), np.ones(USERS, np.float32)
    objective = (1.0, 0.2, 0.0, None, 1, False)

    def call(prior: Any, objective: Any = objective) -> None:
        engine.loss_and_gradients(X, None, None, EPS, None, objective, None, None, 1, prior)

    weights = (1.0, 1.0, 1.0)
    for prior in (
        (weights, 10.0, [mu[:-1], logvar], factors),
        (weights, 10.0, [mu, logvar[:, :-1].copy()], factors),
        (weights, 10.0, [mu, logvar], factors[:-1]),
    ):
        with pytest.raises(ValueError, match="needs a posterior and a factor for each row"):
            call(prior)
    with pytest.raises(ValueError, match="factors of at least 0"):
        call((weights, 10.0, [mu, logvar], -factors))
    with pytest.raises(ValueError, match="weights of at least 0"):
        call(((1.0, -1.0, 1.0), 10.0, [mu, logvar], factors))
    with pytest.raises(ValueError, match="without free bits"):
        call((weights, 10.0, [mu, logvar], factors), (1.0, 0.2, 0.5, None, 1, False))
