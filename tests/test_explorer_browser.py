"""The latent explorer's page in Chromium: decoded values, pixels, controls, frame rate, isolation."""

import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exportable import CASES
from test_explorer import EVIL, data_of, decoded_by
from webdriver import CHROMEDRIVER, CHROMIUM, Browser, browser, until

import fastvae
from fastvae import VAE, explorer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*"),  # models are trained for too few epochs
    pytest.mark.skipif(
        not (CHROMIUM and CHROMEDRIVER), reason="Chromium or chromedriver is missing: no page is opened"
    ),
]

X, Y = fastvae.datasets.load_digits()
TOLERANCE = 1e-3  # of a decoded value in [0, 1], with float16 weights
LEFT, RIGHT = "\ue012", "\ue014"  # WebDriver's arrow keys


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("chromium")) as found:
        found.size(1400, 900)
        yield found


@pytest.fixture
def page(session: Browser) -> Iterator[Browser]:
    """The session; at the end the page must have logged nothing and asked for nothing but itself."""
    yield session
    assert session.logs("browser") == []
    assert {address.split(":")[0] for address in session.requests()} <= {"file", "data"}


def show(page: Browser, path: Path) -> None:
    page.open(path)
    settle(page)


def settle(page: Browser) -> None:
    """Wait until the strips are drawn."""
    page.run("return new Promise((done) => requestAnimationFrame(() => setTimeout(done, 120)))")
    until(lambda: not page.run("return explorer.pending()"))


def code(page: Browser) -> Any:
    return np.array(page.run("return explorer.code()"))


def decode(page: Browser, z: Any, y: Any = None) -> Any:
    """The values that the page decodes."""
    return np.array(page.run("return explorer.decode(arguments[0], arguments[1])", np.asarray(z).tolist(), y))


def pixels(page: Browser, selector: str) -> Any:
    """The levels of red, green and blue of a canvas, [height, width, 3]."""
    flat, width = page.run(
        """const canvas = document.querySelector(arguments[0]), { width, height } = canvas;
        const copy = new OffscreenCanvas(width, height).getContext("2d");
        copy.drawImage(canvas, 0, 0);
        return [Array.from(copy.getImageData(0, 0, width, height).data), width];""",
        selector,
    )
    return np.array(flat).reshape(-1, width, 4)[..., :3]


def on_map(page: Browser, place: Any) -> Any:
    """A place of the map in the window."""
    left, top = page.run(
        """const canvas = document.getElementById("scatter");
        canvas.scrollIntoView({ block: "center" });
        const box = canvas.getBoundingClientRect(); return [box.left, box.top];"""
    )
    return [place[0] + left, place[1] + top]


def set_slider(page: Browser, selector: str, value: float) -> None:
    page.run(
        """const input = document.querySelector(arguments[0]); input.value = arguments[1];
        input.dispatchEvent(new Event("input", { bubbles: true }));""",
        selector,
        value,
    )
    settle(page)


def choose(page: Browser, selector: str, value: int) -> None:
    page.run(
        """const list = document.querySelector(arguments[0]); list.value = arguments[1];
        list.dispatchEvent(new Event("change"));""",
        selector,
        value,
    )


@pytest.fixture(scope="module")
def digits() -> VAE:
    return VAE(latent_dim=3, hidden=(32,), epochs=10, random_state=0).fit(X)


@pytest.fixture(scope="module")
def digits_page(digits: VAE, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return explorer(digits, X, Y, tmp_path_factory.mktemp("digits") / "digits.html", max_points=300)


# ------------------------------------------------------------------------------------------------ decoded values

DECODED = (
    "activation gelu",
    "batch norm",
    "labels",
    "covariates",
    "autoencoder bernoulli",
    "images",
    "images, labels",
    "exam, two dimensions",
    "topics, mixture",
    "topics, product",
)


@pytest.mark.parametrize("name", DECODED)
def test_the_page_decodes_as_the_library(page: Browser, tmp_path: Path, name: str) -> None:
    case = CASES[name]()
    show(page, explorer(case.model, case.X, case.y, tmp_path / "p.html"))
    given = {} if case.y is None else {"y": case.y}
    Z = np.asarray(case.model.transform(case.X, **given))[:4]
    expected = decoded_by(case.model, Z, None if case.y is None else case.y[:4])
    found = [decode(page, z, None if case.condition is None else case.condition[i].tolist()) for i, z in enumerate(Z)]
    assert np.abs(found - expected).max() <= TOLERANCE
    assert np.ptp(expected) > 0


def test_a_standardised_table_is_decoded_in_its_units(page: Browser, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(300, 1))
    table = [2000, 5e4, 0.01] + [3, 8000, 0.002] * (factor + 0.3 * rng.normal(size=(300, 3)))
    likelihood = fastvae.likelihoods.Gaussian("per_feature")
    model = VAE(2, hidden=(16,), likelihood=likelihood, epochs=30, random_state=0).fit(table)
    assert "standardize.shift" in model.state_dict()
    show(page, explorer(model, table, path=tmp_path / "p.html"))
    Z = model.transform(table[:5])
    found = np.array([decode(page, z) for z in Z])
    assert (np.abs(found - model.inverse_transform(Z)) <= TOLERANCE * table.std(0)).all()


@pytest.fixture(scope="module")
def garments() -> tuple[VAE, Any, Any]:
    """A model of 784-400-20."""
    with np.load(Path(__file__).parents[1] / "examples" / "data" / "fashion_mnist.npz") as archive:
        images, labels = archive["x_test"].reshape(-1, 784), archive["y_test"]
    return VAE(20, hidden=(400,), epochs=10, random_state=0).fit(images), images, labels


@pytest.mark.parametrize(("weights", "tolerance"), [("float32", 1e-5), ("float16", TOLERANCE), ("int8", 0.01)])
def test_pixels_are_those_of_the_library(
    page: Browser, garments: tuple[VAE, Any, Any], tmp_path: Path, weights: str, tolerance: float
) -> None:
    """Decoded values, and the levels on the canvas."""
    model, images, labels = garments
    path = explorer(model, images, labels, tmp_path / "p.html", weights=weights)
    show(page, path)
    rows = [3, 500, 999]
    codes = model.transform(images)[rows]
    expected = model.inverse_transform(codes)
    for z, image in zip(codes, expected, strict=True):
        error = np.abs(decode(page, z) - image).max()
        print(f"{weights}: {error:.1e}")
        assert error <= tolerance
        page.run("explorer.moveTo(arguments[0])", z.tolist())
        settle(page)
        shown = pixels(page, "#decoded canvas")
        assert shown.shape == (28, 28, 3)
        assert np.abs(shown - 255 * image.reshape(28, 28, 1)).max() <= 255 * tolerance + 0.51
    if weights == "float16":
        measured = page.run("return explorer.measure(60)")
        print(f"784-400-20: {measured}")
        assert measured["framesPerSecond"] >= 30
        assert measured["millisecondsPerFrame"] < 1000 / 30
        assert path.stat().st_size < 3_000_000


def test_colour_images_are_shown_in_colour(page: Browser, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    colours = rng.random((60, 6, 8, 3), np.float32)
    model = VAE(2, image_shape=(6, 8, 3), channels="last", hidden=(9,), epochs=2, random_state=0).fit(colours)
    path = explorer(model, colours, path=tmp_path / "p.html")
    show(page, path)
    page.run("explorer.moveTo([0.5, -1])")
    settle(page)
    expected = model.inverse_transform([[0.5, -1]])[0]
    assert np.abs(pixels(page, "#decoded canvas") - 255 * expected).max() < 1
    row = int(page.run("return document.getElementById('nearest').textContent").split("row ")[1].split(",")[0])
    assert np.abs(pixels(page, "#thumbnail canvas") - 255 * colours[row]).max() < 0.51


# ------------------------------------------------------------------------------------------------ controls


def test_hovering_over_a_point_shows_its_label_its_original_and_its_decoded_image(
    page: Browser, digits: VAE, digits_page: Path
) -> None:
    show(page, digits_page)
    assert page.run("return document.getElementById('tooltip').hidden")
    rows = data_of(digits_page)["points"]["rows"]
    place = on_map(page, page.run("return explorer.place(7)"))
    page.hover(*place)
    assert not page.run("return document.getElementById('tooltip').hidden")
    text = page.run("return document.querySelector('#tooltip p').textContent")
    row = int(text.split("row ")[1])
    assert text == f"{Y[row]} · row {row}"
    assert row in rows
    original, decoded = (pixels(page, f"#tooltip figure:nth-child({k}) canvas") for k in (1, 2))
    assert np.abs(original[..., 0].ravel() - 255 * X[row]).max() < 0.51
    assert np.abs(decoded[..., 0].ravel() - 255 * digits.reconstruct(X[[row]])[0]).max() < 1
    page.hover(place[0], place[1] - 2000 if place[1] > 2000 else 1)
    until(lambda: page.run("return document.getElementById('tooltip').hidden"))


@pytest.mark.parametrize("pointer", ["mouse", "touch"])
def test_dragging_a_point_moves_through_the_latent_space(
    page: Browser, digits: VAE, digits_page: Path, pointer: str
) -> None:
    show(page, digits_page)
    data = data_of(digits_page)
    start = page.run("return explorer.place(11)")
    there = [start[0] + (60 if start[0] < 300 else -60), start[1] + (40 if start[1] < 200 else -40)]
    begin = on_map(page, start)
    page.drag(begin, begin, pointer=pointer)  # a tap
    settle(page)
    text = page.run("return document.getElementById('nearest').textContent")
    tapped = data["points"]["rows"].index(int(text.split("row ")[1].split(",")[0]))
    from_code = code(page)
    np.testing.assert_allclose(from_code, digits.transform(X[[data["points"]["rows"][tapped]]])[0], atol=1e-6)
    page.drag(begin, on_map(page, there), pointer=pointer)
    settle(page)
    np.testing.assert_allclose(page.run("return explorer.ring()"), there, atol=1.1)
    moved = code(page) - from_code
    assert np.abs(moved).max() > 0.05
    plane = np.array([np.frombuffer(_bytes(c["vector"]), np.float32) for c in data["components"][:2]])
    np.testing.assert_allclose(moved, plane.T @ (plane @ moved), atol=1e-4)  # within the plane of the map
    expected = digits.inverse_transform(code(page)[np.newaxis])[0]
    assert np.abs(pixels(page, "#decoded canvas")[..., 0].ravel() - 255 * expected).max() < 1


def _bytes(stored: Any) -> bytes:
    import base64

    return base64.b64decode(stored["data"])


def test_dragging_the_background_shifts_the_map_and_the_wheel_zooms(page: Browser, digits_page: Path) -> None:
    show(page, digits_page)
    before, start = code(page), page.run("return explorer.place(0)")
    page.drag(on_map(page, [12, 12]), on_map(page, [52, 42]))
    np.testing.assert_allclose(page.run("return explorer.place(0)"), np.add(start, [40, 30]), atol=1.5)
    page.run("document.getElementById('zoom-in').click()")
    a, b = (np.array(page.run("return explorer.place(arguments[0])", i)) for i in (0, 1))
    page.run("document.getElementById('zoom-fit').click()")
    np.testing.assert_allclose(page.run("return explorer.place(0)"), start, atol=0.5)
    c, d = (np.array(page.run("return explorer.place(arguments[0])", i)) for i in (0, 1))
    assert np.linalg.norm(a - b) == pytest.approx(1.4 * np.linalg.norm(c - d), rel=1e-3)
    np.testing.assert_array_equal(code(page), before)


def test_a_slider_changes_its_dimension_alone_with_mouse_and_keys(page: Browser, digits_page: Path) -> None:
    show(page, digits_page)
    index = data_of(digits_page)["dimensions"][1]["index"]
    before = code(page)
    set_slider(page, "#sliders label:nth-child(2) input", 1.25)
    after = code(page)
    assert after[index] == pytest.approx(1.25)
    np.testing.assert_array_equal(np.delete(after, index), np.delete(before, index))
    assert page.run("return document.querySelector('#sliders label:nth-child(2) output').textContent") == "1.25"
    page.run("document.querySelector('#sliders label:nth-child(2) input').focus()")
    page.keys(LEFT * 3)
    settle(page)
    assert code(page)[index] < 1.25
    page.run("document.getElementById('centre').click()")
    assert not code(page).any()
    page.run("document.getElementById('random').click()")
    assert code(page).all()


def test_keys_move_the_ring_step_through_examples_and_set_the_ends(
    page: Browser, digits: VAE, digits_page: Path
) -> None:
    show(page, digits_page)
    rows = data_of(digits_page)["points"]["rows"]
    page.run("document.getElementById('scatter').focus()")
    page.keys("n")
    text = page.run(
        "return new Promise((done) => setTimeout(() => done(document.getElementById('nearest').textContent), 100))"
    )
    row = int(text.split("row ")[1].split(",")[0])
    np.testing.assert_allclose(code(page), digits.transform(X[[row]])[0], atol=1e-6)
    page.keys("p")
    settle(page)
    start = np.array(page.run("return explorer.ring()"))
    page.keys(RIGHT * 3)
    settle(page)
    np.testing.assert_allclose(np.array(page.run("return explorer.ring()")) - start, [24, 0], atol=0.1)
    a = code(page)
    page.keys("a" + "nn" + "b")
    b = code(page)
    assert row in rows
    set_slider(page, "#path", 0.25)
    np.testing.assert_allclose(code(page), a + 0.25 * (b - a), atol=1e-6)


def test_interpolation_goes_from_a_to_b(page: Browser, digits: VAE, digits_page: Path) -> None:
    show(page, digits_page)
    codes = digits.transform(X[:2])
    for z, button in zip(codes, ("set-a", "set-b"), strict=True):
        page.run("explorer.moveTo(arguments[0]); document.getElementById(arguments[1]).click()", z.tolist(), button)
    settle(page)
    expected = fastvae.latent.interpolate(digits, codes[0], codes[1], 9, codes=True)
    for k in range(9):
        shown = pixels(page, f"#film button:nth-child({k + 1}) canvas")
        assert np.abs(shown[..., 0].ravel() - 255 * expected[k]).max() < 1
    page.run("document.querySelector('#film button:nth-child(5)').click()")
    np.testing.assert_allclose(code(page), codes.mean(0), atol=1e-6)
    settle(page)
    assert page.run("return document.querySelector('#film [aria-current=true]').getAttribute('aria-label')") == (
        "50 % of the way from A to B"
    )


def test_an_attribute_vector_is_the_difference_of_the_class_means(
    page: Browser, digits: VAE, digits_page: Path
) -> None:
    show(page, digits_page)
    for name, value in (("from", 3), ("to", 8)):
        choose(page, f"#{name}", value)
    page.run("explorer.moveTo([0.5, -0.5, 1])")
    settle(page)
    vector = fastvae.latent.attribute_vector(digits, X[Y == 8], X[Y == 3])
    set_slider(page, "#strength", 1.5)
    np.testing.assert_allclose(code(page), [0.5, -0.5, 1] + 1.5 * vector, atol=1e-4)
    page.run("document.querySelector('#attribute-film button:first-child').click()")
    settle(page)
    np.testing.assert_allclose(code(page), [0.5, -0.5, 1] - 2 * vector, atol=1e-4)
    image = digits.inverse_transform(([0.5, -0.5, 1] + 2 * vector)[np.newaxis])[0]
    shown = pixels(page, "#attribute-film button:last-child canvas")
    assert np.abs(shown[..., 0].ravel() - 255 * image).max() < 1


def test_traversals_vary_one_dimension(page: Browser, digits: VAE, digits_page: Path) -> None:
    show(page, digits_page)
    z, index = code(page), data_of(digits_page)["dimensions"][2]["index"]
    expected = fastvae.latent.traverse(digits, z, [index], 3.0, 9, codes=True)[0]
    for k in (0, 4, 8):
        shown = pixels(page, f"#rows .row:nth-child(3) button:nth-child({k + 1}) canvas")
        assert np.abs(shown[..., 0].ravel() - 255 * expected[k]).max() < 1
    page.run("document.querySelector('#rows .row:nth-child(3) button:nth-child(9)').click()")
    assert code(page)[index] == 3.0


def test_the_control_of_y_changes_the_condition(page: Browser, tmp_path: Path) -> None:
    model = VAE(2, hidden=(32,), conditional=True, epochs=5, random_state=0).fit(X, Y)
    show(page, explorer(model, X, Y, tmp_path / "p.html", max_points=50, class_names=[f"digit {k}" for k in range(10)]))
    assert page.run("return document.querySelector('#condition option:nth-child(4)').textContent") == "digit 3"
    choose(page, "#condition select", 3)
    page.run("explorer.moveTo([1, -1])")
    settle(page)
    shown = pixels(page, "#decoded canvas")[..., 0].ravel()
    assert np.abs(shown - 255 * model.inverse_transform([[1, -1]], y=3)[0]).max() < 1
    assert np.abs(shown - 255 * model.inverse_transform([[1, -1]], y=4)[0]).max() > 20


def test_covariates_have_sliders(page: Browser, tmp_path: Path) -> None:
    case = CASES["covariates"]()
    show(page, explorer(case.model, case.X, case.y, tmp_path / "p.html"))
    value = float(case.y[:, 1].max())
    set_slider(page, "#condition label:nth-child(2) input", value)
    assert page.run("return explorer.condition()")[1] == pytest.approx(value, rel=1e-6)


def test_a_table_has_bars_with_names_and_values(page: Browser, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(
        np.random.default_rng(0).normal([5, 2000, 0.1], [1, 300, 0.02], (80, 3)), columns=["a", "b<i>", "c"]
    )
    model = VAE(2, hidden=(16,), likelihood="gaussian", epochs=5, random_state=0).fit(table)
    show(page, explorer(model, table, path=tmp_path / "p.html"))
    page.run("explorer.moveTo([1, 0])")
    settle(page)
    names, values, bars = (
        page.run(f"return [...document.querySelectorAll('#decoded {what}')].map((e) => e.{key})")
        for what, key in ((".name", "textContent"), (".value", "textContent"), ("i", "style.transform"))
    )
    assert names == ["a", "b<i>", "c"]
    expected = model.inverse_transform([[1, 0]])[0]
    for text, value in zip(values, expected, strict=True):
        assert float(text.replace("\N{MINUS SIGN}", "-")) == pytest.approx(value, rel=0.06)
    assert all(bar.startswith("translateX") for bar in bars)
    assert page.run("return document.getElementById('attributes').hidden")


def test_topics_show_the_most_probable_words_of_the_mixture(page: Browser, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    topics = rng.dirichlet(np.full(40, 0.1), 3)
    documents = np.array([rng.multinomial(60, topics[i % 3]) for i in range(120)])
    model = fastvae.TopicModel(3, epochs=60, random_state=0).fit(documents)
    words = [f"word{j}" for j in range(40)]
    show(page, explorer(model, documents, np.arange(120) % 3, tmp_path / "p.html", feature_names=words))
    names = page.run("return [...document.querySelectorAll('#sliders label span')].map((e) => e.textContent)")
    best = model.top_words(words, 3)
    assert sorted(names) == [f"topic {k}: {', '.join(best[k])}" for k in range(3)]
    k = int(names[0].split()[1].rstrip(":"))
    set_slider(page, "#sliders label:first-child input", 0.9)
    theta = code(page)
    assert theta[k] == pytest.approx(0.9)
    assert theta.sum() == pytest.approx(1)
    shown = page.run("return [...document.querySelectorAll('#decoded .name')].map((e) => e.textContent)")
    expected = np.argsort(-model.inverse_transform(theta[np.newaxis])[0])
    assert shown == [words[j] for j in expected[: len(shown)]]
    assert len(shown) == 14
    for target in ([5, 5], [400, 300]):  # dragging keeps shares on the simplex
        page.drag(on_map(page, page.run("return explorer.ring()")), on_map(page, target))
        assert code(page).sum() == pytest.approx(1)
        assert code(page).min() >= 0


def test_a_single_ability_has_a_map(page: Browser, tmp_path: Path) -> None:
    case = CASES["exam"]()
    show(page, explorer(case.model, case.X, path=tmp_path / "p.html"))
    start = page.run("return explorer.ring()")
    page.drag(on_map(page, start), on_map(page, [start[0] + 50, start[1]]))
    settle(page)
    np.testing.assert_allclose(page.run("return explorer.ring()"), [start[0] + 50, start[1]], atol=1.1)
    names = page.run("return [...document.querySelectorAll('#decoded .name')].map((e) => e.textContent)")
    assert names == [f"task {j}" for j in range(4)]


def test_the_legend_hides_classes_and_a_scale_stands_for_values(
    page: Browser, digits: VAE, digits_page: Path, tmp_path: Path
) -> None:
    show(page, digits_page)
    names = page.run("return [...document.querySelectorAll('#legend button')].map((e) => e.textContent)")
    assert names == [str(k) for k in range(10)]
    row = int(page.run("return document.getElementById('nearest').textContent").split("row ")[1].split(",")[0])
    page.run("document.querySelectorAll('#legend button')[arguments[0]].click()", int(Y[row]))
    settle(page)
    text = page.run("return document.getElementById('nearest').textContent")
    assert not text.startswith(f"Nearest example: {Y[row]},")
    page.run("document.querySelectorAll('#legend [aria-pressed=true]').forEach((button) => button.click())")
    settle(page)
    assert page.run("return document.getElementById('nearest').textContent") == "All examples are hidden."
    show(page, explorer(digits, X, X.mean(1), tmp_path / "p.html", max_points=50))
    assert page.run("return document.querySelector('#legend .scale canvas').width") == 256


def test_the_axes_can_be_dimensions_or_components(page: Browser, digits: VAE, digits_page: Path) -> None:
    show(page, digits_page)
    options = page.run("return [...document.querySelectorAll('#axis-x option')].map((e) => e.textContent)")
    assert {"z[0]", "z[1]", "z[2]"} < set(options)
    assert options[3].startswith("PC 1 (")
    for axis, name in (("axis-x", "z[0]"), ("axis-y", "z[2]")):
        choose(page, f"#{axis}", options.index(name))
    settle(page)
    rows = data_of(digits_page)["points"]["rows"]
    places = np.array([page.run("return explorer.place(arguments[0])", i) for i in range(12)])
    codes = digits.transform(X[rows[:12]])
    for side, j in ((0, 0), (1, 2)):
        assert abs(np.corrcoef(places[:, side], codes[:, j])[0, 1]) > 0.9999


# ------------------------------------------------------------------------------------------ width, theme, isolation


@pytest.mark.parametrize("width", [390, 1400])
def test_nothing_is_wider_than_the_window(page: Browser, digits_page: Path, width: int) -> None:
    page.size(width, 844)
    try:
        show(page, digits_page)
        wide, window = page.run("const e = document.documentElement; return [e.scrollWidth, e.clientWidth]")
        assert wide == window <= width
        small = page.run(
            """return [...document.querySelectorAll("button, select, input")].filter((e) => e.offsetParent)
            .filter((e) => !e.closest(".strip")).filter((e) => e.getBoundingClientRect().height < 13)
            .map((e) => e.outerHTML)"""
        )
        assert small == []
        shapes = page.run(
            """return [...document.querySelectorAll("main canvas.image")].map((e) => e.getBoundingClientRect())
            .map(({ width, height }) => width / height)"""
        )
        assert len(shapes) > 40
        np.testing.assert_allclose(shapes, 1, rtol=0.02)  # square images
        if width == 390:  # the decoded image stays in sight
            page.run("document.getElementById('traversals').scrollIntoView()")
            assert page.run("return document.getElementById('result').getBoundingClientRect().top") == 0
    finally:
        page.size(1400, 900)


def test_controls_have_names(page: Browser, digits_page: Path) -> None:
    show(page, digits_page)
    page.chrome("Accessibility.enable")
    nodes = page.chrome("Accessibility.getFullAXTree")["nodes"]
    page.chrome("Accessibility.disable")
    kinds = {"button", "slider", "comboBoxSelect", "combobox", "checkbox", "application"}
    controls = [node for node in nodes if not node["ignored"] and node["role"]["value"] in kinds]
    assert len(controls) > 40
    assert [node for node in controls if not node.get("name", {}).get("value")] == []


def test_the_page_follows_the_colour_scheme(page: Browser, digits_page: Path) -> None:
    shades = []
    for scheme in ("light", "dark"):
        page.chrome("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        show(page, digits_page)
        corner = page.run(
            """const context = document.getElementById("scatter").getContext("2d");
            return context.getImageData(3, 3, 1, 1).data[0];"""
        )
        colour = page.run("return getComputedStyle(document.body).color")
        shades.append((corner, int(colour.split("(")[1].split(",")[0])))
    page.chrome("Emulation.setEmulatedMedia", features=[])
    (light_map, light_text), (dark_map, dark_text) = shades
    assert light_map > 200 > 60 > dark_map
    assert light_text < 60 < 200 < dark_text


def test_markup_in_names_stays_text(page: Browser, tmp_path: Path) -> None:
    table = np.random.default_rng(0).random((30, 4))
    model = VAE(2, hidden=(8,), epochs=2, random_state=0).fit(table)
    labels = np.array([f"{EVIL} {i % 2}" for i in range(30)])
    names = [f"{EVIL}{j}" for j in range(4)]
    show(page, explorer(model, table, labels, tmp_path / "p.html", title=EVIL, feature_names=names))
    page.hover(*on_map(page, page.run("return explorer.place(1)")))
    assert page.run(
        "return [window.hacked ?? null, document.images.length, document.querySelectorAll('b').length]"
    ) == [
        None,
        0,
        0,
    ]
    assert page.run("return [document.title, document.querySelector('h1').textContent]") == [EVIL, EVIL]
    assert page.run("return document.querySelector('#legend button span').textContent") == f"{EVIL} 0"
    assert page.run("return document.querySelector('#decoded .name').textContent") == f"{EVIL}0"
    assert EVIL in page.run("return document.querySelector('#tooltip p').textContent")


def test_the_policy_forbids_connections_inline_code_and_images(
    session: Browser, digits_page: Path, tmp_path: Path
) -> None:
    without_policy = tmp_path / "open.html"
    without_policy.write_text(
        re.sub('<meta http-equiv="Content-Security-Policy".*?>', "", digits_page.read_text("utf-8"))
    )
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Access-Control-Allow-Origin", "*")
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    attempts = """return (async (address) => {
        document.body.insertAdjacentHTML("beforeend", `<img src="${address}/image" onerror="window.hacked = 1">`);
        const script = document.createElement("script"); script.textContent = "window.hacked = 2";
        document.body.append(script);
        navigator.sendBeacon?.(`${address}/beacon`);
        const result = await fetch(`${address}/fetch`).then(() => "connected", () => "refused");
        await new Promise((done) => setTimeout(done, 200));
        return [result, window.hacked ?? null]; })(arguments[0])"""
    try:
        show(session, digits_page)
        assert session.run(attempts, address) == ["refused", None]
        assert asked == []
        show(session, without_policy)  # the attempts work where nothing forbids them
        result, hacked = session.run(attempts, address)
        assert result == "connected"
        assert hacked is not None
        assert {"/image", "/fetch"} <= set(asked)
    finally:
        server.shutdown()
        server.server_close()
        session.open(digits_page)
        session.logs("browser")
