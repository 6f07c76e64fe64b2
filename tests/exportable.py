"""Small fitted models of every kind, for the tests of descriptions and exports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from helpers import ACTIVATIONS, COUNTS, LIKELIHOODS, small
from mixed_tables import FITTED, realistic
from mixed_tables import holes as mixed_holes
from numpy.typing import NDArray

from fastvae import VAE, Autoencoder, CountVAE, ItemResponse, TopicModel
from fastvae.layers import AvgPool2d, Conv2d, ConvTranspose2d, Dense, MaxPool2d, Upsample
from fastvae.likelihoods import Categorical, Gaussian, Mixed, Poisson

FEATURES, ROWS = 12, 40
INFLATED = "zero_inflated_negative_binomial"
IMAGE = (6, 8, 2)


class Case(NamedTuple):
    """A fitted model with examples, and y as it was given to fit and as columns."""

    model: Any
    X: NDArray[Any]
    y: Any = None
    condition: Any = None


def unit(cols: int = FEATURES, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random((ROWS, cols), np.float32)


def counts() -> NDArray[np.float32]:
    return np.random.default_rng(0).poisson(3.0, (ROWS, FEATURES)).astype(np.float32)


def holes(X: NDArray[np.float32]) -> NDArray[np.float32]:
    X = X.copy()
    X[np.random.default_rng(1).random(X.shape) < 0.3] = np.nan
    return X


def dense(X: Any = None, **parameters: Any) -> Case:
    X = unit() if X is None else X
    return Case(small(**({"hidden": (9, 7)} | parameters)).fit(X), X)


def of_likelihood(likelihood: Any) -> Case:
    name = likelihood if isinstance(likelihood, str) else type(likelihood).__name__.lower()
    given = counts() if name in COUNTS or name in ("negativebinomial", "multinomial") else unit()
    return dense(given, likelihood=likelihood, activation="tanh")


def labelled(**parameters: Any) -> Case:
    X, y = unit(int(np.prod(IMAGE)) if "image_shape" in parameters else FEATURES), np.arange(ROWS) % 3
    return Case(small(conditional=True, **parameters).fit(X, y), X, y, np.eye(3)[y])


def cells(likelihood: str) -> Case:
    X, y = counts(), np.arange(ROWS) % 3
    X[X < 3] = 0
    model = CountVAE(3, hidden=(9,), likelihood=likelihood, conditional=True, dispersion="batch", epochs=3)
    model.set_params(random_state=0).fit(X, y)
    state = model.state_dict()
    name = "likelihood.log_total_count"
    state[name] += np.linspace(-1, 1, state[name].size, dtype=np.float32).reshape(state[name].shape)
    return Case(model.load_state_dict(state), X, y, np.eye(3)[y])


def covariates() -> Case:
    X, y = unit(), np.random.default_rng(2).normal(1e4, 300.0, (ROWS, 2)).astype(np.float32)
    return Case(small(conditional=True).fit(X, y), X, y, y)


def images(model: Any = VAE, X: Any = None, **parameters: Any) -> Case:
    X = unit(int(np.prod(IMAGE))) if X is None else X
    return Case(small(model, image_shape=IMAGE, **parameters).fit(X), X)


def exam(n_dims: int = 1, **parameters: Any) -> Case:
    rng = np.random.default_rng(3)
    most = np.array([1, 2, 5, 1]) if "max_marks" in parameters else np.ones(4)
    X = holes(np.floor(rng.random((ROWS, 4)) * (most + 1)).astype(np.float32))
    fixed = {"n_dims": n_dims, "hidden": (8,), "epochs": 2, "random_state": 0}
    return Case(ItemResponse(**fixed, **parameters).fit(X), X)


def topics(**parameters: Any) -> Case:
    X = counts()
    return Case(TopicModel(4, hidden=(9,), epochs=3, random_state=0, **parameters).fit(X), X)


def far() -> NDArray[np.float32]:
    """Columns far from unit size, which are standardised."""
    scale = 10.0 ** np.arange(-3, FEATURES - 3)
    return (unit() * scale + 5 * scale).astype(np.float32)


def of_groups(share: float = 0.0, **parameters: Any) -> Case:
    """A model of a table with columns of all kinds."""
    likelihood = Mixed([*FITTED.groups, (Gaussian(0.5, mean="sigmoid"), 1), (Poisson(), 2), (Categorical(), 2)])
    rng, X = np.random.default_rng(4), realistic(ROWS)
    levels = np.eye(2)[rng.integers(2, size=ROWS)]
    X = np.concatenate([X, rng.random((ROWS, 1)), rng.poisson(3.0, (ROWS, 2)), levels], 1)
    X = mixed_holes(likelihood, X, share)
    fixed = {"hidden": (9,), "likelihood": likelihood, "missing": "mask"}
    return Case(small(**(fixed | parameters)).fit(X), X)


NORM = {"batch_norm": True}
CONVOLUTIONS = (Conv2d(5, 3, padding=1, **NORM), MaxPool2d(2), Conv2d(4, 2, (1, 2), activation="elu"), Dense(9, **NORM))
DECODER = (
    Dense(24),
    Upsample((2, 1)),
    ConvTranspose2d(3, 3, (1, 2), 1, (0, 1), **NORM),
    AvgPool2d((1, 1)),
    Conv2d(2, 1),
)

CASES: dict[str, Callable[[], Case]] = {
    **{f"activation {name}": lambda name=name: dense(activation=name) for name in ACTIVATIONS},
    **{f"likelihood {name}": lambda kind=kind: of_likelihood(kind) for name, kind in LIKELIHOODS.items()},
    **{f"cells, {kind}": lambda kind=kind: cells(kind) for kind in ("negative_binomial", INFLATED)},
    "no hidden layers": lambda: dense(hidden=()),
    "batch norm": lambda: dense(hidden=(Dense(9, **NORM), Dense(7, activation="tanh"))),
    "decoder_hidden": lambda: dense(decoder_hidden=(5, 4, 3)),
    "standardised": lambda: dense(far(), likelihood="gaussian"),
    "standardised, scale": lambda: dense(
        far(), likelihood=LIKELIHOODS["gaussian decoder 0.5"], missing="mask", hidden=(9,)
    ),
    "labels": labelled,
    "covariates": covariates,
    "mask": lambda: dense(holes(unit()), missing="mask"),
    "indicator": lambda: dense(holes(unit()), missing="mask", missing_indicator=True),
    **{
        f"transform {name}": lambda name=name: dense(counts(), likelihood="poisson", input_transform=name)
        for name in ("log1p", "binary", "l1", "l2")
    },
    "transform, mask": lambda: dense(holes(counts()), likelihood="poisson", input_transform="l2", missing="mask"),
    "autoencoder": lambda: Case(small(Autoencoder, hidden=(9,)).fit(far()), far()),
    "autoencoder bernoulli": lambda: Case(small(Autoencoder, loss="bernoulli").fit(unit()), unit()),
    "images": lambda: images(hidden=CONVOLUTIONS),
    "images, dense": lambda: images(hidden=(9,)),
    "images, decoder": lambda: images(hidden=CONVOLUTIONS[:2], decoder_hidden=DECODER),
    "images, pool first": lambda: images(hidden=(AvgPool2d((2, 1)), 9)),
    "images, convolutions behind dense layers": lambda: images(
        hidden=(Conv2d(3, 2, 2), Dense(24), Conv2d(4, 2), 5), decoder_hidden=(7,)
    ),
    "images, labels": lambda: labelled(image_shape=IMAGE, hidden=CONVOLUTIONS),
    "images, labels, dense layer first": lambda: labelled(
        image_shape=IMAGE, hidden=(Dense(96), Conv2d(4, 2), 5), decoder_hidden=(7,)
    ),
    "images, labels, no dense layer": lambda: labelled(image_shape=IMAGE, hidden=CONVOLUTIONS[:1]),
    "images, indicator": lambda: images(X=holes(unit(96)), hidden=CONVOLUTIONS, missing="mask", missing_indicator=True),
    "images, scale": lambda: images(hidden=CONVOLUTIONS[:2], likelihood=LIKELIHOODS["gaussian decoder 0.5"]),
    "images, standardised": lambda: images(X=unit(96) * 1e3, hidden=CONVOLUTIONS[:2], likelihood="gaussian"),
    "images, autoencoder": lambda: images(Autoencoder, hidden=CONVOLUTIONS),
    "exam": exam,
    "exam, marks": lambda: exam(max_marks=[1, 2, 5, 1]),
    "exam, rasch": lambda: exam(model="rasch"),
    "exam, through origin": lambda: exam(model="through_origin"),
    "exam, two dimensions": lambda: exam(2),
    "topics, mixture": topics,
    "topics, product": lambda: topics(decoder="product"),
    "topics, log1p": lambda: topics(input_transform="log1p"),
}


def labelled_groups() -> Case:
    X, y = realistic(ROWS).astype(np.float32), np.arange(ROWS) % 3
    return Case(small(conditional=True, likelihood=FITTED).fit(X, y), X, y, np.eye(3)[y])


# Tables of mixed columns, which the explorer does not show.
MIXED: dict[str, Callable[[], Case]] = {
    "groups": of_groups,
    "groups, holes": lambda: of_groups(0.2),
    "groups, indicator": lambda: of_groups(0.2, missing_indicator=True),
    "groups, labels": labelled_groups,
    "one group": lambda: dense(far(), likelihood=Mixed([(Gaussian("per_feature"), FEATURES)])),
}

EXPORTED = CASES | MIXED
