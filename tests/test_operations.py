"""The description of a fitted network as plain operations: evaluated in numpy, it is the model."""

from dataclasses import fields, is_dataclass

import numpy as np
import pytest
from exportable import CASES, EXPORTED, FEATURES, far
from operations_reference import Evaluated

import fastvae
from fastvae._estimators.description import describe_model
from fastvae._export import operations as ops
from fastvae._export.network import describe
from fastvae._fitted.model import FittedModel
from fastvae._fitted.specification import Specification
from fastvae._topics import prior

pytestmark = pytest.mark.filterwarnings("ignore:.*")


@pytest.mark.parametrize("name", EXPORTED)
def test_evaluated_it_is_the_model(name: str) -> None:
    case = EXPORTED[name]()
    model, found = case.model, Evaluated(case.model)
    if found.network.variational:
        mu, logvar = model.encode(case.X, y=case.y)
        codes = found.encode(case.X, case.condition)
        np.testing.assert_allclose(codes["mu"], mu, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(codes["logvar"], logvar, rtol=1e-4, atol=1e-5)
    else:
        mu = model.transform(case.X)
        np.testing.assert_allclose(found.encode(case.X)["code"], mu, rtol=1e-4, atol=1e-5)
    if found.network.simplex:
        z = mu[:, None] + np.exp(logvar / 2)[:, None] * prior.points(4)
        theta = found.run(found.network.simplex, z.reshape(-1, 4)).reshape(z.shape).mean(1)
        np.testing.assert_allclose(theta, model.transform(case.X), rtol=1e-4)
        mu = model.transform(case.X)
    decoded = model.inverse_transform(mu, y=case.y)
    scale = np.abs(decoded).max(0)
    np.testing.assert_allclose(found.decode(mu, case.condition) / scale, decoded / scale, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", range(24))
def test_it_is_the_network_of_random_convolutions(seed: int) -> None:
    pytest.importorskip("torch", reason="the random specifications are in a module that needs torch")
    from conv_reference import random_specification

    options = random_specification(seed)
    fitted = FittedModel(Specification(options))
    rng = np.random.default_rng(seed)
    state = {name: np.abs(rng.normal(0.5, 0.4, array.shape)) for name, array in fitted.state_dict().items()}
    signs = {name: 1 if "running_var" in name else rng.choice([-1, 1], array.shape) for name, array in state.items()}
    sizes = {name: array[0].size ** -0.5 if array.ndim > 1 else 1 for name, array in state.items()}
    fitted.load_state_dict({name: array * signs[name] * sizes[name] for name, array in state.items()})
    x = rng.random((3, options["n_features"]), np.float32)
    if options["missing"] != "error":
        x[rng.random(x.shape) < 0.2] = np.nan
    y = rng.normal(size=(3, options["conditions"])).astype(np.float32) if options["conditions"] else None
    found = Evaluated(describe(fitted))
    mu, logvar = fitted.encode(x, y, 1)
    codes = found.encode(x, y)
    for wanted, head in ((mu, "mu"), (logvar, "logvar")):
        np.testing.assert_allclose(codes[head], wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())
    np.testing.assert_allclose(found.decode(mu, y), fitted.decode(mu, y, 1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["likelihood gaussian decoder", "images, scale", "standardised, scale"])
def test_the_scale_of_a_decoder_is_that_of_predictive(name: str) -> None:
    """With two equal draws, as of a posterior without spread, the predictive deviation is the scale at mu."""
    case = CASES[name]()
    state = case.model.state_dict()
    state["logvar.weight"][:], state["logvar.bias"][:] = 0, -30
    model = case.model.load_state_dict(state)
    found = Evaluated(model)
    mu, _ = model.encode(case.X)
    u = np.minimum(found.second(mu), 40)
    scale = np.sqrt(found.network.likelihood.floor**2 + np.exp(2 * u))
    np.testing.assert_allclose(scale, model.predictive(case.X, 2).observation_std, rtol=1e-4)


def test_parameters_have_the_names_of_the_state_dict() -> None:
    model = CASES["images"]().model
    network, state = describe_model(model, "the test"), model.state_dict()
    operations = [*network.encoder, *network.decoder, *network.output]
    operations += [op for head in network.heads.values() for op in head]
    arrays = {
        f"{op.name}.{ {'mean': 'running_mean', 'variance': 'running_var'}.get(field.name, field.name) }": value
        for op in operations
        for field in fields(op)
        if isinstance(value := getattr(op, field.name), np.ndarray)
    }
    assert arrays.keys() == state.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, state[name])


def test_the_cases_have_every_operation() -> None:
    kinds = {kind for kind in vars(ops).values() if isinstance(kind, type) and is_dataclass(kind)} - {ops.Operation}
    seen = set()
    names = ("images", "images, decoder", "images, pool first", "indicator", "covariates", "standardised")
    for name in (
        *names,
        "transform log1p",
        "transform binary",
        "transform l1",
        "likelihood poisson",
        "topics, mixture",
        "groups",
    ):
        network = describe_model(EXPORTED[name]().model, "the test")
        sections = [part for part in vars(network).values() if isinstance(part, tuple)]
        operations = [op for section in [*sections, *network.heads.values()] for op in section]
        seen |= {type(op) for op in operations if isinstance(op, ops.Operation)}
    assert seen == kinds, kinds - seen


def test_columns_far_from_unit_size_are_described_in_their_units() -> None:
    network = describe_model(CASES["standardised"]().model, "the test")
    assert len(network.units) == 1
    assert isinstance(network.input[0], ops.Standardize)
    assert network.input[0].shift.shape == (FEATURES,)
    assert far().mean() > 1e3


def test_only_fitted_estimators_are_described() -> None:
    with pytest.raises(TypeError, match="the test takes a fitted estimator of fastvae, not int"):
        describe_model(3, "the test")
    with pytest.raises(fastvae.NotFittedError, match="this VAE is not fitted yet"):
        describe_model(fastvae.VAE(), "the test")
