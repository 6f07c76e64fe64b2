"""The plots: each leaves a picture in the axes it was given, and what it drew is what the model says."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import matplotlib
import numpy as np
import pytest
from helpers import run_python
from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import EllipseCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from numpy.typing import NDArray

import fastvae
from fastvae import VAE, ItemResponse, NotFittedError, latent, plots
from fastvae._topics import documents

matplotlib.use("Agg")

DIGITS, LABELS = fastvae.datasets.load_digits()
X, Y = DIGITS[:400], LABELS[:400]
THETA = np.random.default_rng(0).dirichlet(np.full(4, 0.3), 200)
PHI = np.random.default_rng(1).dirichlet(np.full(15, 0.3), 4)
VOCABULARY = [f"word {i}" for i in range(15)]
TEMPLATE = VAE(2, hidden=(32,), epochs=40, batch_size=32, learning_rate=3e-3, random_state=0)


class Codes:
    """A model of codes alone: neither posterior nor prior."""

    n_features_in_ = 64

    def transform(self, X: Any) -> NDArray[np.float32]:
        return np.asarray(X, np.float32)[:, [10, 20, 30]]

    def inverse_transform(self, Z: Any) -> NDArray[np.float32]:
        return np.asarray(Z, np.float32) @ np.ones((3, 64), np.float32)


@pytest.fixture(scope="module")
def plane() -> VAE:
    """A trained model of two latent dimensions, with validation losses."""
    return VAE(**(TEMPLATE.get_params() | {"epochs": 20})).fit(X, validation_data=DIGITS[400:500])


@pytest.fixture(scope="module")
def deep() -> VAE:
    """A trained model of six latent dimensions, not all of which it needs."""
    return VAE(6, hidden=(32,), epochs=60, batch_size=32, beta=3, learning_rate=3e-3, random_state=0).fit(X)


@pytest.fixture(autouse=True)
def no_figures_left() -> Iterator[None]:
    yield
    pyplot.close("all")


def conditional() -> VAE:
    return VAE(2, hidden=(32,), conditional=True, epochs=5, random_state=0).fit(X, Y)


def exam() -> ItemResponse:
    return ItemResponse(epochs=2, random_state=0).fit(X > 0.5)


PLOTS: dict[str, Callable[..., Any]] = {
    "images": lambda model, ax: plots.images(X[:12], ax=ax),
    "conditions": lambda model, ax: plots.conditions(conditional(), ax=ax),
    "reconstructions": lambda model, ax: plots.reconstructions(model, X[:6], ax=ax),
    "manifold": lambda model, ax: plots.manifold(model, 5, ax=ax),
    "interpolation": lambda model, ax: plots.interpolation(model, X[0], X[1], ax=ax),
    "attribute": lambda model, ax: plots.attribute(model, X[:3], [1, 1], ax=ax),
    "traversal": lambda model, ax: plots.traversal(model, X[0], ax=ax),
    "latent_scatter": lambda model, ax: plots.latent_scatter(model, X, Y, ax=ax),
    "latent_ellipses": lambda model, ax: plots.latent_ellipses(model, X, Y, ax=ax),
    "kl_per_dimension": lambda model, ax: plots.kl_per_dimension(model, X, ax=ax),
    "learning_curve": lambda model, ax: plots.learning_curve(model, ax=ax),
    "document_map": lambda model, ax: plots.document_map(THETA, ax=ax),
    "item_characteristic": lambda model, ax: plots.item_characteristic(exam(), ax=ax),
    "abilities": lambda model, ax: plots.abilities(exam(), X[:50] > 0.5, ax=ax),
}


def pixels(ax: Any) -> NDArray[np.uint8]:
    """Render the figure, and return the inside of the axes, [n, 3]."""
    canvas = FigureCanvasAgg(ax.figure)
    canvas.draw()
    inside = ax.get_window_extent()
    image = np.asarray(canvas.buffer_rgba())[::-1, :, :3]
    return image[int(inside.y0) + 4 : int(inside.y1) - 4, int(inside.x0) + 4 : int(inside.x1) - 4].reshape(-1, 3)


def n_colours(seen: NDArray[np.uint8]) -> int:
    return len(np.unique(seen.astype(np.uint32) @ np.array([1, 256, 65536], np.uint32)))


def drawn(ax: Any) -> NDArray[np.float64]:
    """Return the one image in the axes."""
    (image,) = ax.images
    return np.asarray(image.get_array())


def texts(labels: Any) -> list[str]:
    return [label.get_text() for label in labels]


# ------------------------------------------------------------------------------------------- every plot


def test_every_plot_is_drawn_below() -> None:
    assert sorted([*PLOTS, "three_objectives", "topics", "n_topics"]) == sorted(plots.__all__)


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_fills_the_axes_that_it_is_given_and_returns_them(plane: VAE, name: str) -> None:
    ax = Figure(figsize=(5, 4), layout="constrained").subplots()
    assert PLOTS[name](plane, ax) is ax
    assert pyplot.get_fignums() == [], "it needs no figure of its own"
    inside = pixels(ax)
    assert (inside < 250).any(axis=1).mean() > 0.02, "the picture is blank"
    assert n_colours(inside) > 10, "the picture is nearly blank"


@pytest.mark.parametrize("name", PLOTS)
def test_without_axes_a_plot_makes_one_pyplot_figure(plane: VAE, name: str) -> None:
    ax = PLOTS[name](plane, None)
    assert [pyplot.figure(number) for number in pyplot.get_fignums()] == [ax.figure]
    assert n_colours(pixels(ax)) > 10


@pytest.mark.parametrize("name", PLOTS)
def test_without_matplotlib_a_plot_says_what_to_install(plane: VAE, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"need matplotlib.*pip install 'fastvae-cpu\[plot\]'"):
        PLOTS[name](plane, None)


def test_importing_the_plots_imports_no_matplotlib() -> None:
    program = (
        "import sys, fastvae.plots, fastvae.latent; print({'matplotlib', 'sklearn', 'statistics'} & {*sys.modules})"
    )
    assert run_python(program).strip() == "set()"


@pytest.mark.parametrize(
    "name", ["latent_scatter", "latent_ellipses", "kl_per_dimension", "learning_curve", "manifold"]
)
def test_a_plot_of_a_model_that_is_not_fitted_says_so(name: str) -> None:
    with pytest.raises(NotFittedError, match="not fitted yet"):
        PLOTS[name](VAE(), None)


# ---------------------------------------------------------------------------------------------- images


def test_images_are_laid_out_in_lines_with_white_between_them() -> None:
    canvas = drawn(plots.images(X[:5], columns=3))
    assert canvas.shape == (8 + 1 + 8, 8 + 1 + 8 + 1 + 8)
    for i in range(5):
        top, left = i // 3 * 9, i % 3 * 9
        assert np.array_equal(canvas[top : top + 8, left : left + 8], X[i].reshape(8, 8))
    assert (canvas[8] == 1).all()
    assert (canvas[:, [8, 17]] == 1).all()
    assert (canvas[9:, 18:] == 1).all(), "there is no sixth image"


@pytest.mark.parametrize(("n", "lines", "columns"), [(1, 1, 1), (10, 1, 10), (11, 3, 4), (144, 12, 12)])
def test_few_images_make_a_line_and_many_a_square(n: int, lines: int, columns: int) -> None:
    assert drawn(plots.images(X[:n])).shape == (9 * lines - 1, 9 * columns - 1)


def test_bytes_pictures_and_colours_are_drawn_as_rows_of_floats_are() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (4, 6, 5), np.uint8)
    expected = drawn(plots.images(grey.reshape(4, 30) / 255, (6, 5)))
    assert np.allclose(drawn(plots.images(grey)), expected)
    assert np.allclose(drawn(plots.images(grey[..., np.newaxis])), expected)
    assert np.allclose(drawn(plots.images(grey.reshape(4, 30), (6, 5))), expected)
    colour = np.repeat(grey[..., np.newaxis], 3, axis=3)
    colour[..., 1:] = 0
    canvas = drawn(plots.images(colour.reshape(4, 90), (6, 5, 3)))
    assert canvas.shape == (*expected.shape, 3)
    assert np.allclose(canvas[:, :5, 0], expected[:, :5])
    assert (canvas[:, :5, 1:] == 0).all()


def test_values_beyond_black_and_white_are_clipped() -> None:
    canvas = drawn(plots.images([[-3, 0, 0.5, 7.0]]))
    assert canvas.tolist() == [[0, 0], [0.5, 1]]


def test_each_title_stands_above_its_image() -> None:
    ax = plots.images(X[:5], columns=3, titles=Y[:5])
    assert texts(ax.texts) == [str(label) for label in Y[:5]]
    canvas = drawn(ax)
    for i, text in enumerate(ax.texts):
        x, y = (round(position) for position in text.get_position())
        assert np.array_equal(canvas[y + 1 : y + 9, i % 3 * 9 : i % 3 * 9 + 8], X[i].reshape(8, 8))
        assert i % 3 * 9 < x < i % 3 * 9 + 8
        assert (canvas[y - 1 : y + 1] == 1).all(), "there is room for it"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"X": X[:, :60]}, "60 values are not a grey square: pass shape="),
        ({"shape": (8, 9)}, r"shape=\(8, 9\) does not fit rows of 64 values"),
        ({"shape": (4, 4, 4)}, r"shape=\(4, 4, 4\) does not fit"),
        ({"shape": (64,)}, r"shape=\(64,\) does not fit"),
        ({"columns": 0}, "columns=0 must be an integer, at least 1"),
        ({"titles": ["one"]}, "titles has 1 entries; expected 400"),
        ({"X": X[0]}, "X is 1-D"),
        ({"X": X[:0]}, "X is empty"),
    ],
)
def test_images_refuse_what_they_cannot_lay_out(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plots.images(**({"X": X} | arguments))


def test_reconstructions_stand_below_their_originals(plane: VAE) -> None:
    ax = plots.reconstructions(plane, X[:5], columns=3, titles=Y[:5])
    canvas, again = drawn(ax), plane.reconstruct(X[:5])
    middles = [int(y + 0.5) for y in ax.get_yticks()]
    assert texts(ax.get_yticklabels()) == ["original", "reconstructed"] * 2
    assert texts(ax.texts) == [str(label) for label in Y[:5]]
    for i in range(5):
        columns = slice(i % 3 * 9, i % 3 * 9 + 8)
        original, below = middles[2 * (i // 3) : 2 * (i // 3) + 2]
        assert np.allclose(canvas[original - 4 : original + 4, columns], X[i].reshape(8, 8))
        assert np.allclose(canvas[below - 4 : below + 4, columns], again[i].reshape(8, 8))


def test_the_manifold_is_drawn_upwards_and_its_ticks_tell_where(plane: VAE) -> None:
    ax = plots.manifold(plane, 3, span=1.5)
    grid = latent.manifold(plane, 3, span=1.5).reshape(3, 3, 8, 8)
    assert np.array_equal(drawn(ax), grid.transpose(0, 2, 1, 3).reshape(24, 24))
    assert texts(ax.get_xticklabels()) == ["−1.50", "0", "+1.50"]  # noqa: RUF001
    assert texts(ax.get_yticklabels()) == ["+1.50", "0", "−1.50"]  # noqa: RUF001
    assert ax.get_yticks().tolist() == [3.5, 11.5, 19.5]


def test_the_manifold_names_its_dimensions(deep: VAE) -> None:
    assert plots.manifold(deep, 3, dims=(4, 2)).get_xlabel().startswith("z[4]")
    ax = plots.manifold(Codes(), 3, X=X)
    first, second = latent.grid_coordinates(Codes(), X=X)[2]
    assert ax.get_xlabel() == f"z[{first}], quantiles of the codes"
    assert ax.get_ylabel() == f"z[{second}], quantiles of the codes"


def test_paths_attributes_and_traversals_are_drawn_in_their_order(deep: VAE) -> None:
    v, strengths = np.arange(6) / 6, [-1, 0, 2.5]
    for ax, expected in (
        (plots.interpolation(deep, X[0], X[1], 4, "slerp"), latent.interpolate(deep, X[0], X[1], 4, "slerp")[None]),
        (plots.attribute(deep, X[:2], v, strengths), latent.apply_attribute(deep, X[:2], v, strengths)),
        (plots.traversal(deep, X[0], [5, 1], 2, 3), latent.traverse(deep, X[0], [5, 1], 2, 3)),
    ):
        canvas = drawn(ax)
        for i, line in enumerate(expected):
            for j, picture in enumerate(line):
                assert np.array_equal(canvas[9 * i : 9 * i + 8, 9 * j : 9 * j + 8], picture.reshape(8, 8))


def test_paths_attributes_and_traversals_label_their_columns_and_lines(deep: VAE) -> None:
    ax = plots.interpolation(deep, X[0], X[1], 5)
    assert texts(ax.get_xticklabels()) == ["a", "0.25", "0.50", "0.75", "b"]
    ax = plots.attribute(deep, X[:2], np.ones(6), [-1, 0, 2.5])
    assert texts(ax.get_xticklabels()) == ["−1", "0", "+2.5"]  # noqa: RUF001
    ax = plots.traversal(deep, X[0], [5, 1], span=2, n=3)
    assert texts(ax.get_xticklabels()) == ["−2", "0", "+2"]  # noqa: RUF001
    assert texts(ax.get_yticklabels()) == ["z[5]", "z[1]"]
    assert texts(plots.traversal(deep, X[0], 4).get_yticklabels()) == ["z[4]"]
    assert texts(plots.traversal(deep, X[0]).get_yticklabels()) == [f"z[{i}]" for i in range(6)]


# ----------------------------------------------------------------------------------------------- codes


def test_the_scatter_is_of_the_codes_in_the_chosen_dimensions(deep: VAE) -> None:
    ax = plots.latent_scatter(deep, X, dims=(4, 1))
    (points,) = ax.collections
    assert np.allclose(points.get_offsets(), deep.transform(X)[:, [4, 1]])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("posterior mean of z[4]", "posterior mean of z[1]")
    assert ax.get_legend() is None
    assert plots.latent_scatter(Codes(), X, dims=(0, 1)).get_xlabel() == "code z[0]"


def test_the_plane_is_that_of_the_codes_that_vary_most(deep: VAE) -> None:
    first, second = np.argsort(-deep.transform(X).var(axis=0))[:2]
    assert {first, second} != {0, 1}, "a choice"
    for ax in (plots.latent_scatter(deep, X), plots.latent_ellipses(deep, X), plots.manifold(deep, 3, shape=None, X=X)):
        assert f"z[{first}]" in ax.get_xlabel()
        assert f"z[{second}]" in ax.get_ylabel()


@pytest.mark.parametrize("kind", [int, str, float])
def test_each_class_has_a_colour_and_a_line_in_the_legend(plane: VAE, kind: Any) -> None:
    y = Y.astype(kind)
    ax = plots.latent_scatter(plane, X, y)
    (points,) = ax.collections
    colours = points.get_facecolors()[:, :3]
    legend = ax.get_legend()
    assert texts(legend.get_texts()) == [str(label) for label in np.unique(y)]
    handles = [to_rgba(handle.get_color())[:3] for handle in legend.legend_handles]
    assert len(set(handles)) == 10
    for label, colour in zip(np.unique(y), handles, strict=True):
        assert np.allclose(colours[y == label], colour)


def test_many_numbers_are_a_scale_and_not_classes(plane: VAE) -> None:
    ink = X.sum(axis=1)
    ax = plots.latent_scatter(plane, X, ink)
    (points,) = ax.collections
    assert len(ax.figure.axes) == 2, "there is a colour bar"
    palette = matplotlib.colormaps["viridis"]((ink - ink.min()) / (ink.max() - ink.min()))
    assert np.abs(points.get_facecolors()[:, :3] - palette[:, :3]).max() < 0.02


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"y": Y[:7]}, r"y has shape \(7,\); expected \(400,\)"),
        ({"y": np.arange(400).astype(str)}, "y has 400 distinct labels: with more than 20 they must be numbers"),
        ({"dims": (0, 2)}, r"dims\[1\]=2 must be"),
        ({"dims": (0, 0)}, "two different latent dimensions"),
    ],
)
@pytest.mark.parametrize("name", ["latent_scatter", "latent_ellipses"])
def test_bad_arguments_of_plots_of_codes_are_refused(
    plane: VAE, name: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        getattr(plots, name)(plane, X, **arguments)
    assert pyplot.get_fignums() == [], "no empty figure is left behind"


def test_one_latent_dimension_makes_no_plane() -> None:
    with pytest.raises(ValueError, match="a plane needs two latent dimensions, but the model has one"):
        plots.latent_scatter(VAE(1, hidden=(8,), epochs=1, random_state=0).fit(X), X)


def ellipses(ax: Any) -> list[EllipseCollection]:
    return [found for found in ax.collections if isinstance(found, EllipseCollection)]


def semi_axes(ax: Any, collection: EllipseCollection) -> NDArray[np.float64]:
    """Half widths and half heights as they are drawn, [n, 2], in the units of the axes."""
    pixels(ax)
    return np.asarray(collection.get_transforms())[:, [0, 1], [0, 1]]


def test_ellipses_are_one_sigma_of_some_posteriors_around_their_means(deep: VAE) -> None:
    ax = plots.latent_ellipses(deep, X, Y, n=50, dims=(3, 0))
    posteriors, _ = ellipses(ax)
    mu, logvar = (part[:, [3, 0]] for part in deep.encode(X))
    which = [int(np.abs(mu - centre).sum(axis=1).argmin()) for centre in posteriors.get_offsets()]
    assert len(set(which)) == 50
    assert np.allclose(posteriors.get_offsets(), mu[which])
    assert np.allclose(semi_axes(ax, posteriors), np.exp(logvar[which] / 2), rtol=1e-5)
    palette = matplotlib.colormaps["tab10"](Y[which])
    assert np.allclose(posteriors.get_edgecolors(), palette)
    again, _ = ellipses(plots.latent_ellipses(deep, X, Y, n=50, dims=(3, 0)))
    assert np.array_equal(again.get_offsets(), posteriors.get_offsets()), "always the same random sample"


def test_the_prior_is_circles_of_one_two_and_three_sigma_that_the_axes_hold(plane: VAE) -> None:
    ax = plots.latent_ellipses(plane, X)
    _, prior = ellipses(ax)
    assert semi_axes(ax, prior).tolist() == [[1, 1], [2, 2], [3, 3]]
    assert np.asarray(prior.get_offsets()).tolist() == [[0, 0]] * 3
    for low, high in (ax.get_xlim(), ax.get_ylim()):
        assert low < -3
        assert high > 3


def test_a_sample_as_large_as_the_data_is_the_data(plane: VAE) -> None:
    posteriors, _ = ellipses(plots.latent_ellipses(plane, X[:30], n=300))
    assert np.allclose(posteriors.get_offsets(), plane.transform(X[:30]))


@pytest.mark.parametrize("name", ["latent_ellipses", "kl_per_dimension"])
def test_a_model_without_posteriors_has_none_to_draw(name: str) -> None:
    with pytest.raises(ValueError, match=r"Codes has codes but no posteriors to draw.*latent_scatter"):
        getattr(plots, name)(Codes(), X)


def test_the_bars_are_the_kl_of_each_dimension_and_together_that_of_the_model(deep: VAE) -> None:
    ax = plots.kl_per_dimension(deep, X)
    mu, logvar = (part.astype(np.float64) for part in deep.encode(X))
    kl = -0.5 * (1 + logvar - mu**2 - np.exp(logvar)).mean(axis=0)
    bars = sorted(ax.patches, key=lambda bar: bar.get_x())
    order = [int(text) for text in texts(ax.get_xticklabels())]
    assert order == np.argsort(-kl).tolist()
    assert np.allclose([bar.get_height() for bar in bars], kl[order])
    assert sum(bar.get_height() for bar in bars) == pytest.approx(deep.evaluate(X)["kl"], rel=1e-4)
    active = mu.var(axis=0) > 0.01
    assert 0 < active.sum() < 6, "the model should have both kinds"
    blue = [bar.get_facecolor() == to_rgba("C0") for bar in bars]
    assert blue == active[order].tolist()
    assert texts(ax.get_legend().get_texts()) == [f"active: {active.sum()}", f"inactive: {6 - active.sum()}"]


# ------------------------------------------------------------------------------------------- objectives


@pytest.fixture(scope="module")
def three() -> Any:
    """The three panels and the three models, trained once."""
    axes = Figure(figsize=(12, 4), layout="constrained").subplots(1, 3)
    return axes, *plots.three_objectives(X, Y, model=TEMPLATE, n=40, axes=axes, return_models=True)


def test_three_objectives_fill_three_axes_and_say_what_was_maximised(three: Any) -> None:
    given, axes, models = three
    assert list(axes) == list(given)
    assert list(models) == ["reconstruction", "kl", "elbo"]
    for ax, (objective, model), words in zip(axes, models.items(), ("E log p", "KL", "the ELBO"), strict=True):
        terms = model.evaluate(X)
        assert model.objective == objective
        assert ax.get_title().startswith("Maximised: ")
        assert words in ax.get_title().splitlines()[0]
        numbers = f"reconstruction {terms['reconstruction']:.1f}, KL {terms['kl']:.1f} nats"
        assert ax.get_title().splitlines()[1] == numbers
        assert len(ellipses(ax)[0].get_offsets()) == 40
        assert (pixels(ax) < 250).any(axis=1).mean() > 0.01
    assert [ax.get_legend() is None for ax in axes] == [True, True, False]


def test_the_three_models_are_the_template_with_an_objective_each(three: Any) -> None:
    _, _, models = three
    for objective, model in models.items():
        assert model.get_params() == TEMPLATE.get_params() | {"objective": objective}
    assert not hasattr(TEMPLATE, "n_features_in_"), "the template itself is not trained"


def test_reconstruction_alone_forgets_sigma_and_kl_alone_forgets_the_data(three: Any) -> None:
    _, _, models = three
    sigma = {objective: np.exp(model.encode(X)[1] / 2).mean() for objective, model in models.items()}
    spread = {objective: np.abs(model.transform(X)).mean() for objective, model in models.items()}
    terms = {objective: model.evaluate(X) for objective, model in models.items()}
    # Over five seeds: mean sigma 0.04 to 0.06, 0.44 to 0.48 and 1.00; mean |mu| 3.2 to 4.8, 0.74 to 0.83 and 0.003.
    assert sigma["reconstruction"] < 0.15
    assert 0.3 < sigma["elbo"] < 0.6
    assert sigma["kl"] == pytest.approx(1, abs=0.02)
    assert spread["reconstruction"] > 2
    assert 0.5 < spread["elbo"] < 1
    assert spread["kl"] < 0.02
    assert terms["kl"]["kl"] < 0.001
    assert max(models, key=lambda objective: terms[objective]["elbo"]) == "elbo"


def test_the_three_models_start_from_the_same_weights_whatever_the_seed() -> None:
    nothing = {"epochs": 1, "optimizer": "sgd", "learning_rate": 1e-30, "random_state": None}
    template = VAE(**(TEMPLATE.get_params() | nothing))
    _, models = plots.three_objectives(X[:50], model=template, n=5, return_models=True)
    first, *others = (model.state_dict() for model in models.values())
    for other in others:
        assert all(np.array_equal(first[name], other[name]) for name in first)


def test_without_axes_three_objectives_make_a_figure_and_return_its_axes() -> None:
    axes = plots.three_objectives(X[:50], model=VAE(**(TEMPLATE.get_params() | {"epochs": 1})), n=5)
    assert axes.shape == (3,)
    assert [pyplot.figure(number) for number in pyplot.get_fignums()] == [axes[0].figure]


def test_three_objectives_need_three_axes() -> None:
    axes = Figure().subplots(1, 2)
    with pytest.raises(ValueError, match="axes holds 2 axes; expected three"):
        plots.three_objectives(X, axes=axes)


# ------------------------------------------------------------------------------------------ learning curve


def test_many_reconstructions_are_a_square(plane: VAE) -> None:
    many = np.tile(X, (1 + 800 // len(X), 1))[:800]
    width, height = plots.reconstructions(plane, many).figure.get_size_inches()
    assert height < 1.3 * width
    width, height = plots.reconstructions(plane, many[:100]).figure.get_size_inches()
    assert height > 1.5 * width


def test_one_epoch_is_one_tick_and_the_legend_covers_no_bar(plane: VAE) -> None:
    one = VAE(2, hidden=(4,), epochs=1, random_state=0).fit(X)
    ax = plots.learning_curve(one)
    low, high = ax.get_xlim()
    assert [tick for tick in ax.get_xticks() if low <= tick <= high] == [1]
    ax = plots.kl_per_dimension(plane, X)
    ax.figure.canvas.draw()
    legend = ax.get_legend().get_window_extent()
    assert not any(legend.overlaps(bar.get_window_extent()) for bar in ax.patches)


def test_the_learning_curve_is_the_history_training_dashed_and_validation_solid(plane: VAE) -> None:
    ax = plots.learning_curve(plane)
    training, validation = ax.get_lines()
    for line, key, style in ((training, "loss", "--"), (validation, "val_loss", "-")):
        assert line.get_xdata().tolist() == list(range(1, 21))
        assert np.asarray(line.get_ydata()).tolist() == plane.history_[key]
        assert line.get_linestyle() == style
    assert texts(ax.get_legend().get_texts()) == ["training", "validation"]
    assert ax.get_ylabel() == "loss, nats per example"


def test_the_first_epochs_of_many_do_not_squeeze_the_rest(plane: VAE) -> None:
    rng = np.random.default_rng(0)
    weights = {name: rng.uniform(-0.5, 0.5, array.shape) for name, array in plane.state_dict().items()}
    many, few = (VAE(**TEMPLATE.get_params()).load_state_dict(weights) for _ in range(2))
    for epoch in range(20):
        many.partial_fit(X)
        if epoch < 3:
            few.partial_fit(X)
    losses = many.history_["loss"]
    assert losses[0] > plots.learning_curve(many).get_ylim()[1] > losses[2]
    assert plots.learning_curve(few).get_ylim()[1] > few.history_["loss"][0]


def test_without_validation_data_there_is_one_curve(deep: VAE) -> None:
    assert len(plots.learning_curve(deep).get_lines()) == 1


def test_a_validation_curve_has_gaps_where_nothing_was_validated() -> None:
    model = VAE(**(TEMPLATE.get_params() | {"epochs": 4})).fit(X, validation_data=X[:50]).partial_fit(X)
    _, validation = plots.learning_curve(model).get_lines()
    assert np.isnan(validation.get_ydata()).tolist() == [False] * 4 + [True]


def test_weights_that_were_not_trained_here_have_no_learning_curve(plane: VAE) -> None:
    loaded = VAE(**TEMPLATE.get_params()).load_state_dict(plane.state_dict())
    with pytest.raises(ValueError, match="history is empty"):
        plots.learning_curve(loaded)


# ---------------------------------------------------------------------------------------------- topics


class Topics:
    """What the plots need of a topic model."""

    components_: NDArray[np.float64]

    def fit(self, X: Any) -> Topics:
        self.components_ = PHI
        return self


def test_each_topic_has_a_bar_for_each_of_its_top_words() -> None:
    panels = plots.topics(Topics().fit(X), VOCABULARY, 6)
    assert panels.shape == (4,)
    limits = {ax.get_xlim() for ax in panels}
    assert len(limits) == 1, "one scale for all"
    for topic, ax in enumerate(panels):
        order = np.argsort(-PHI[topic])[:6]
        assert texts(ax.get_yticklabels()) == [VOCABULARY[word] for word in order]
        assert np.allclose([bar.get_width() for bar in ax.patches], PHI[topic, order])
        assert ax.yaxis_inverted(), "the greatest is at the top"
        assert ax.get_xlim()[1] > PHI.max()
        assert ax.get_title() == f"topic {topic}"
        assert (pixels(ax) < 250).any(axis=1).mean() > 0.02


def test_topics_take_a_vocabulary_that_maps_words_to_columns_and_no_text() -> None:
    columns = {word: column for column, word in reversed(list(enumerate(VOCABULARY)))}
    for topic, ax in enumerate(plots.topics(PHI, columns)):
        assert texts(ax.get_yticklabels()) == [VOCABULARY[word] for word in np.argsort(-PHI[topic])[:10]]
    assert len(plots.topics(PHI[:, :3], VOCABULARY[:3])[0].patches) == 3, "as many as there are"
    with pytest.raises(ValueError, match="vocabulary is one string"):
        plots.topics(PHI, "abcdefghijklmno")


def test_topics_are_laid_out_in_lines_without_empty_axes() -> None:
    panels = plots.topics(PHI, VOCABULARY, 5, columns=3, titles=["a", "b", "c", "d"])
    figure = panels[0].figure
    assert figure.axes == list(panels)
    pixels(panels[0])
    lines = [round(ax.get_position().y0, 2) for ax in panels]
    assert lines[0] == lines[1] == lines[2] > lines[3]
    assert [ax.get_title() for ax in panels] == ["a", "b", "c", "d"]
    assert pyplot.get_fignums() == [figure.number]


def test_topics_are_drawn_into_the_axes_that_are_given() -> None:
    axes = Figure(figsize=(8, 8)).subplots(2, 2)
    assert list(plots.topics(PHI, VOCABULARY, axes=axes)) == list(axes.ravel())
    assert pyplot.get_fignums() == []


def test_topics_of_any_real_numbers_are_drawn() -> None:
    beta = np.random.default_rng(0).normal(size=(2, 4))
    panels = plots.topics(beta, VOCABULARY[:4], 4)
    assert all(ax.get_xlim()[0] < beta.min() and beta.max() < ax.get_xlim()[1] for ax in panels)
    assert np.allclose([bar.get_width() for bar in panels[1].patches], -np.sort(-beta[1]))


def test_topics_without_matplotlib_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    for axes in (None, [None] * 4):
        with pytest.raises(ImportError, match=r"need matplotlib.*pip install 'fastvae-cpu\[plot\]'"):
            plots.topics(PHI, VOCABULARY, axes=axes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 16}, "n=16 must be an integer, at least 1 and at most 15"),
        ({"vocabulary": VOCABULARY[:9]}, "vocabulary has 9 words, but components has 15 columns"),
        ({"titles": ["one"]}, "titles has 1 entries; expected 4, one for each topic"),
        ({"columns": 0}, "columns=0 must be an integer, at least 1"),
        ({"axes": [None, None]}, "axes holds 2 axes; expected 4, one for each topic"),
        ({"components": PHI[0]}, "components is 1-D"),
        ({"components": Topics()}, "this Topics is not fitted yet: call fit before drawing its topics"),
    ],
)
def test_topics_that_do_not_fit_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plots.topics(**({"components": PHI, "vocabulary": VOCABULARY} | arguments))


def legend_names(ax: Any) -> list[str]:
    return texts(ax.get_legend().get_texts())


def test_the_map_has_a_point_a_document_in_the_colour_of_its_greatest_topic() -> None:
    ax = plots.document_map(THETA)
    (points,) = ax.collections
    assert np.allclose(points.get_offsets(), documents.document_map(THETA))
    colours = points.get_facecolors()[:, :3]
    greatest = THETA.argmax(axis=1)
    for topic in range(4):
        assert np.allclose(colours[greatest == topic], to_rgba(f"C{topic}")[:3])
    assert legend_names(ax) == ["topic 0", "topic 1", "topic 2", "topic 3"]
    assert legend_names(plots.document_map(THETA, names=["war", "art", "sea", "sky"])) == ["war", "art", "sea", "sky"]
    assert legend_names(plots.document_map(THETA[greatest != 2])) == ["topic 0", "topic 1", "topic 3"]


def test_the_map_s_labels_are_classes_or_numbers() -> None:
    labels = np.array(["sport", "tech"])[np.arange(200) % 2]
    ax = plots.document_map(THETA, labels)
    assert legend_names(ax) == ["sport", "tech"]
    assert np.allclose(ax.collections[0].get_facecolors()[1::2, :3], to_rgba("C1")[:3])
    numbers = plots.document_map(THETA, np.linspace(0, 1, 200))
    assert len(numbers.figure.axes) == 2, "a scale beside the map"


def test_topics_beyond_the_most_frequent_share_a_grey() -> None:
    theta = np.full((60, 30), 0.1 / 29)
    theta[np.arange(60), np.minimum(np.arange(60) % 40, 29)] = 0.9
    theta /= theta.sum(axis=1, keepdims=True)
    ax = plots.document_map(theta)
    assert len(legend_names(ax)) == 19
    assert legend_names(ax)[-1] == "others"
    greatest = theta.argmax(axis=1)
    frequent = np.bincount(greatest, minlength=30)
    assert f"topic {frequent.argmax()}" in legend_names(ax)
    shown = [int(name.split()[1]) for name in legend_names(ax)[:-1]]
    assert min(frequent[shown]) >= max(np.delete(frequent, shown))
    grey = np.isclose(ax.collections[0].get_facecolors()[:, :3], 0.8).all(axis=1)
    assert (grey == ~np.isin(greatest, shown)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": Y[:7]}, r"y has shape \(7,\); expected \(200,\)"),
        ({"names": ["one"]}, "names has 1 entries; expected 4, one for each topic"),
        ({"labels": np.zeros(200), "names": list("abcd")}, "leave out one of them"),
        ({"theta": THETA * 2}, "each row of theta must be probabilities"),
        ({"theta": THETA[:1]}, "at least two documents and two topics"),
    ],
)
def test_a_map_that_cannot_be_drawn_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plots.document_map(**({"theta": THETA} | arguments))
