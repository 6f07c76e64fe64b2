"""What must hold for the answers of one fitted model."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastvae
from fastvae import VAE, Autoencoder, ItemResponse, TopicModel
from fastvae.likelihoods import Gaussian
from generated import constant, containers
from generated.setup import Setup

Array = NDArray[Any]


# Results of draws that may overflow: the mean of a count is the exponential of an output.
OVERFLOW = ("draw", "predictive mean", "predictive latent_std", "predictive observation_std")


def answers(setup: Setup, model: Any, rows: Any = slice(None), container: str | None = None) -> dict[str, Array]:
    """Return what a model says about each row of X: arrays whose first axis is that of the rows."""
    X, y = setup.given(rows, container), setup.condition(rows)
    found = {"transform": np.asarray(model.transform(X, **y)), "scores": model.score_samples(X, **y)}
    found["reconstruct"] = model.reconstruct(X, **y)
    if not isinstance(model, Autoencoder):
        found["mu"], found["logvar"] = model.encode(X, **y)
    if setup.options.get("missing") == "mask" and (container or setup.container) not in containers.SPARSE:
        found["impute"] = model.impute(X, **y)
    if isinstance(model, ItemResponse):
        found["interval"] = model.ability_interval(X)
        found["marginal"] = model.log_marginal(X, None if model.n_dims == 1 else 5).estimate
        if model.n_dims == 1:
            found["probability"] = model.predict_proba(X)
    elif isinstance(model, VAE) and setup.options["likelihood"] != "bernoulli":
        found["marginal"] = model.log_marginal(X, 5, **y).estimate
    return found


def others(setup: Setup, model: Any) -> dict[str, Array]:
    """Return what else a model says: means, draws, parameters."""
    X, y = setup.given(), setup.condition()
    found = {f"state {name}": array for name, array in model.state_dict().items()}
    found |= {f"evaluate {name}": np.array(value) for name, value in model.evaluate(X, **y).items()}
    found |= {f"history {name}": np.array(values) for name, values in model.history_.items()}
    if isinstance(model, Autoencoder):
        return found
    if len(setup.X) > 1:
        diagnosis = model.diagnose(X, **y)
        codes = getattr(diagnosis, "codes", diagnosis)
        found |= {f"diagnosis {name}": getattr(codes, name) for name in ("kl", "variance", "sigma")}
    found["posterior_sample"] = model.posterior_sample(X, 2, 0, **y)
    found |= {f"predictive {name}": part for name, part in model.predictive(X, 3, 0, **y)._asdict().items()}
    one = {name: value[:1] for name, value in y.items()}
    documents = isinstance(model, TopicModel) or setup.options.get("likelihood") == "multinomial"
    found["sample"] = model.sample(7, random_state=0, **one)
    found["draw"] = model.sample(7, random_state=0, draw=True, lengths=20 if documents else None, **one)
    if setup.options.get("missing") == "mask":
        found["impute draws"] = model.impute(setup.given(container="float64"), draws=2, random_state=0, **y)
    if isinstance(model, ItemResponse):
        found |= {"slopes": model.discrimination_, "intercepts": model.intercept_}
        if setup.options["model"] != "through_origin":  # there the difficulty of a task is infinite if beta = 0
            found["difficulty"] = model.difficulty_
        answered = ~np.isnan(setup.X).all(0)  # the fit of other tasks is NaN
        found |= {f"item fit {name}": part[answered] for name, part in model.item_fit(X)._asdict().items()}
        if model.n_dims > 1:
            found["loadings"] = model.loadings().loadings
    if isinstance(model, TopicModel):
        found["components"] = model.components_
        found["diversity"] = np.array(model.topic_diversity())
        if setup.X.sum() > 0:
            found["perplexity"] = np.array(model.perplexity(X))
    return found


def check_finite(setup: Setup, found: dict[str, Array]) -> None:
    """Every number is finite."""
    for name, array in found.items():
        if name.endswith("per_observed") and np.isnan(setup.X).all():
            continue  # there is none
        if setup.family in ("counts", "groups") and name in OVERFLOW:
            continue
        assert np.isfinite(array).all(), f"{name} is not finite"


def check_far(setup: Setup, model: Any) -> None:
    """The encoder takes data unlike those of training."""
    if setup.kind in (ItemResponse, TopicModel):
        return  # their data are marks and counts
    if setup.family == "groups":
        return  # of which some have few values
    y = setup.condition()
    for factor in (1e3, -1.0) if setup.family in ("reals", "unit", "images") else (1e3,):
        codes = np.asarray(model.transform((setup.X * factor).astype(np.float32), **y))
        assert np.isfinite(codes).all(), f"the codes of X times {factor:g} are not finite"


def check_support(setup: Setup, found: dict[str, Array]) -> None:
    """Means and draws lie in the support of the likelihood."""
    likelihood = setup.options.get("likelihood", setup.options.get("loss"))
    words = setup.kind is TopicModel or likelihood == "multinomial"
    means = [name for name in ("reconstruct", "sample", "predictive mean") if name in found]
    unit = likelihood == "bernoulli" or setup.kind is ItemResponse or getattr(likelihood, "mean", "") == "sigmoid"
    for name in means:
        most = 1 + 1e-6 if words else 1  # words have sums of products
        if unit or words:
            assert ((found[name] >= 0) & (found[name] <= most)).all(), f"{name} leaves [0, 1]"
        if words:
            assert np.allclose(found[name].sum(1), 1, atol=1e-4), f"{name} does not sum to one"
        if likelihood in ("poisson", "negative_binomial"):
            assert (found[name] >= 0).all(), f"{name} is negative"
    for name in ("predictive latent_std", "predictive observation_std"):
        assert name not in found or (found[name] >= 0).all(), f"{name} is negative"
    if setup.kind is TopicModel:
        assert np.allclose(found["transform"].sum(1), 1, atol=1e-4), "theta does not sum to one"
    draw = found.get("draw")
    if setup.family == "groups":
        return _check_groups(setup, found)
    if draw is None or isinstance(likelihood, Gaussian) or likelihood == "gaussian":
        return
    if setup.kind is ItemResponse:
        draw = np.float64(draw) * np.broadcast_to(setup.options.get("max_marks", 1), draw.shape)
        assert np.allclose(draw, np.rint(draw), atol=1e-4), "a draw is no whole number"
        return
    draw = draw[np.isfinite(draw)] if setup.family == "counts" and not words else draw
    assert ((draw >= 0) & (draw == np.rint(draw))).all(), "a draw is no count"
    assert likelihood != "bernoulli" or (draw <= 1).all(), "a draw is above 1"
    assert not words or (draw.sum(1) == 20).all(), "a document drawn has another length"


def _check_groups(setup: Setup, found: dict[str, Array]) -> None:
    """Each column of means and draws is in the support of its group."""
    first = 0
    for group in setup.options["likelihood"].groups:
        kind, columns = type(group.likelihood).__name__, slice(first, first + group.n_columns)
        first += group.n_columns
        for name in ("reconstruct", "sample", "draw"):
            part = found[name][:, columns]
            part = part[np.isfinite(part).all(1)]
            if kind in ("LogNormal", "Poisson", "NegativeBinomial"):
                assert (part >= 0).all(), f"{name} of {kind} is negative"
            if kind in ("Bernoulli", "Categorical", "Ordinal"):
                assert ((part >= 0) & (part <= 1 + 1e-6)).all(), f"{name} of {kind} leaves [0, 1]"
            if kind in ("Categorical", "Ordinal"):
                assert np.allclose(part.sum(1), 1, atol=1e-4), f"{name} of {kind} does not sum to one"
            if name == "draw" and kind not in ("Gaussian", "LogNormal"):
                assert np.array_equal(part, np.rint(part)), f"a draw of {kind} is no whole number"


def check_fit(setup: Setup, model: Any, scores: Array) -> None:
    """Training ends no worse than the best constant model; with outliers for most examples."""
    if setup.options.get("optimizer") in ("sgd", "adagrad"):
        return  # the steps that they can take depend on the data
    if setup.kind is ItemResponse and setup.options["epochs"] < 60:
        return  # slopes start at 1
    if setup.family == "groups":
        return  # no constant model is at hand
    want = constant.scores(setup)
    # An outlier's code costs much until training is long; held-out rows may be outliers.
    outliers = {"t", "lognormal", "outlier", "rare", "gamma"} & {*setup.facts} or "validation_fraction" in setup.options
    lost = float((np.median if outliers else np.mean)(want - scores))
    most = allowance(setup, want)
    assert lost <= most, f"{lost:.6g} nats below the constant model, which has {np.mean(want):.6g}; allowed {most:.6g}"


def allowance(setup: Setup, scores: Array) -> float:
    """Return what codes of a short training may cost, nats."""
    return _kl(setup) + _noise(setup) * setup.X.shape[1] + _share(setup) * float(np.mean(np.abs(scores)))


def _kl(setup: Setup) -> float:
    """Return what the KL may cost, nats."""
    return 1.0 + setup.options.get("latent_dim", 8 * setup.options.get("n_topics", 1))


def _noise(setup: Setup) -> float:
    """Return what the random weights may cost, nats per feature: they are as large as the likelihood resolves."""
    few = 3.0 if len(setup.X) < 10 else 1.0  # the start is cautious: half a pseudo-count
    if setup.kind in (ItemResponse, TopicModel):
        return 0.4 * few
    if setup.family == "counts":  # large counts of little variance are predicted to a thousandth, the size of a step
        return 10 if "constant columns" in setup.facts else 0.5 * few
    if setup.of_pixels():
        return 0.4 * few
    return (0.1 if setup.options["hidden"] else 0.5) * few


def _share(setup: Setup) -> float:
    """Return the share of the loss that the random weights may cost: more if its unit is not that of the data."""
    if has_fixed_unit(setup) and setup.family == "reals":
        offset = setup.options.get("activation") in ("softplus", "sigmoid")  # hidden units have a mean
        return 1.0 if len(setup.X) < 10 or not setup.options["hidden"] or offset else 0.5
    few = 2.0 if len(setup.X) < 10 or setup.options.get("batch_size") == 1 else 1.0
    return 0.2 * few if setup.family in ("counts", "documents") else 0.1


def has_fixed_unit(setup: Setup) -> bool:
    """Whether the loss does not adapt to the unit of the data."""
    likelihood = setup.options.get("likelihood")
    return likelihood in (None, "gaussian") or isinstance(getattr(likelihood, "scale", None), float)


def check_rows(setup: Setup, model: Any, found: dict[str, Array]) -> None:
    """A row's answers depend neither on the other rows nor on their order."""
    order = setup.generator(1).permutation(len(setup.X))
    _same({name: array[order] for name, array in found.items()}, answers(setup, model, order), "rows permuted")
    one = [int(order[0])]
    _same({name: array[one] for name, array in found.items()}, answers(setup, model, one), "one row")


def check_loaded(setup: Setup, model: Any, found: dict[str, Array]) -> None:
    """A saved model gives the same answers."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        model.save(path)
        _same(found, answers(setup, fastvae.load(path)), "loaded")
    _same(found, answers(setup, copy.deepcopy(model)), "copied")


def check_columns(setup: Setup, model: Any) -> None:
    """A permutation of the columns of X and of the weights leaves the codes."""
    order = setup.generator(2).permutation(setup.X.shape[1])
    found = setup.model().load_state_dict(permuted(setup, model.state_dict(), order))
    y = setup.condition()
    want = np.asarray(model.transform(setup.given(), **y))
    if y and y["y"].ndim == 1:
        y = {"y": (y["y"][:, np.newaxis] == model.classes_).astype(float)}
    codes = np.asarray(found.transform(setup.X[:, order], **y))
    error = np.abs(codes - want).max(initial=0)
    assert error <= 1e-4 * (1 + np.abs(want).max(initial=0)), f"columns permuted: codes differ by {error:.2g}"


def permuted(setup: Setup, state: dict[str, Array], order: Array) -> dict[str, Array]:
    """Return the weights of a network of dense layers for permuted columns of X."""
    d = len(order)
    hidden = setup.options["hidden"]
    head = "code" if setup.kind is Autoencoder else "mu"
    first = (
        ["encoder.0.weight"] if hidden else [f"{name}.weight" for name in (head, "logvar") if f"{name}.weight" in state]
    )
    last = f"decoder.{2 * len(hidden)}"
    found = dict(state)
    inputs = [order, d + order] if setup.options.get("missing_indicator") else [order]  # X, marks of holes; then y
    for name in first:
        rest = np.arange(len(inputs) * d, state[name].shape[1])
        found[name] = state[name][:, np.concatenate([*inputs, rest])]
    for name in [f"{last}.weight", f"{last}.bias", "scale.weight", "scale.bias", *state]:
        of_columns = name.startswith((last, "scale.", "likelihood.", "standardize.s"))
        if name in state and of_columns and state[name].shape[:1] == (d,):
            found[name] = state[name][order]
    return found


def _same(a: dict[str, Array], b: dict[str, Array], what: str) -> None:
    for name, array in a.items():
        if not np.array_equal(array, b[name], equal_nan=True):
            error = np.nanmax(np.abs(np.float64(array) - b[name])) if array.shape == b[name].shape else "shape"
            raise AssertionError(f"{what}: {name} differs by {error}")
