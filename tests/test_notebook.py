"""Estimators and diagnoses in notebooks: HTML that is escaped, well-formed and self-contained."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from helpers import small

import fastvae
from fastvae import VAE, Autoencoder, ItemResponse, TopicModel, _html

X = np.random.default_rng(0).random((150, 12), dtype=np.float32)
COUNTS = np.random.default_rng(0).poisson(1.0, (60, 12)).astype(np.float32)
FITTED: dict[str, Any] = {
    "VAE": small(epochs=5, validation_fraction=0.2).fit(X),
    "Autoencoder": small(Autoencoder).fit(X),
    "TopicModel": TopicModel(2, hidden=(4,), epochs=2, random_state=0).fit(COUNTS),
    "ItemResponse": ItemResponse(hidden=(4,), epochs=2, random_state=0).fit((X > 0.5).astype(float)),
    "VAE of a state dict": small().load_state_dict(small().fit(X).state_dict()),
    "VAE without training": small(latent_dim=2, activation="tanh"),
}


def tree(html: str) -> ElementTree.Element:
    """Parse HTML as XML: attributes without quotes or values are the only differences here."""
    style, rest = html.split("</style>")
    assert style.startswith("<style>")
    rest = re.sub(r"(<\w+[^>]*?) class=(\w+)", r'\1 class="\2"', rest)
    return ElementTree.fromstring(rest.replace("<details open>", '<details open="">'))


def texts(html: str) -> str:
    return " ".join(tree(html).itertext())


@pytest.mark.parametrize("name", FITTED)
def test_it_is_well_formed_and_loads_nothing(name: str) -> None:
    html = FITTED[name]._repr_html_()
    tree(html)
    assert not re.search(r"https?://|src=|<script|@import|url\(", html)
    assert len(html) < 12_000


def test_changed_parameters_are_marked_and_the_others_listed() -> None:
    html = small(VAE, learning_rate=0.5, activation="<b>")._repr_html_()
    found = tree(html)
    marked = {"".join(each.itertext()) for each in found.iter("span") if each.get("class") == "changed"}
    assert {"learning_rate", "0.5", "activation", "'<b>'", "latent_dim"} <= marked
    assert "weight_decay" not in marked
    names = {"".join(each.itertext()) for each in found.iter("code")}
    assert set(VAE().get_params()) <= names
    assert "VAE" in texts(html)
    assert "(not fitted)" in texts(html)
    hidden = next(found.iter("details"))
    assert "weight_decay" in "".join(hidden.itertext())
    assert "learning_rate" not in "".join(hidden.itertext())


def test_long_values_are_cut() -> None:
    long, short = (len(small(callbacks=[print] * n)._repr_html_()) for n in (10_000, 1))
    assert long < short + 300


def test_a_fitted_model_has_a_learning_curve_and_a_summary() -> None:
    model = FITTED["VAE"]
    html = model._repr_html_()
    found = tree(html)
    assert "(fitted)" in texts(html)
    size = sum(array.size for array in model.state_dict().values())
    assert f"columns: 12, latent dimensions: 3, weights: {size:,}, epochs: 5 in " in texts(html)
    (svg,) = found.iter("svg")
    lines = [path.get("d", "") for path in svg.iter("path") if path.get("stroke", "").startswith("#")]
    curves = [line for line in lines if line.count("L") == 4]
    assert len(curves) == 2, "loss and val_loss, five points each"
    heights = [float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", curves[0])]
    loss = model.history_["loss"]
    assert np.array_equal(np.argsort(heights), np.argsort(np.negative(loss))), "higher is more"
    rows = {row[0]: row for row in ([("".join(cell.itertext())) for cell in r] for r in found.iter("tr")) if row}
    values = model.history_["val_elbo"]
    assert rows["val_elbo"][1:] == [
        f"{values[0]:.6g}",
        f"{values[-1]:.6g}",
        f"{max(values):.6g}",
        str(1 + int(np.argmax(values))),
    ]
    assert rows["kl"][3:] == ["", ""]


def test_models_that_were_not_trained_have_no_curve() -> None:
    for name in ("VAE of a state dict", "VAE without training"):
        assert "<svg" not in FITTED[name]._repr_html_()


def test_many_epochs_make_a_short_curve_and_gaps_are_left_out() -> None:
    html = _html.curves({"loss": list(np.linspace(5, 1, 100_000)), "val_loss": [float("nan"), 3.0] * 50})
    assert len(html) < 15_000
    assert "nan" not in html
    assert _html.curves({"loss": [1.0]}) == ""
    assert _html.curves({"loss": [float("nan")] * 9}) == ""
    assert "<path" in _html.curves({"loss": [2.0, 2.0]})
    assert "&lt;x&gt;" in _html.curves({"<x>": [1.0, 2.0]})


@pytest.mark.parametrize(("name", "data"), [("VAE", X), ("TopicModel", COUNTS)])
def test_a_diagnosis_is_a_table(name: str, data: Any) -> None:
    found = FITTED[name].diagnose(data)
    assert repr(found) == str(found)
    html = found._repr_html_()
    rows = [row for row in tree(html).iter("tr")]
    assert len(rows) == 1 + len(found.kl)
    assert all(message in texts(html) for message in found.messages)
    assert "array" not in repr(found)


def test_dimensions_without_use_are_pale_and_many_are_cut() -> None:
    found = fastvae.VAE(60, hidden=(4,), epochs=1, random_state=0).fit(X).diagnose(X)
    html = found._repr_html_()
    assert not found.active.any()
    assert html.count("<tr>") == 51
    assert "and 10 with a smaller KL" in texts(html)
    assert html.count("class=quiet") == 50 * 5 + 1


def test_the_diagram_of_a_pipeline_shows_the_estimator() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.utils import estimator_html_repr

    text = estimator_html_repr(make_pipeline(StandardScaler(), FITTED["VAE"]))
    assert "VAE" in text
    assert "StandardScaler" in text
