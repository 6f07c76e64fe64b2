"""The latent explorer: the file without a browser, the decoder in node, and the page in Chromium."""

import base64
import json
import re
import shutil
import struct
import subprocess
import zlib
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exportable import CASES, Case
from helpers import run_python, small, sparse_counts

import fastvae
from fastvae import VAE, explorer
from fastvae._estimators.description import describe_model
from fastvae._explorer.document import SCRIPTS
from fastvae._explorer.encoding import pack
from fastvae._explorer.program import program

X, Y = fastvae.datasets.load_digits()
SHOWN = [name for name in CASES if "inflated" not in name]
EVIL = '</script><img src=x onerror="window.hacked = true"><b>&amp;'
PAGE = Path(fastvae.__file__).parent / "_explorer" / "page"

pytestmark = pytest.mark.filterwarnings("ignore:.*")  # models are trained for too few epochs


def data_of(path: Path) -> dict[str, Any]:
    """The data in a page."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text("utf-8"), re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def array(stored: dict[str, Any]) -> Any:
    return np.frombuffer(base64.b64decode(stored["data"]), stored["dtype"]).reshape(stored["shape"])


@pytest.fixture(scope="module")
def digits() -> VAE:
    return VAE(latent_dim=3, hidden=(32,), epochs=10, random_state=0).fit(X)


@pytest.fixture(scope="module")
def digits_page(digits: VAE, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return explorer(digits, X, Y, tmp_path_factory.mktemp("digits") / "digits.html", max_points=300)


# ------------------------------------------------------------------------------------------------ the file


class Loads(HTMLParser):
    """Collects whatever an HTML document may load or run."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        self.handlers += [name for name, _ in attrs if name.startswith("on") or name == "style"]


def test_the_file_loads_nothing_and_its_policy_allows_only_its_own_script_and_style(digits_page: Path) -> None:
    text = digits_page.read_text("utf-8")
    parser = Loads()
    parser.feed(text)
    assert parser.addresses == ["data:,"]  # no icon
    assert not parser.handlers
    assert {"canvas", "script", "style"} <= set(parser.tags)
    assert set(re.findall(r"\w+://[^\s\"'`]+", text)) == {"http://www.w3.org/2000/svg"}  # a namespace
    assert "@import" not in text
    assert "url(" not in text
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert "unsafe" not in policy[1]
    for tag in ("script", "style"):
        own = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        assert own is not None
        assert base64.b64encode(sha256(own[1].encode()).digest()).decode() in policy[1]


def test_the_file_contains_of_the_data_what_the_docstring_lists(tmp_path: Path) -> None:
    table = np.random.default_rng(0).normal(5000, 100, (60, 4))
    model = small(likelihood="gaussian").fit(table)
    page = explorer(model, table, np.arange(60) % 3, tmp_path / "secret-name.html")
    data, text = data_of(page), page.read_text()
    assert data["thumbnails"] is None
    packed = re.findall(r'"data":"([^"]*)"', text)
    raw = b"".join(base64.b64decode(each) for each in packed)
    for kind in ("<f4", "<f2", "<f8"):
        for row in table.astype(kind):
            assert row[:2].tobytes() not in raw
    for trace in ("secret-name", str(tmp_path), str(Path.cwd()), "encoder"):
        assert trace not in json.dumps({**data, "contents": ""})
        assert trace == "encoder" or trace not in text
    assert sorted(data["points"]["rows"]) == list(range(60))
    assert " ".join(sorted(data)) == (
        "attributes axes centre components condition contents dimensions facts labels latent operations points prior "
        "simplex thumbnails title view"
    )
    again = explorer(model, table, np.arange(60) % 3, tmp_path / "again.html")
    assert again.read_bytes() == page.read_bytes()  # no time, no path
    assert "60 of the 60 examples" in data["contents"]
    assert "original images" not in data["contents"]


def test_original_images_are_those_of_the_rows_and_can_be_left_out(digits: VAE, tmp_path: Path) -> None:
    page = explorer(digits, X, Y, tmp_path / "a.html", max_points=50)
    data = data_of(page)
    rows, found = pictures(page)
    assert len(rows) == 50
    np.testing.assert_array_equal(found.reshape(50, 64), np.rint(X[rows] * 255))
    assert "50 original images of 8 x 8 pixels" in data["contents"]
    without = explorer(digits, X, Y, tmp_path / "b.html", max_points=50, originals=False)
    assert data_of(without)["thumbnails"] is None
    assert "original images" not in data_of(without)["contents"]
    assert without.stat().st_size < page.stat().st_size


def pictures(page: Path) -> tuple[list[int], Any]:
    """The row numbers of the original images in a page, and their levels [n, height, width, 1 or 3]."""
    data = data_of(page)
    picture = read_png(base64.b64decode(data["thumbnails"]["png"]))
    (height, width, _), columns = data["view"]["shape"], data["thumbnails"]["columns"]
    cells = picture.reshape(len(picture) // height, height, columns, width, picture.shape[2]).swapaxes(1, 2)
    count = data["thumbnails"]["count"]
    return data["points"]["rows"][:count], cells.reshape(-1, height, width, picture.shape[2])[:count]


def read_png(png: bytes) -> Any:
    """A PNG of eight bits whose rows have the filter "up"; the checksums must be right."""
    place, parts = 8, dict[bytes, bytes]()
    while place < len(png):
        (length,), kind = struct.unpack(">I", png[place : place + 4]), png[place + 4 : place + 8]
        parts[kind] = png[place + 8 : place + 8 + length]
        (checksum,) = struct.unpack(">I", png[place + 8 + length : place + 12 + length])
        assert checksum == zlib.crc32(kind + parts[kind])
        place += 12 + length
    width, height, depth, colour = struct.unpack(">IIBB", parts[b"IHDR"][:10])
    assert depth == 8
    lines = np.frombuffer(zlib.decompress(parts[b"IDAT"]), np.uint8).reshape(height, -1)
    assert (lines[:, 0] == 2).all()
    return np.cumsum(lines[:, 1:], axis=0, dtype=np.uint8).reshape(height, width, {0: 1, 2: 3}[colour])


def test_originals_of_every_layout_are_those_of_x(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    first = rng.random((40, 3, 6, 5)).astype(np.float32)
    model = small(image_shape=(6, 5, 3), channels="first").fit(first)
    for given in (first, first.reshape(40, -1)):
        rows, found = pictures(explorer(model, given, path=tmp_path / "first.html"))
        np.testing.assert_array_equal(found, np.rint(first[rows].transpose(0, 2, 3, 1) * 255))
    grey = rng.integers(0, 256, (40, 64), np.uint8)
    rows, found = pictures(explorer(small().fit(grey), grey, path=tmp_path / "grey.html"))
    np.testing.assert_array_equal(found.reshape(40, 64), grey[rows])
    csr = sparse_counts(40, 49).astype(np.float32)
    csr.data[:] = 1.0
    rows, found = pictures(explorer(small().fit(csr), csr, path=tmp_path / "sparse.html"))
    np.testing.assert_array_equal(found.reshape(40, 49), csr.toarray()[rows] * 255)
    columns = np.column_stack([grey / 255, np.arange(40) % 2])
    conditional = small(conditional=True, condition_columns=[64]).fit(columns)
    page = explorer(conditional, columns, path=tmp_path / "columns.html")
    rows, found = pictures(page)
    np.testing.assert_array_equal(found.reshape(40, 64), grey[rows])
    np.testing.assert_array_equal(array(data_of(page)["points"]["conditions"])[:, 0], columns[rows, 64])
    floats = rng.normal(100, 30, (40, 64))
    rows, found = pictures(explorer(small(likelihood="gaussian").fit(floats), floats, path=tmp_path / "floats.html"))
    assert np.corrcoef(found.reshape(40, 64)[:, 3], floats[rows, 3])[0, 1] > 0.5  # clipped to the decoded range


def demo_model() -> tuple[VAE, Any, Any]:
    """The larger model of the demo, hardly trained: the size does not depend on the training."""
    with np.load(Path(__file__).parents[1] / "examples" / "data" / "fashion_mnist.npz") as archive:
        images, labels = archive["x_test"].reshape(-1, 784), archive["y_test"]
    return VAE(20, hidden=(400, 200), epochs=1, random_state=0).fit(images), images, labels


def test_the_page_of_the_demo_is_below_3_megabytes_with_all_originals(tmp_path: Path) -> None:
    model, images, labels = demo_model()
    page = explorer(model, images, labels, tmp_path / "demo.html")
    assert page.stat().st_size < 3_000_000
    assert data_of(page)["thumbnails"]["count"] == len(images) == 1000
    fewer = explorer(model, images, labels, tmp_path / "small.html", max_bytes=1_500_000)
    assert 1_350_000 < fewer.stat().st_size <= 1_500_000
    assert 0 < data_of(fewer)["thumbnails"]["count"] < 1000


def test_a_page_that_exceeds_the_limit_is_refused_with_remedies_that_help(digits: VAE, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("before")
    with pytest.raises(ValueError, match=r"more than max_bytes=50,000: pass weights=\"int8\"") as error:
        explorer(digits, X, Y, path, max_bytes=50_000)
    assert path.read_text() == "before"
    remedy = re.search(r"max_bytes=([\d_]+)$", str(error.value))
    assert remedy is not None
    page = explorer(digits, X, Y, path, max_bytes=int(remedy[1]))
    assert page.stat().st_size <= int(remedy[1])
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]


def test_a_file_that_cannot_be_written_raises_and_leaves_nothing(digits: VAE, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="missing"):
        explorer(digits, X, Y, tmp_path / "missing" / "page.html")
    assert not list(tmp_path.iterdir())


def test_markup_in_names_is_escaped(tmp_path: Path) -> None:
    names = [f"{EVIL}{i}\u2028" for i in range(4)]
    table = np.random.default_rng(0).random((30, 4))
    model = small().fit(table)
    labels = np.array([f"{EVIL} {i % 2}" for i in range(30)])
    page = explorer(
        model,
        table,
        labels,
        tmp_path / "p.html",
        feature_names=names,
        title=EVIL,
        attributes={EVIL: labels == labels[0]},
    )
    text = page.read_text("utf-8")
    assert "<img" not in text
    assert "\u2028" not in text
    assert text.count("</script>") == 2
    data = data_of(page)
    assert data["view"]["names"] == names
    assert data["title"] == EVIL
    assert data["labels"]["names"][0] == f"{EVIL} 0"


def test_mean_codes_components_and_activity_are_those_of_all_examples(digits: VAE, tmp_path: Path) -> None:
    data = data_of(explorer(digits, X, Y, tmp_path / "p.html", max_points=20, attributes={"even": Y % 2 == 0}))
    codes = digits.transform(X)
    assert data["points"]["count"] == 20
    np.testing.assert_array_equal(array(data["points"]["codes"]), codes[data["points"]["rows"]])
    means = {group["name"]: group["code"] for group in data["attributes"]}
    np.testing.assert_allclose(means["7"], codes[Y == 7].mean(0), rtol=1e-5)
    np.testing.assert_allclose(means["with even"], codes[Y % 2 == 0].mean(0), rtol=1e-4, atol=1e-5)
    diagnosis = digits.diagnose(X)
    assert [d["index"] for d in data["dimensions"]] == np.argsort(-diagnosis.kl).tolist()
    first = array(data["components"][0]["vector"])
    covariance = np.cov(codes.T)
    assert first @ covariance @ first == pytest.approx(np.linalg.eigvalsh(covariance)[-1], rel=1e-4)


def test_inactive_dimensions_come_last(tmp_path: Path) -> None:
    model = VAE(latent_dim=8, hidden=(32,), epochs=10, random_state=0).fit(X)
    state = model.state_dict()
    state["mu.weight"][[0, 3, 4]] = 0
    model.load_state_dict(state)
    active = model.diagnose(X).active
    assert not active[[0, 3, 4]].any()
    assert active.any()
    data = data_of(explorer(model, X, path=tmp_path / "p.html"))
    assert [d["active"] for d in data["dimensions"]] == sorted(active.tolist(), reverse=True)
    assert {d["index"] for d in data["dimensions"] if d["active"]} == set(np.flatnonzero(active).tolist())
    assert f"{active.sum()} active" in data["facts"]


def test_the_control_of_y_has_the_names_of_condition_columns(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(np.random.default_rng(0).random((40, 4)), columns=["a", "b", "age", "kind"])
    frame["kind"] = np.arange(40) % 3
    for column, expected in (("age", ["age"]), ("kind", ["0", "1", "2"])):
        model = small(conditional=True, condition_columns=[column], likelihood="gaussian").fit(frame)
        data = data_of(explorer(model, frame, path=tmp_path / "p.html"))
        assert data["condition"]["names"] == expected
        assert data["view"]["names"] == [name for name in frame if name != column]


def test_more_than_24_labels_are_values(digits: VAE, tmp_path: Path) -> None:
    brightness = X.mean(1)
    data = data_of(explorer(digits, X, brightness, tmp_path / "p.html", max_points=40))
    np.testing.assert_allclose(array(data["labels"]["values"]), brightness[data["points"]["rows"]])
    assert data["labels"]["low"] == pytest.approx(brightness.min())
    assert [group["name"] for group in data["attributes"]] == ["lowest quarter of y", "highest quarter of y"]


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "y": ({"y": Y[:5]}, r"y has shape \(5,\); expected \(1797,\)"),
    "labels": ({"y": np.arange(len(X)).astype(str)}, "1797 distinct labels: with more than 24 they must be numbers"),
    "NaN": ({"y": np.where(np.arange(len(X)) == 3, np.nan, X.mean(1))}, "y holds NaN"),
    "class_names": ({"y": Y, "class_names": ["a"]}, "class_names has 1 names, but there are 10 labels in y"),
    "class_names without y": ({"class_names": ["a"]}, "y is missing: pass y="),
    "feature_names": ({"feature_names": ["a"]}, "feature_names has 1 names, but there are 64 features"),
    "one name": ({"feature_names": "abc"}, "feature_names='abc' must be a sequence"),
    "attributes": ({"attributes": {"a": [True]}}, r"attributes\['a'\] must be booleans"),
    "empty attribute": ({"attributes": {"a": np.ones(len(X), bool)}}, "no example is 'without a'"),
    "image_shape": ({"image_shape": (7, 9)}, r"image_shape=\(7, 9\) must be"),
    "weights": ({"weights": "float8"}, "weights='float8'"),
    "max_points": ({"max_points": 1}, "max_points=1"),
    "max_bytes": ({"max_bytes": 0}, "max_bytes=0"),
    "originals": ({"originals": "no"}, "originals='no'"),
    "title": ({"title": 3}, "title=3 must be a string"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named(digits: VAE, tmp_path: Path, mistake: str) -> None:
    arguments, message = MISTAKES[mistake]
    with pytest.raises(ValueError, match=message):
        explorer(digits, X, path=tmp_path / "p.html", **arguments)
    assert not list(tmp_path.iterdir())


def test_other_models_and_paths_are_refused() -> None:
    with pytest.raises(TypeError, match="explorer takes a fitted estimator of fastvae, not list"):
        explorer([], X)
    with pytest.raises(fastvae.NotFittedError):
        explorer(VAE(), X)
    with pytest.raises(TypeError, match="path=None must be a string or a path"):
        explorer(small().fit(X[:50]), X[:50], path=None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"pass y=.* conditional"):
        explorer(small(conditional=True).fit(X[:50], Y[:50]), X[:50])


def test_the_explorer_is_imported_when_it_is_used() -> None:
    code = "import sys, fastvae; print('fastvae._explorer.explorer' in sys.modules, callable(fastvae.explorer))"
    assert run_python(code).split() == ["False", "True"]


def test_every_script_of_the_folder_is_in_the_page(digits_page: Path) -> None:
    assert {path.name for path in PAGE.iterdir()} == {*SCRIPTS, "page.html", "style.css"}
    text = digits_page.read_text("utf-8")
    assert all((PAGE / name).read_text("utf-8") in text for name in SCRIPTS)


def test_packed_arrays_have_the_errors_of_their_types() -> None:
    values = np.random.default_rng(0).normal(0, 1, (6, 50)).astype(np.float32)
    assert array(pack(values, "float32")).tobytes() == values.tobytes()
    np.testing.assert_allclose(array(pack(values, "float16")), values, rtol=5e-4, atol=1e-7)
    quantized = pack(values, "int8")
    read = array(quantized) * array(quantized["scale"])[:, np.newaxis]
    assert (np.abs(read - values).max(1) <= np.abs(values).max(1) / 254 * 1.001).all()
    assert pack(values * 1e6, "float16")["dtype"] == "float32"
    assert not array(pack(np.zeros((2, 3)), "int8")).any()


# ------------------------------------------------------------------------------------------------ the decoder in node


def decoded_by(model: Any, Z: Any, y: Any) -> Any:
    """E[x|z] of the library, in the order of the features."""
    found = model.inverse_transform(Z, **({} if y is None else {"y": y}))
    return np.asarray(found).reshape(len(Z), -1)


def codes_of(case: Case, n: int = 5) -> tuple[Any, Any, Any]:
    """Codes, y as users pass it, and y as columns."""
    given = {} if case.y is None else {"y": case.y}
    Z = np.asarray(case.model.transform(case.X, **given))[:n]
    return Z, None if case.y is None else case.y[:n], None if case.condition is None else case.condition[:n]


def test_zero_inflation_is_refused(tmp_path: Path) -> None:
    case = CASES["cells, zero_inflated_negative_binomial"]()
    with pytest.raises(ValueError, match="the explorer shows no model with zero inflation"):
        explorer(case.model, case.X, case.y, tmp_path / "p.html")


@pytest.fixture(scope="module")
def evaluated() -> dict[str, Any]:
    """Every kind of model, decoded by the page's runtime in one process of node; float32 weights."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is missing: the runtime is tested in the browser only")
    cases, tasks = {name: CASES[name]() for name in SHOWN}, []
    for case in cases.values():
        network = describe_model(case.model, "the test")
        Z, _, columns = codes_of(case)
        task = {"operations": program(network, "float32"), "latent": network.latent_dim, "z": Z.tolist()}
        tasks.append(task | {"y": None if columns is None else columns.tolist()})
    script = (
        "".join((PAGE / name).read_text() for name in ("codec.js", "runtime.js"))
        + """
        const read = (operation) => Object.fromEntries(Object.entries(operation).map(([key, value]) =>
          [key, value !== null && typeof value === "object" && "dtype" in value ? arrayOf(value) : value]));
        const tasks = JSON.parse(require("fs").readFileSync(0, "utf8"));
        console.log(JSON.stringify(tasks.map(({ operations, latent, z, y }) => {
          const decode = compile(operations.map(read), latent);
          return z.map((code, i) => Array.from(decode(Float32Array.from(code), y ? Float32Array.from(y[i]) : null)));
        })));"""
    )
    done = subprocess.run([node, "-e", script], input=json.dumps(tasks), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    return {name: (case, result) for (name, case), result in zip(cases.items(), results, strict=True)}


@pytest.mark.parametrize("name", SHOWN)
def test_the_runtime_decodes_as_the_library(evaluated: dict[str, Any], name: str) -> None:
    case, found = evaluated[name]
    Z, y, _ = codes_of(case)
    expected = decoded_by(case.model, Z, y)
    assert np.ptp(expected) > 0
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6 * max(1.0, float(np.abs(expected).max())))
