"""AnomalyDetector: scikit-learn's contract of outlier detectors, units of columns, robust training, shares."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import pickle
import warnings
from typing import Any

import numpy as np
import pytest
from helpers import run_python
from numpy.typing import NDArray
from scipy import sparse
from scipy.stats import iqr, norm, rankdata
from sklearn_checks import passes_all_checks

import fastvae
from fastvae import VAE, AnomalyDetector
from fastvae._data.robust import RobustScale
from fastvae.likelihoods import Gaussian

sklearn = pytest.importorskip("sklearn", reason="scikit-learn, which these tests need, is not installed")
from sklearn.base import clone, is_outlier_detector  # noqa: E402
from sklearn.datasets import load_breast_cancer  # noqa: E402
from sklearn.model_selection import GridSearchCV  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402

Array = NDArray[Any]


def make(n: int = 400, d: int = 6, seed: int = 0) -> Array:
    """Return rows of two factors with noise, in units from 1e-3 to 1e4."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 2)) @ rng.normal(size=(2, d)) + 0.3 * rng.normal(size=(n, d))
    return np.asarray(X * np.geomspace(1e-3, 1e4, d) + np.linspace(-5, 5, d))


def small(**parameters: Any) -> AnomalyDetector:
    """Return a detector that trains for a moment."""
    given: dict[str, Any] = {"latent_dim": 2, "hidden": (8,), "epochs": 8, "n_samples": 8, "random_state": 0}
    return AnomalyDetector(**(given | parameters))


def roc_auc(anomalous: NDArray[np.bool_], scores: Array) -> float:
    """Return the probability that an anomaly scores higher (Mann and Whitney's U)."""
    n = int(anomalous.sum())
    return float((rankdata(scores)[anomalous].sum() - n * (n + 1) / 2) / (n * (len(scores) - n)))


X = make()
FITTED = small().fit(X)

# ------------------------------------------------------------------------------------------- scikit-learn's contract


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("trim", [0.0, 0.1])
def test_scikit_learns_checks_pass(trim: float) -> None:
    assert is_outlier_detector(small())
    passes_all_checks(small(trim=trim, epochs=3), {})


def test_predictions_decisions_and_scores_belong_together() -> None:
    scores, decision = FITTED.score_samples(X), FITTED.decision_function(X)
    np.testing.assert_array_equal(decision, scores - FITTED.offset_)
    np.testing.assert_array_equal(FITTED.predict(X), np.where(decision < 0, -1, 1))
    np.testing.assert_array_equal(FITTED.anomaly_score(X), -scores)
    np.testing.assert_array_equal(small().fit_predict(X), FITTED.predict(X))


def test_contamination_is_the_share_of_training_rows_below_the_threshold() -> None:
    assert (FITTED.predict(X) == -1).sum() == 20
    half = small(contamination=0.5).fit(X)
    assert (half.predict(X) == -1).sum() == 200
    np.testing.assert_array_equal(half.score_samples(X), FITTED.score_samples(X))
    scores = FITTED.score_samples(X)
    auto = small(contamination="auto").fit(X)
    assert auto.offset_ == pytest.approx(np.quantile(scores, 0.25) - 1.5 * iqr(scores), rel=1e-12)


def test_the_threshold_may_be_set_and_is_saved() -> None:
    detector = copy.deepcopy(FITTED)
    detector.offset_ = np.quantile(detector.score_samples(make(seed=1)), 0.3)
    assert 0.2 < (detector.predict(make(seed=1)) == -1).mean() < 0.4
    assert saved(detector).offset_ == detector.offset_


def test_it_is_the_last_step_of_a_pipeline_and_of_a_search() -> None:
    chain = make_pipeline(StandardScaler(), small()).fit(X)
    direct = small().fit(StandardScaler().fit_transform(X))
    np.testing.assert_array_equal(chain.predict(X), direct.predict(StandardScaler().fit_transform(X)))
    search = GridSearchCV(
        small(), {"latent_dim": [1, 3]}, scoring=lambda model, X, y=None: model.score_samples(X).mean(), cv=2
    ).fit(X)
    folds = [np.arange(200, 400), np.arange(200)]  # the training rows of the two folds
    expected = [
        np.mean([small(latent_dim=k).fit(X[rows]).score_samples(np.delete(X, rows, 0)).mean() for rows in folds])
        for k in (1, 3)
    ]
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], expected)
    assert clone(FITTED).get_params() == FITTED.get_params()
    assert not hasattr(clone(FITTED), "vae_")


def test_a_detector_does_not_transform() -> None:
    absent = ("transform", "set_output", "get_feature_names_out", "set_transform_request", "set_score_request")
    assert not {name for name in absent if hasattr(FITTED, name)} | (set(absent) & set(dir(FITTED)))
    assert hasattr(VAE, "set_output")
    assert hasattr(VAE, "set_score_request")


# ------------------------------------------------------------------------------------------------------------ scores


def network_rows(detector: AnomalyDetector, X: Array) -> NDArray[np.float32]:
    """Return rows in the units of the network, by their definition."""
    u = (X - detector.center_) / detector.scale_
    far = np.abs(u) > 5
    u[far] = np.sign(u[far]) * (5 + np.log(1 + np.abs(u[far]) - 5))
    return np.asarray(u, np.float32)


def test_scores_are_those_of_the_network() -> None:
    rows = network_rows(FITTED, X)
    expected = FITTED.vae_.log_marginal(rows, 8).estimate
    np.testing.assert_allclose(FITTED.score_samples(X), expected, rtol=1e-3)
    bound = copy.deepcopy(FITTED).set_params(method="elbo", n_samples=3)
    np.testing.assert_allclose(bound.score_samples(X), FITTED.vae_.score_samples(rows, n_samples=3), rtol=1e-3)
    assert bound.score_samples(X).mean() < FITTED.score_samples(X).mean()


def test_a_score_does_not_depend_on_other_rows_nor_on_threads() -> None:
    scores = FITTED.score_samples(X)
    np.testing.assert_array_equal(FITTED.score_samples(X[7:9]), scores[7:9])
    np.testing.assert_array_equal(FITTED.feature_scores(X[7:9]), FITTED.feature_scores(X)[7:9])
    for n_jobs in (1, 2):
        other = small(n_jobs=n_jobs).fit(X)
        np.testing.assert_array_equal(other.score_samples(X), scores)
        np.testing.assert_array_equal(other.support_, FITTED.support_)
    assert not np.array_equal(small(random_state=1).fit(X).score_samples(X), scores)


def test_units_do_not_matter() -> None:
    factors, shifts = np.array([1e-20, 1e-3, 1, 1e5, 1e20, 2.0]), np.array([0, 1, -2, 0, 0, 7.0])
    other = small().fit(X * factors + shifts)
    np.testing.assert_allclose(other.score_samples(X * factors + shifts), FITTED.score_samples(X), rtol=1e-2)


def test_the_vae_scores_by_bound_or_probability() -> None:
    rows = network_rows(FITTED, X)
    vae = FITTED.vae_
    np.testing.assert_array_equal(vae.anomaly_score(rows), -vae.score_samples(rows))
    np.testing.assert_array_equal(vae.anomaly_score(rows, n_samples=9), -vae.score_samples(rows, n_samples=9))
    default = vae.anomaly_score(rows, method="log_marginal")
    np.testing.assert_array_equal(default, -vae.log_marginal(rows, 1000).estimate.astype(np.float32))
    few = vae.anomaly_score(rows, method="log_marginal", n_samples=5)
    np.testing.assert_array_equal(few, -vae.log_marginal(rows, 5).estimate.astype(np.float32))
    with pytest.raises(ValueError, match="method='density' is not known; use one of 'elbo', 'log_marginal'"):
        vae.anomaly_score(rows, method="density")


def test_the_score_is_the_density_of_a_gaussian() -> None:
    """Without a code p(x) is a product of normal densities."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4000, 3)) * [1, 10, 100]
    detector = AnomalyDetector(trim=0, beta=50.0, n_samples=64, random_state=0, epochs=30).fit(values)
    rows = network_rows(detector, values)
    expected = norm.logpdf(rows, rows.mean(0), rows.std(0)).sum(axis=1)
    assert np.abs(detector.score_samples(values) - expected).mean() < 0.05


# ------------------------------------------------------------------------------------------------- units of columns


def test_center_and_scale_are_median_and_quartiles() -> None:
    units = RobustScale.of(X)
    np.testing.assert_allclose(units.center, np.median(X, axis=0))
    np.testing.assert_allclose(units.scale, iqr(X, axis=0) / (2 * norm.ppf(0.75)), rtol=1e-6)
    far = X.copy()
    far[:80] += 1e6 * units.scale  # a fifth of the values
    assert ((RobustScale.of(far).scale / units.scale > 1) & (RobustScale.of(far).scale / units.scale < 2)).all()
    holes = np.where(np.random.default_rng(0).random(X.shape) < 0.3, np.nan, X)
    np.testing.assert_allclose(RobustScale.of(holes).center, np.nanmedian(holes, axis=0))
    np.testing.assert_array_equal(np.isnan(units.apply(holes)), np.isnan(holes))


def test_columns_with_equal_quartiles_have_a_scale() -> None:
    columns = np.zeros((100, 4))
    columns[:10, 0] = np.arange(1, 11)  # mostly zero
    columns[:, 1], columns[:, 2] = 300.0, 1e-8 * np.random.default_rng(0).normal(size=100) + 300
    units = RobustScale.of(columns)
    np.testing.assert_allclose(units.scale, [columns[:, 0].std(), 300, 300, 1])


def test_the_scale_is_linear_up_to_five_and_monotonous() -> None:
    units = RobustScale(np.zeros(1), np.ones(1))
    values = np.array([-1e300, -7.0, -5.0, 0.0, 3.0, 5.0, 7.0, 1e300])[:, None]
    found = units.apply(values)[:, 0]
    np.testing.assert_allclose(found[2:6], [-5, 0, 3, 5])
    assert found[6] == pytest.approx(5 + np.log(3))
    assert (np.diff(found) > 0).all()
    assert found[-1] == pytest.approx(5 + np.log(1e300), rel=1e-5)


def test_constant_columns_are_fine_and_a_new_value_is_odd() -> None:
    values = np.column_stack([X[:, :3], np.full(len(X), 7.0), np.zeros(len(X))])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        detector = small().fit(values)
    rows = values[:3].copy()
    rows[1, 3], rows[2, 4] = 70.0, 10.0
    scores = detector.anomaly_score(rows)
    assert np.isfinite(scores).all()
    assert scores[1] > scores[0] + 50
    assert detector.feature_scores(rows).argmax(axis=1)[1:].tolist() == [3, 4]


def test_extreme_values_have_finite_scores() -> None:
    rows = X[:4].copy()
    rows[1], rows[2, 0], rows[3, 1] = 1e308, -1e308, 1e30
    scores = FITTED.anomaly_score(rows)
    assert np.isfinite(scores).all()
    assert (scores[1:] > scores[0]).all()


# ------------------------------------------------------------------------------------------------------------- holes


def test_a_missing_value_counts_as_an_average_one() -> None:
    rng = np.random.default_rng(1)
    holes = np.where(rng.random(X.shape) < 0.2, np.nan, X)
    detector = small(epochs=40).fit(holes)
    scores = detector.anomaly_score(holes)
    assert np.isfinite(scores).all()
    full = np.isnan(holes).sum(axis=1)
    assert abs(np.median(scores[full >= 2]) - np.median(scores[full == 0])) < 2
    assert (detector.feature_scores(holes)[np.isnan(holes)] == 0).all()
    assert np.isfinite(detector.feature_scores(holes)).all()
    assert np.isfinite(detector.anomaly_score(np.full((1, 6), np.nan))).all()


def test_a_column_without_values_is_named() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    holes = X.copy()
    holes[:, 2] = np.nan
    with pytest.raises(ValueError, match="column 2 of X has no value at all: leave it out"):
        small().fit(holes)
    with pytest.raises(ValueError, match="column 'c' of X has no value"):
        small().fit(pandas.DataFrame(holes, columns=list("abcdef")))


def test_a_column_with_few_values_is_fine() -> None:
    holes = X.copy()
    holes[2:, 2] = np.nan
    detector = small().fit(holes)
    assert np.isfinite(detector.score_samples(X)).all()
    assert np.isfinite(detector.feature_scores(X)).all()


# --------------------------------------------------------------------------------------------------- robust training


def test_trimming_leaves_out_the_share_of_rows_and_those_are_the_planted_ones() -> None:
    values = make(400)
    rng = np.random.default_rng(2)
    values[:30] = values.mean(0) + values.std(0) * rng.uniform(2, 4, (30, 1)) * rng.choice([-1, 1], (30, 6))
    detector = AnomalyDetector(random_state=0, trim=0.1).fit(values)
    assert (~detector.support_).sum() == 40
    assert (~detector.support_[:30]).mean() > 0.8
    assert AnomalyDetector(random_state=0, trim=0, epochs=1).fit(values).support_.all()


def test_rows_are_chosen_by_networks_that_have_not_seen_them(monkeypatch: pytest.MonkeyPatch) -> None:
    learned: dict[int, list[set[bytes]]] = {}
    scored: dict[int, list[set[bytes]]] = {}
    networks: list[VAE] = []  # kept: ids stay different
    score, train = VAE.score_samples, VAE.partial_fit

    def rows_of(X: Array) -> set[bytes]:
        return {row.tobytes() for row in X}

    def partial_fit(self: VAE, X: Array) -> VAE:
        networks.append(self)
        learned.setdefault(id(self), []).append(rows_of(X))
        return train(self, X)

    def score_samples(self: VAE, X: Array, **options: Any) -> Array:
        scored.setdefault(id(self), []).append(rows_of(X))
        return score(self, X, **options)

    monkeypatch.setattr(VAE, "partial_fit", partial_fit)
    monkeypatch.setattr(VAE, "score_samples", score_samples)
    detector = small().fit(X)
    everything = rows_of(network_rows(detector, X))
    first, second = (scored[id(network)] for network in (networks[0], networks[-1]))
    own, other = first[0], first[-1]
    assert own | other == everything
    assert not own & other
    assert first == [own] * 4 + [other]  # to choose the rows of the next round, and at the end the other half
    assert second == [other] * 4 + [own]
    for half, rounds in zip((own, other), learned.values(), strict=True):
        assert all(rows <= half for rows in rounds)
        assert [len(rows) for rows in rounds] == [160] * 4  # without the 2 trim lowest
    assert detector.vae_.n_iter_ == 8


def test_few_rows_take_as_many_steps_as_many_rows() -> None:
    for n in (3, 50, 400, 15_000):
        detector = small(epochs="auto", trim=0).fit(make(n))
        steps = detector.vae_._require_fitted().engine.steps
        assert steps == pytest.approx(max(400, 2 * n / 64), rel=0.05)


def test_robust_training_helps_if_a_tenth_of_the_rows_is_anomalous() -> None:
    data = load_breast_cancer()
    areas = {0.0: [], 0.1: []}
    for seed in range(2):
        rng = np.random.default_rng(seed)
        benign, malignant = (rng.permutation(np.flatnonzero(data.target == k)) for k in (1, 0))
        train = np.append(benign[:178], malignant[:20])
        test = np.append(benign[178:], malignant[20:])
        for trim, found in areas.items():
            detector = AnomalyDetector(trim=trim, random_state=seed).fit(data.data[train])
            found.append(roc_auc(data.target[test] == 0, detector.anomaly_score(data.data[test])))
    assert np.mean(areas[0.1]) > 0.92
    assert np.mean(areas[0.1]) > np.mean(areas[0.0]) + 0.03


# ------------------------------------------------------------------------------------------------ shares of columns


def test_shares_and_kl_are_the_negative_elbo_of_a_linear_model() -> None:
    """With a linear decoder E_q[(x - m)²] = (x - W mu - b)² + W² sigma²."""
    detector = small(hidden=(), trim=0).fit(X)
    rows = network_rows(detector, X)
    mu, logvar = detector.vae_.encode(rows)
    state = detector.vae_.state_dict()
    W, b, log_scale = (
        state[key].astype(float) for key in ("decoder.0.weight", "decoder.0.bias", "likelihood.log_scale")
    )
    squares = (rows - mu @ W.T - b) ** 2 + np.exp(logvar) @ (W.T**2)
    terms = squares * np.exp(-2 * log_scale) / 2 + log_scale + np.log(2 * np.pi) / 2
    found = detector.feature_scores(X)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-9)
    expected = terms - terms.mean(axis=0)
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.99
    kl = (np.exp(logvar) + mu**2 - 1 - logvar).sum(axis=1) / 2
    bound = -detector.vae_.score_samples(rows, n_samples=2000)
    np.testing.assert_allclose(terms.sum(axis=1) + kl, bound, rtol=0.05, atol=0.3)


def test_the_odd_column_has_the_highest_share() -> None:
    values = make(600)
    detector = AnomalyDetector(random_state=0).fit(values)
    rng = np.random.default_rng(3)
    rows, column = values[:60].copy(), rng.integers(6, size=60)
    rows[np.arange(60), column] += 4 * detector.scale_[column] * rng.choice([-1, 1], 60)
    assert (detector.feature_scores(rows).argmax(axis=1) == column).mean() > 0.85


# ------------------------------------------------------------------------------------------------- frames and files


def test_frames_are_read_by_their_names() -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame(X, columns=list("abcdef"))
    detector = small().fit(frame)
    assert detector.feature_names_in_.tolist() == list("abcdef")
    np.testing.assert_array_equal(detector.score_samples(frame), FITTED.score_samples(X))
    with pytest.raises(ValueError, match="in the same order"):
        detector.predict(frame[list("bacdef")])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        detector.predict(X)
    nullable = frame.convert_dtypes()
    nullable.iloc[0, 0] = pandas.NA
    assert np.isfinite(detector.score_samples(nullable)).all()
    np.testing.assert_array_equal(saved(detector).feature_names_in_, detector.feature_names_in_)


def test_polars_frames_are_read() -> None:
    polars = pytest.importorskip("polars", reason="polars is not installed")
    frame = polars.DataFrame(X, schema=list("abcdef"))
    np.testing.assert_array_equal(small().fit(frame).score_samples(frame), FITTED.score_samples(X))


def saved(detector: AnomalyDetector) -> AnomalyDetector:
    """Return a detector from its file."""
    file = io.BytesIO()
    detector.save(file)
    found = fastvae.load(file.getvalue())
    assert isinstance(found, AnomalyDetector)
    return found


@pytest.mark.parametrize("copied", [saved, copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))])
def test_copies_have_the_same_bits(copied: Any) -> None:
    other = copied(FITTED)
    for method in ("score_samples", "predict", "feature_scores"):
        np.testing.assert_array_equal(getattr(other, method)(X), getattr(FITTED, method)(X))
    np.testing.assert_array_equal(other.support_, FITTED.support_)
    np.testing.assert_array_equal(other.center_, FITTED.center_)
    assert other.get_params() == FITTED.get_params()
    assert other.vae_.get_params() == FITTED.vae_.get_params()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("center", [0.0]),
        ("scale", [0.0] * 6),
        ("scale", [1.0] * 5 + [None]),
        ("column_means", ["a"] * 6),
        ("offset", None),
        ("names", ["a"]),
        ("support", [10**12, "ff"]),
        ("support", [3, "zz"]),
        ("support", None),
        ("unknown", 1),
    ],
)
def test_a_damaged_file_is_refused(key: str, value: Any) -> None:
    from fastvae._estimators import files  # the file's checksums would refuse an edit

    vae = FITTED.vae_
    stored, _ = files.encode_parameters(FITTED.get_params())
    data = io.BytesIO()
    FITTED.save(data)
    header = data.getvalue()
    learned = json.loads(json.loads(header[8 : 8 + int.from_bytes(header[:8], "little")])["__metadata__"]["estimator"])
    detector = learned["learned"]["_detector"] | {key: value}
    damaged = files.dump(vae._require_fitted(), vae._record, "AnomalyDetector", stored, True, detector=detector)
    with pytest.raises(fastvae.FormatError, match="the bytes has a damaged configuration"):
        fastvae.load(damaged)


@pytest.mark.filterwarnings("ignore")
def test_forged_files_are_refused_or_consistent() -> None:
    from test_mutations import forge

    file, rng = io.BytesIO(), np.random.default_rng(0)
    small(epochs=1).fit(X[:40]).save(file)
    refused = 0
    for _ in range(300):
        changed, _ = forge(file.getvalue(), rng)
        try:
            detector = fastvae.load(changed)
        except fastvae.FormatError:
            refused += 1
            continue
        if isinstance(detector, AnomalyDetector):
            with contextlib.suppress(FloatingPointError):  # of a weight of 1e38
                assert detector.predict(X).shape == (400,)
    assert refused > 150


def test_a_generator_cannot_be_in_a_file() -> None:
    detector = small(random_state=np.random.default_rng(0)).fit(X)
    with pytest.warns(UserWarning, match="a file cannot hold random_state"):
        other = saved(detector)
    assert other.random_state is None


# ------------------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"contamination": 0}, r"contamination=0 must be in \(0, 0.5\]"),
        ({"contamination": 0.6}, r"contamination=0.6 must be in \(0, 0.5\]"),
        ({"contamination": "some"}, "contamination='some' must be a number in \\(0, 0.5\\] or \"auto\""),
        ({"trim": 0.5}, "trim=0.5 must be a number"),
        ({"trim": -0.1}, "trim=-0.1 must be a number"),
        ({"method": "density"}, "method='density' is not known"),
        ({"n_samples": 0}, "n_samples=0 must be an integer"),
        ({"epochs": "many"}, "epochs='many' must be an integer"),
        ({"epochs": 0}, "epochs=0 must be an integer"),
        ({"latent_dim": 0}, "latent_dim=0"),
        ({"hidden": ("a",)}, "hidden"),
        ({"random_state": -1}, "random_state=-1"),
    ],
)
def test_bad_parameters_are_refused(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**parameters).fit(X)


def test_bad_data_are_refused() -> None:
    infinite = X.copy()
    infinite[3, 1] = np.inf
    with pytest.raises(ValueError, match=r"X\[3, 1\] is inf: X must be finite, or NaN where missing"):
        small().fit(infinite)
    with pytest.raises(TypeError, match=r"AnomalyDetector does not support sparse matrices: pass X.toarray\(\)"):
        small().fit(sparse.csr_array(X))
    with pytest.raises(ValueError, match="X has 5 features, but AnomalyDetector is expecting 6"):
        FITTED.predict(X[:, :5])
    with pytest.raises(fastvae.NotFittedError, match="this AnomalyDetector is not fitted yet: call fit first"):
        small().predict(X)
    with pytest.raises(fastvae.NotFittedError):
        small().save(io.BytesIO())


def test_few_rows_are_fine() -> None:
    for n in (1, 2, 11):
        assert np.isfinite(small(epochs="auto").fit(X[:n]).score_samples(X)).all()


def test_it_is_imported_on_first_use_only() -> None:
    code = """
import sys, fastvae
print("fastvae._estimators.anomaly_detector" in sys.modules, "AnomalyDetector" in dir(fastvae))
"""
    assert run_python(code).strip() == "False True"


def test_its_network_is_a_vae_of_its_parameters() -> None:
    network = FITTED.vae_
    assert type(network) is VAE
    assert network.likelihood == Gaussian("per_feature", floor=0.1)
    assert (network.latent_dim, tuple(network.hidden), network.missing, network.beta) == (2, (8,), "mask", 2.0)


@pytest.mark.parametrize("dtype", ["float64", "int64"])
def test_a_small_spread_about_a_large_value_is_no_rounding_error(dtype):
    """Seconds since 1970 within a minute, for example: float64 and integers hold them exactly."""
    rng = np.random.default_rng(0)
    seconds = rng.integers(0, 60, (200, 1)).astype(dtype)
    other = rng.normal(size=(200, 1)).round(2)
    near = AnomalyDetector(epochs=2, random_state=0).fit(np.hstack([seconds, (other * 100).astype(dtype)]))
    far = AnomalyDetector(epochs=2, random_state=0).fit(
        np.hstack([seconds + 1_700_000_000, (other * 100).astype(dtype)])
    )
    np.testing.assert_allclose(far._units.scale, near._units.scale)
    row = np.array([[1_700_000_030 + 10_000, 0]])
    assert far.score_samples(row)[0] < far.score_samples(row - [[10_000, 0]])[0] - 10


def test_the_rounding_errors_of_a_constant_column_of_float32_stay_small():
    X = np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32)
    X[:, 1] = np.float32(1e6) * (1 + np.float32(1e-7) * (np.arange(100) % 2))
    detector = AnomalyDetector(epochs=2, random_state=0).fit(X)
    assert detector._units.scale[1] == pytest.approx(1e6)


@pytest.mark.parametrize("threshold", [np.nan, np.zeros(3), "a", None])
def test_a_threshold_that_is_no_number_is_refused(threshold):
    X = np.random.default_rng(0).normal(size=(50, 2))
    detector = AnomalyDetector(epochs=1, random_state=0).fit(X)
    detector.offset_ = threshold
    with pytest.raises(ValueError, match=r"offset_=.* must be a finite number"):
        detector.predict(X)
