"""CountVAE: batches, corrected expression, AnnData objects. The likelihood: test_size_factor.py."""

from __future__ import annotations

import pickle
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import bits, same
from numpy.typing import NDArray
from scipy import sparse

import fastvae
from fastvae import VAE, CountVAE
from fastvae.likelihoods import NegativeBinomial

sys.path.insert(0, str(Path(__file__).parent.parent / "examples" / "cells"))
from simulate import simulate

SMALL: dict[str, Any] = {"latent_dim": 3, "hidden": (16,), "epochs": 3, "random_state": 0}


class Annotated:
    """The parts of an AnnData object that are read."""

    def __init__(self, X: Any, layers: dict[str, Any], obs: dict[str, Any], names: list[str]) -> None:
        self.X, self.layers, self.obs, self.var_names = X, layers, obs, names
        self.shape, self.obsm = X.shape, dict[str, NDArray[np.float32]]()


def cells() -> Annotated:
    found = simulate(300, 40, 3, 2, seed=1)
    labels = np.array(["first", "second"])[found.batches]
    X = found.X.toarray()
    names = [f"gene {j}" for j in range(X.shape[1])]
    return Annotated(np.log1p(X), {"counts": found.X}, {"donor": labels}, names)


def neighbours(codes: NDArray[Any]) -> NDArray[np.int64]:
    """The ten nearest rows of each row."""
    return np.argsort(np.square(codes[:, None] - codes[None]).sum(2), axis=1)[:, 1:11]


def test_it_is_the_vae_of_its_parts() -> None:
    data = cells()
    X, y = data.layers["counts"], data.obs["donor"]
    likelihood = NegativeBinomial(size_factor="total")
    vae = VAE(likelihood=likelihood, input_transform="log1p", conditional=True, **SMALL).fit(X, y)
    model = CountVAE(conditional=True, **SMALL).fit(X, y)
    assert same(model.state_dict(), vae.state_dict())
    np.testing.assert_array_equal(
        model.normalized_expression(X, y=y, total=1), vae.inverse_transform(vae.transform(X, y=y), y=y)
    )
    np.testing.assert_array_equal(model.dispersion_, np.exp(vae.state_dict()["likelihood.log_total_count"]))


def test_annotated_cells_are_read_by_layer_and_batch_and_get_their_codes() -> None:
    data = cells()
    model = CountVAE(layer="counts", batch_key="donor", **SMALL).fit(data)
    given = CountVAE(conditional=True, **SMALL).fit(data.layers["counts"], data.obs["donor"])
    assert same(model.state_dict(), given.state_dict())
    assert list(model.feature_names_in_) == data.var_names
    assert list(model.classes_) == ["first", "second"]
    codes = model.transform(data)
    np.testing.assert_array_equal(data.obsm["X_fastvae"], codes)
    np.testing.assert_array_equal(codes, given.transform(data.layers["counts"], y=data.obs["donor"]))
    other = CountVAE(layer="counts", batch_key="donor", key_added="Z", **SMALL)
    np.testing.assert_array_equal(other.fit_transform(data), data.obsm["Z"])
    assert np.isfinite(model.score(data))
    assert model.normalized_expression(data, batch="second").shape == data.shape


def test_anndata_itself() -> None:
    anndata = pytest.importorskip("anndata", reason="anndata is not installed")
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    data = cells()
    obs = pandas.DataFrame({"donor": pandas.Categorical(data.obs["donor"])}, index=[f"c{i}" for i in range(300)])
    real = anndata.AnnData(X=data.X, obs=obs, var=pandas.DataFrame(index=data.var_names), layers=data.layers)
    model = CountVAE(layer="counts", batch_key="donor", **SMALL).fit(real)
    model.transform(real)
    np.testing.assert_array_equal(real.obsm["X_fastvae"], model.transform(real[:, :]))
    np.testing.assert_array_equal(model.transform(real[::2]), real.obsm["X_fastvae"][::2])


def test_codes_know_the_type_and_expression_is_of_the_chosen_batch() -> None:
    found = simulate(700, 120, 4, 2, batch_effect=0.7, size=500, seed=2)
    y = found.batches.astype(str)
    model = CountVAE(5, hidden=(64,), conditional=True, epochs=60, learning_rate=3e-3, random_state=0).fit(found.X, y)
    logs = np.log1p(found.X.toarray() / found.X.sum(1)[:, None] * 500)
    components = np.linalg.svd(logs - logs.mean(0), full_matrices=False)[2][:5]
    nearest = {"codes": neighbours(model.transform(found.X, y=y)), "components": neighbours(logs @ components.T)}
    assert (found.types[nearest["codes"]] == found.types[:, None]).mean() > 0.97
    same_batch = {name: (found.batches[rows] == found.batches[:, None]).mean() for name, rows in nearest.items()}
    assert same_batch["codes"] < same_batch["components"] - 0.1

    corrected = model.normalized_expression(found.X, y=y, batch="0", total=100)
    np.testing.assert_allclose(corrected.sum(1), 100, rtol=1e-4)
    left, raw = 0.0, 0.0
    for kind in np.unique(found.types):
        groups = [(found.types == kind) & (found.batches == batch) for batch in (0, 1)]
        first, second = (corrected[group].mean(0) for group in groups)
        left += float(np.abs(first - second).sum())
        totals = [np.asarray(found.X[group].sum(0)).ravel() for group in groups]
        first, second = (100 * total / total.sum() for total in totals)
        raw += float(np.abs(first - second).sum())
    assert left < 0.45 * raw
    both = model.normalized_expression(found.X[:9], y=y[:9], batch=["0", "1"])
    each = [model.normalized_expression(found.X[:9], y=y[:9], batch=label) for label in ("0", "1")]
    np.testing.assert_allclose(both, (each[0] + each[1]) / 2, rtol=1e-5)


@pytest.mark.parametrize("likelihood", ["poisson", "zero_inflated_negative_binomial"])
def test_files_and_pickles_give_the_same_bits(likelihood: str, tmp_path: Path) -> None:
    data = cells()
    model = CountVAE(likelihood=likelihood, batch_key="donor", layer="counts", **SMALL).fit(data)
    model.save(tmp_path / "model")
    again = fastvae.load(tmp_path / "model")
    assert isinstance(again, CountVAE)
    for other in (again, pickle.loads(pickle.dumps(model))):
        assert bits(other) == bits(model)
        np.testing.assert_array_equal(other.normalized_expression(data), model.normalized_expression(data))


def test_more_zeros_than_the_distribution_has_are_inflation() -> None:
    plain, zeros = (simulate(600, 60, 3, 1, dropout=share, seed=3).X for share in (0.0, 0.5))
    options: dict[str, Any] = {"hidden": (32,), "epochs": 40, "learning_rate": 1e-2, "random_state": 0}
    scores = {}
    for name, X in (("plain", plain), ("zeros", zeros)):
        for likelihood in ("negative_binomial", "zero_inflated_negative_binomial"):
            scores[name, likelihood] = CountVAE(3, likelihood=likelihood, **options).fit(X).score(X)
    gain = {
        name: scores[name, "zero_inflated_negative_binomial"] - scores[name, "negative_binomial"]
        for name in ("plain", "zeros")
    }
    assert gain["zeros"] > 1
    assert abs(gain["plain"]) < 0.5


def test_what_does_not_fit_is_refused() -> None:
    data = cells()
    X, y = data.layers["counts"], data.obs["donor"]
    with pytest.raises(ValueError, match=r"layer='raw' is not in the layers of X, 'counts'"):
        CountVAE(layer="raw", **SMALL).fit(data)
    with pytest.raises(ValueError, match=r"batch_key='plate' is not a column of X\.obs, which has 'donor'"):
        CountVAE(layer="counts", batch_key="plate", **SMALL).fit(data)
    data.obs["donor"] = np.array(["a", None] + ["b"] * 298, object)
    with pytest.raises(ValueError, match=r"X\.obs\['donor'\] has no batch of cell 1"):
        CountVAE(layer="counts", batch_key="donor", **SMALL).fit(data)
    model = CountVAE(conditional=True, **SMALL).fit(X, y)
    with pytest.raises(ValueError, match="third"):
        model.normalized_expression(X, y=y, batch="third")
    with pytest.raises(ValueError, match="batch is an empty list"):
        model.normalized_expression(X, y=y, batch=[])
    with pytest.raises(ValueError, match="this model has no batches"):
        CountVAE(**SMALL).fit(X).normalized_expression(X, batch="first")
    with pytest.raises(ValueError, match="likelihood='gaussian'"):
        CountVAE(likelihood="gaussian", **SMALL).fit(X)
    with pytest.raises(ValueError, match="-1"):
        CountVAE(**SMALL).fit(-sparse.csr_array(X))
    with pytest.raises(AttributeError, match="dispersion_"):
        _ = CountVAE(likelihood="poisson", **SMALL).fit(X).dispersion_


def test_values_that_are_no_counts_are_named_once() -> None:
    data = cells()
    X = data.layers["counts"]
    logs = X.copy()
    logs.data = np.log1p(logs.data)
    for given in (logs, logs.toarray()):
        with pytest.warns(UserWarning, match=r"X\[0, \d+\] is \d.*, which is no count: CountVAE models counts"):
            CountVAE(**SMALL).fit(given)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CountVAE(**SMALL).fit(X)


def test_a_batch_for_each_cell_is_refused_where_batches_are_named() -> None:
    data = cells()
    X, y = data.layers["counts"], data.obs["donor"]
    model = CountVAE(conditional=True, **SMALL).fit(X, y)
    with pytest.raises(ValueError, match=r"batch names '(first|second)' twice: .* y= are the batches"):
        model.normalized_expression(X, y=y, batch=y)
    with pytest.raises(ValueError, match="batch='third' is none of the batches of the model: 'first', 'second'"):
        model.normalized_expression(X, y=y, batch=["first", "third"])
    np.testing.assert_array_equal(
        model.normalized_expression(X, y=y, batch={"first"}), model.normalized_expression(X, y=y, batch="first")
    )


def test_a_total_for_each_cell_is_refused_in_a_line() -> None:
    X = cells().layers["counts"]
    with pytest.raises(ValueError, match=r"^total=<ndarray> must be a number"):
        CountVAE(**SMALL).fit(X).normalized_expression(X, total=np.arange(300.0))
