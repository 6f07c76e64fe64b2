"""Any argument of any public call: a finite result, or an error of a documented kind that names an argument.

FASTVAE_EXAMPLES sets the number of examples of each call; the examples of the default number are always the same.
"""

import datetime
import inspect
import os
import re
import warnings
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import scipy.sparse

import fastvae
from fastvae import corruption, functional, latent, layers, likelihoods, optimizers, plots, priors, schedules

hypothesis = pytest.importorskip("hypothesis")
st = pytest.importorskip("hypothesis.strategies")

mpl.use("Agg")

EXAMPLES = int(os.environ.get("FASTVAE_EXAMPLES", "0"))
N, D = 12, 4
DOCUMENTED = (ValueError, TypeError, FloatingPointError, MemoryError, fastvae.NotFittedError)

rng = np.random.default_rng(0)
GOOD = rng.random((N, D), dtype=np.float32)
BINARY = (GOOD > 0.5).astype(np.float32)
COUNTS = rng.poisson(2, (N, D)).astype(np.float32)
HOLES = np.where(GOOD < 0.3, np.nan, GOOD)
LABELS = np.arange(N) % 3
Z = np.zeros((N, 2), np.float32)

settings: dict[str, Any] = {"hidden": (3,), "epochs": 1, "random_state": 0, "n_jobs": 1}
fastvae_models: dict[str, Any] = {}
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    fastvae_models = {
        "vae": fastvae.VAE(2, **settings).fit(GOOD),
        "gaussian": fastvae.VAE(2, likelihood="gaussian", **settings).fit(GOOD),
        "poisson": fastvae.VAE(2, likelihood="poisson", **settings).fit(COUNTS),
        "masked": fastvae.VAE(2, missing="mask", **settings).fit(HOLES),
        "conditional": fastvae.VAE(2, conditional=True, **settings).fit(GOOD, LABELS),
        "images": fastvae.VAE(2, image_shape=(2, 2), **settings).fit(GOOD.reshape(N, 2, 2)),
        "autoencoder": fastvae.Autoencoder(2, **settings).fit(GOOD),
        "topics": fastvae.TopicModel(2, **settings).fit(COUNTS),
        "exam": fastvae.ItemResponse(**settings).fit(BINARY),
    }
LOGICAL = {"vae": BINARY, "conditional": BINARY, "images": BINARY.reshape(N, 2, 2), "masked": BINARY}
DATA = {"poisson": COUNTS, "masked": HOLES, "topics": COUNTS, "exam": BINARY, "images": GOOD.reshape(N, 2, 2)}


# ------------------------------------------------------------------------------------------------ arguments


def matrices(good: Any) -> Any:
    """Return a strategy of arrays, frames and sparse matrices that resemble `good`, or do not."""
    good = np.asarray(good)

    @st.composite
    def build(draw: Any) -> Any:
        array = good.astype(np.float64)
        value = draw(
            st.sampled_from([0.5, 0.0, 1.0, 2.0, -1.0, np.nan, np.inf, -np.inf, 1e-310, 1e-45, 1e16, 1e39, 1e300])
        )
        cells = draw(st.sampled_from(["one", "column", "all", "none"]))
        if cells == "all":
            array[:] = value
        elif cells != "none" and array.ndim > 1:
            array[(0 if cells == "one" else slice(None), ..., -1)] = value
        dtypes = ["f4", "f8", ">f4", ">f8", "f2", "g", "i1", "u1", "i8", "u8", "?", "c8", "O", "U", "S", "M8[D]"]
        dtype = draw(st.sampled_from(dtypes))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if dtype[0] == "M":
                array = np.nan_to_num(array, posinf=1, neginf=1).clip(-9, 9).astype("i8").astype(dtype)
            else:
                array = array.astype(dtype)
        if dtype == "O" and array.size:
            odd = [
                None,
                pd.NA,
                pd.NaT,
                "a",
                b"a",
                10**400,
                Fraction(1, 3),
                1j,
                True,
                datetime.date(2020, 1, 1),
                [1],
                {},
            ]
            array.flat[0] = draw(st.sampled_from(odd))
        shape = draw(
            st.sampled_from(["same"] * 5 + ["empty", "no columns", "flat", "0-d", "3-d", "wide", "one", "4-d"])
        )
        array = {
            "same": lambda: array,
            "empty": lambda: array[:0],
            "no columns": lambda: array[..., :0],
            "flat": lambda: array.ravel(),
            "0-d": lambda: array.ravel()[0] if array.size else array,
            "3-d": lambda: array[..., None],
            "4-d": lambda: array[..., None, None],
            "wide": lambda: np.concatenate([array, array], -1),
            "one": lambda: array[:1],
        }[shape]()
        way = draw(st.sampled_from(["as it is"] * 4 + ["reversed", "strided", "fortran", "read-only", "masked", "list",
                                    "tuple", "frame", "polars-like", "csr", "csc", "coo", "lil", "generator",
                                    "structured", "ragged", "series", "memory", "nullable"]))  # fmt: skip
        array = np.asarray(array)
        table = array.ndim == 2 and array.size > 0
        match way:
            case "reversed" if array.ndim:
                return array[::-1]
            case "strided" if array.ndim:
                return np.repeat(array, 2, -1)[..., ::2]
            case "fortran":
                return np.asfortranarray(array)
            case "read-only":
                array = array.copy()
                array.flags.writeable = False
                return array
            case "masked":
                return np.ma.masked_array(array, np.ones(array.shape, bool) if array.size % 2 else None)
            case "list":
                return array.tolist()
            case "tuple":
                return tuple(array.tolist()) if array.ndim else array
            case "frame" if table:
                return pd.DataFrame(
                    array if array.dtype.kind in "OMUS" else array.astype(array.dtype.newbyteorder("="))
                )
            case "nullable" if table and array.dtype.kind in "fi" and array.dtype.itemsize < 16:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    return pd.DataFrame(array.astype(array.dtype.newbyteorder("="))).convert_dtypes()
            case "series" if array.ndim == 2:
                return pd.Series(list(array))
            case "csr" | "csc" | "coo" | "lil" if table and array.dtype.kind in "fiub" and array.dtype.str[0] != ">":
                if array.dtype.itemsize in (4, 8, 1):
                    return getattr(scipy.sparse, f"{way}_matrix")(array)
            case "generator" if array.ndim:
                return iter(list(array))
            case "structured" if array.ndim:
                return np.zeros(len(array), [("a", "f4"), ("b", "i4")])
            case "ragged":
                return [[1.0, 2.0], [1.0]]
        return array

    return build()


HUGE = [2**41, 2**63, 2**64, 10**30]
SCALARS = st.one_of(
    st.sampled_from(
        [-1, 0, 1, 2, 3, *HUGE, -(2**63), True, False, None, 0.5, 1.5, -0.5, 0.0, np.nan, np.inf, 1e39, 1e-320]
    ),
    st.sampled_from(["", "a", "linear", "none", b"a", (), [], (1,), (1, 2), [0, 1], {}, {"a": 1}, 1j]),
    st.sampled_from([np.float32(1.5), np.int8(2), np.array(2), np.array([1, 2]), np.array([0.5]), np.bool_(True)]),
    st.sampled_from(
        [np.array([], np.int64), np.array([1, None], object), pd.NA, Fraction(1, 2), datetime.date(2020, 1, 1)]
    ),
)
# Parameters whose large values are valid and slow: only values that are wrong or small.
SLOW = SCALARS.filter(lambda value: not (isinstance(value, int) and not isinstance(value, bool) and value > 3))


class Call:
    """A call with good arguments by name, and the strategies that replace them."""

    def __init__(self, function: Callable[..., Any], /, _nan: bool = False, _also: str = "", **good: Any) -> None:
        self.function, self.good, self.nan, self.also = function, good, _nan, _also

    def strategy(self, name: str) -> Any:
        value = self.good[name]
        if isinstance(value, np.ndarray):
            return matrices(value) | SCALARS
        return SLOW if name in ("epochs", "n_samples", "n_iter", "draws", "n_jobs", "n_importance_samples") else SCALARS


def calls() -> Iterator[tuple[str, Call]]:
    """Yield every public call."""
    for name, model in fastvae_models.items():
        X = DATA.get(name, GOOD)
        y = {"y": LABELS} if name == "conditional" else {}
        one = {"y": 1} if name == "conditional" else {}
        codes = np.full((3, 2), 0.5, np.float32)
        methods: dict[str, dict[str, Any]] = {
            "transform": {"X": X} | y,
            "encode": {"X": X} | y,
            "reconstruct": {"X": X} | y,
            "inverse_transform": {"Z": codes if name != "exam" else codes[:, :1]} | one,
            "score": {"X": X} | y,
            "score_samples": {"X": X} | y,
            "anomaly_score": {"X": X} | y,
            "evaluate": {"X": X} | y,
            "diagnose": {"X": X} | y,
            "posterior_sample": {"X": X, "n": 2, "random_state": 0} | y,
            "predictive": {"X": X, "n": 2, "random_state": 0} | y,
            "sample": {"n": 2, "random_state": 0, "draw": False, "return_latent": False, "lengths": None} | one,
            "log_marginal": {"X": LOGICAL.get(name, X), "n_samples": 2} | y,
            "manifold": {"n": 2, "span": None} | one,
            "interpolate": {"a": X[0].ravel(), "b": X[1].ravel(), "n": 2, "method": "linear"} | one,
            "traverse": {"x": X[0].ravel(), "dims": None, "span": 1.0, "n": 2} | one,
            "neighbours": {"X": X, "query": X[:2], "n": 2} | one,
            "impute": {"X": X, "draws": None, "n_iter": 0, "n_samples": 0, "random_state": 0} | y,
            "loss_and_gradients": {"X": X, "eps": None} | y,
            "item_fit": {"X": X},
            "predict_proba": {"X": X, "observed": None},
            "ability_interval": {"X": X, "level": 0.9},
            "loadings": {"rotation": None},
            "top_words": {"vocabulary": list("abcd"), "n": 2},
            "coherence": {"X_reference": X, "measure": "npmi", "n": 2},
            "perplexity": {"X": X},
            "similar_documents": {"X": X, "query": X[:2], "n": 2},
            "sample_documents": {"n": 2, "lengths": 3, "random_state": 0},
            "topic_diversity": {"n": 2},
            "set_output": {"transform": "default"},
            "load_state_dict": {"d": model.state_dict()},
        }
        for method, good in methods.items():
            bound = getattr(model, method, None)
            if bound is None or not set(good) <= set(inspect.signature(bound).parameters) | {"y", "draws", "n_iter"}:
                continue
            nan = method in ("diagnose", "log_marginal", "coherence", "loadings", "item_fit")
            also = "state dict" if method == "load_state_dict" else ""
            yield f"{name}.{method}", Call(bound, _nan=nan or name == "masked", _also=also, **good)

        def fit(X: Any, y: Any = None, _model: Any = model, **more: Any) -> Any:
            return type(_model)(**_model.get_params()).fit(X, y, **more).transform(X, **({} if y is None else {"y": y}))

        yield (
            f"{name}.fit",
            Call(fit, X=X, validation_data=X if not y else None, epochs=1 if name != "exam" else None, **y),
        )

        def partial_fit(X: Any, y: Any = None, _model: Any = model) -> Any:
            return type(_model)(**_model.get_params()).partial_fit(X, y).state_dict()

        yield f"{name}.partial_fit", Call(partial_fit, X=X, **y)

        def parameters(_model: Any = model, _X: Any = X, _y: Any = y, **changed: Any) -> Any:
            return type(_model)(**(_model.get_params() | changed)).fit(_X, **_y).transform(_X, **_y)

        yield f"{name}()", Call(parameters, **{k: v for k, v in model.get_params().items() if k != "progress"})

    vae = fastvae_models["vae"]
    yield (
        "latent.attribute_vector",
        Call(latent.attribute_vector, _also="X", model=vae, X_with=GOOD[:3], X_without=GOOD[3:]),
    )
    yield "latent.apply_attribute", Call(latent.apply_attribute, model=vae, X=GOOD, v=np.ones(2), strengths=np.ones(2))
    yield "latent.mixture_sample", Call(latent.mixture_sample, model=vae, X=GOOD, n=2, random_state=0)
    yield "latent.grid_coordinates", Call(latent.grid_coordinates, model=vae, n=2, span=1.0, dims=None)
    for name in ("gaussian_kl", "reparameterize", "bernoulli_log_prob", "gaussian_log_prob"):
        function = getattr(functional, name)
        arguments = {each: GOOD for each in inspect.signature(function).parameters if each != "scale"}
        yield f"functional.{name}", Call(function, _nan=True, **arguments)
    yield (
        "functional.gaussian_log_prob, scale",
        Call(functional.gaussian_log_prob, _nan=True, x=GOOD, mean=GOOD, scale=1.0),
    )
    yield "functional.standard_normal", Call(functional.standard_normal, shape=(2, 3), seed=0, stream=0)
    yield "binarize", Call(fastvae.binarize, _nan=True, X=GOOD, how="bernoulli", random_state=0)
    for name in corruption.__all__:
        kind = getattr(corruption, name)

        def corrupt(X: Any, random_state: Any, kind: Any = kind, **options: Any) -> Any:
            return kind(**options).corrupt(X, random_state)

        options = {k: p.default for k, p in inspect.signature(kind).parameters.items()}
        yield f"corruption.{name}", Call(corrupt, _nan=True, X=GOOD, random_state=0, **options)
    for module in (likelihoods, layers, optimizers, priors):
        for name in getattr(module, "__all__", ()):
            kind = getattr(module, name)
            if not isinstance(kind, type):
                continue
            options = {
                k: 1 if p.default is inspect.Parameter.empty else p.default
                for k, p in inspect.signature(kind).parameters.items()
            }

            def use(kind: Any = kind, module: Any = module, **options: Any) -> Any:
                made = kind(**options)
                if module is likelihoods:
                    return fastvae.VAE(2, likelihood=made, **settings).fit(BINARY).transform(BINARY)
                if module is optimizers:
                    return fastvae.VAE(2, optimizer=made, **settings).fit(BINARY).transform(BINARY)
                if module is priors:
                    return fastvae.ItemResponse(prior=made, **settings).fit(BINARY).transform(BINARY)
                images = GOOD.reshape(N, 2, 2)
                own = settings | {"hidden": (made,), "decoder_hidden": (3,)}
                return fastvae.VAE(2, image_shape=(2, 2), **own).fit(images).transform(images)

            also = {likelihoods: "likelihood", optimizers: "optimizer", priors: "prior", layers: "hidden"}[module]
            yield f"{module.__name__}.{name}", Call(use, _also=also, **options)
    for name in ("linear", "cosine", "exponential", "cyclical"):
        yield f"schedules.{name}", Call(getattr(schedules, name), start=0.1, end=1.0, epochs=2, steps=None)
    yield "plots.images", Call(plots.images, X=GOOD, shape=(2, 2), columns=2, titles=None)
    yield "plots.manifold", Call(plots.manifold, model=vae, n=2, span=None, dims=None)
    yield "plots.reconstructions", Call(plots.reconstructions, model=vae, X=GOOD, shape=(2, 2), columns=2)
    yield "plots.interpolation", Call(plots.interpolation, model=vae, a=GOOD[0], b=GOOD[1], n=2, method="linear")
    yield "plots.traversal", Call(plots.traversal, model=vae, x=GOOD[0], dims=None, span=1.0, n=2)
    yield "plots.latent_scatter", Call(plots.latent_scatter, model=vae, X=GOOD, y=LABELS, dims=(0, 1))
    yield "plots.latent_ellipses", Call(plots.latent_ellipses, model=vae, X=GOOD, y=LABELS, dims=(0, 1))
    yield "plots.kl_per_dimension", Call(plots.kl_per_dimension, model=vae, X=GOOD)
    topics = fastvae_models["topics"]
    yield "plots.topics", Call(plots.topics, components=topics, vocabulary=list("abcd"), n=2)


# ------------------------------------------------------------------------------------------------ outcomes


def is_finite(result: Any) -> bool:
    """Whether all numbers in a result are finite."""
    if isinstance(result, np.ndarray):
        return result.dtype.kind not in "fc" or bool(np.isfinite(result).all())
    if isinstance(result, float):
        return bool(np.isfinite(result))
    if isinstance(result, dict):
        return all(map(is_finite, result.values()))
    return all(map(is_finite, result)) if isinstance(result, (list, tuple)) else True


def check(name: str, arguments: dict[str, Any]) -> None:
    """Make a call, and check its outcome."""
    call = CALLS[name]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", UserWarning)
            result = call.function(**arguments)
    except DOCUMENTED as error:
        if isinstance(error, (MemoryError, fastvae.NotFittedError)):
            return
        message = str(error)
        if "internal error" in message:
            pytest.fail(message)
        named = [*call.good, *([call.also] if call.also else []), "feature", "Feature"]
        if not any(re.search(rf"(?<![a-zA-Z]){each}(?![a-zA-Z])", message) for each in named):
            pytest.fail(f"{type(error).__name__} names no argument of {named}: {message!r}")
    else:
        assert call.nan or is_finite(result), f"{result} is not finite"
    finally:
        if name.startswith("plots"):
            import matplotlib.pyplot as plt

            plt.close("all")


def examples(name: str) -> int:
    """Return the number of examples of a call."""
    return EXAMPLES or (6 if name.endswith(("fit", ")")) or name.startswith("plots") else 12)


# Calls that a model refuses whatever the arguments.
REFUSED = re.compile(
    r"(vae|gaussian|poisson|conditional|images)\.impute|topics\.(impute|manifold|traverse)|autoencoder\.manifold|"
    r"exam\.manifold"
)
CALLS = {name: call for name, call in calls() if not REFUSED.fullmatch(name)}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_with_any_arguments_answers_or_names_an_argument(name: str) -> None:
    call = CALLS[name]
    check(name, call.good)
    if not call.good:
        return

    @hypothesis.settings(
        max_examples=examples(name),
        derandomize=EXAMPLES == 0,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate] if EXAMPLES == 0 else [hypothesis.Phase.generate, hypothesis.Phase.shrink],
    )
    @hypothesis.given(data=st.data())
    def run(data: Any) -> None:
        odd = data.draw(
            st.lists(
                st.sampled_from(sorted(set(call.good) - {"model", "components"} or {"model"})),
                min_size=1,
                max_size=2,
                unique=True,
            )
        )
        drawn = {each: data.draw(call.strategy(each), label=each) for each in odd}
        check(name, call.good | drawn)

    run()
