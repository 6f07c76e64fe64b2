"""What the page shows of a model and of examples: codes, labels, conditions, axes, groups, views, original images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isqrt, prod
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae._data import conditions, examples
from fastvae._data.images import Images
from fastvae._explorer.encoding import pack

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._export.network import Network

MAX_CLASSES = 24  # with more distinct labels, colours are a scale

_LEAST_SIDE = 6  # of images whose shape is guessed
_COMPONENTS = 4  # principal components among the axes
_TOPIC_WORDS = 3  # in the name of a topic
_USED_SHARE = 0.05  # a topic with a smaller share in every document is not used


@dataclass(frozen=True)
class Source:
    """A fitted model with its network, the examples X and y, and their codes [n, latent_dim].

    `conditions` are the columns of y [n, c] of a conditional model, labels as one-hot rows.
    """

    model: Any
    network: Network
    X: Any
    y: Any
    codes: NDArray[np.float32]
    conditions: NDArray[np.float32] | None

    @property
    def simplex(self) -> bool:
        """Whether codes are shares of topics."""
        return bool(self.network.simplex)

    @property
    def exam(self) -> bool:
        """Whether it is an item response model."""
        return hasattr(self.model, "discrimination_")

    @property
    def prior(self) -> bool:
        """Whether codes have the prior N(0, I)."""
        return self.network.variational and not self.simplex

    @property
    def given(self) -> dict[str, Any]:
        """The argument y of the model's methods that read X."""
        return {"y": self.y} if self.network.conditions and not hasattr(self.model, "condition_columns_") else {}


def read(model: Any, network: Network, X: Any, y: Any) -> Source:
    """Encode X and return it with the model, or raise ValueError if X or y does not fit the model."""
    X = examples.whole(X)
    source = Source(model, network, X, y, np.empty((0, 0), np.float32), None)
    codes = np.asarray(model.transform(X, **source.given), np.float32)
    columns = None
    if network.conditions:
        of_rows = model.split_condition(X)[1] if not source.given else y
        read = conditions.read(of_rows, len(codes), getattr(model, "classes_", None), network.conditions)
        columns = read.astype(np.float32) / np.float32(255 if read.dtype == np.uint8 else 1)
        y = of_rows if y is None else y
    return Source(model, network, X, y, codes, columns)


# ------------------------------------------------------------------------------------------------ labels and y


@dataclass(frozen=True)
class Labels:
    """Labels of the examples: an index into names [n], or numbers [n]."""

    names: list[str]
    index: NDArray[np.uint8] | None
    values: NDArray[np.float32] | None
    title: str

    def packed(self, rows: NDArray[Any]) -> dict[str, Any]:
        """Return the labels of some rows for the page."""
        if self.index is not None:
            return {"kind": "classes", "names": self.names, "index": pack(self.index[rows], "uint8")}
        assert self.values is not None
        low, high = float(self.values.min()), float(self.values.max())
        values = pack(self.values[rows], "float32")
        return {"kind": "values", "name": self.title, "values": values, "low": low, "high": high}


def labels(y: Any, n: int, class_names: Any) -> Labels | None:
    """Return y as labels (None without y), or raise ValueError."""
    if y is None:
        if class_names is not None:
            raise ValueError("class_names= names the labels in y, but y is missing: pass y=")
        return None
    array = np.asarray(y)
    if array.ndim == 2 and len(array) == n and array.shape[1] > 0:
        array = array[:, 0]  # covariates: the first one gives the colours
    if array.shape != (n,):
        raise ValueError(f"y has shape {np.shape(y)}; expected ({n},), a label for each example of X")
    if array.dtype.kind == "O":
        array = np.array([str(label) for label in array]) if any(isinstance(v, str) for v in array) else array
    try:
        values, index = np.unique(array, return_inverse=True)
    except TypeError:
        raise ValueError("y holds labels of several types: pass strings or numbers") from None
    title = getattr(y, "name", None)
    title = title if isinstance(title, str) else "y"
    if len(values) <= MAX_CLASSES:
        names = [f"{value:g}" if isinstance(value, float) else str(value) for value in values.tolist()]
        if class_names is not None:
            names = _names(class_names, "class_names", len(values), "labels in y")
        return Labels(names, index.reshape(-1).astype(np.uint8), None, title)
    if array.dtype.kind not in "iufb":
        raise ValueError(f"y has {len(values)} distinct labels: with more than {MAX_CLASSES} they must be numbers")
    if not np.isfinite(array.astype(np.float64)).all():
        raise ValueError("y holds NaN or infinite values: leave those examples out, or pass labels")
    return Labels([], None, array.astype(np.float32), title)


def _names(names: Any, argument: str, n: int, what: str) -> list[str]:
    """Return names, one for each of n things, in their order; a mapping maps names to positions."""
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise ValueError(f"{argument}={names!r:.40} must be a sequence of names, one for each of the {n} {what}")
    found = list(names)
    if len(found) != n:
        raise ValueError(f"{argument} has {len(found)} names, but there are {n} {what}")
    if isinstance(names, Mapping):
        positions = np.array(list(names.values()))
        if positions.dtype.kind not in "iu" or not np.array_equal(np.sort(positions), np.arange(n)):
            raise ValueError(f"{argument} must map each name to a different column, 0 to {n - 1}")
        found = [found[i] for i in np.argsort(positions)]
    return [str(name) for name in found]


def condition(source: Source, found: Labels | None) -> dict[str, Any] | None:
    """Return the control of y of a conditional model for the page."""
    columns = source.conditions
    if columns is None:
        return None
    classes = getattr(source.model, "classes_", None)
    if classes is not None:
        names = [str(label) for label in classes.tolist()]
        if found is not None and len(found.names) == len(names):
            names = found.names
        return {"kind": "labels", "columns": len(names), "names": names, "start": columns[0].tolist()}
    low, high = columns.min(0), columns.max(0)
    names = [f"y[{j}]" for j in range(columns.shape[1])] if columns.shape[1] > 1 else ["y"]
    if hasattr(source.model, "condition_columns_") and hasattr(source.model, "feature_names_in_"):
        names = [str(source.model.feature_names_in_[j]) for j in source.model.condition_columns_]
    ranges = {"low": low.tolist(), "high": high.tolist(), "start": columns.mean(0).tolist()}
    return {"kind": "covariates", "columns": len(names), "names": names} | ranges


def groups(codes: NDArray[np.float32], found: Labels | None, attributes: Any) -> list[dict[str, Any]]:
    """Return the mean codes of groups of examples: those with each attribute and without, then those of each label."""
    made: list[tuple[str, NDArray[Any]]] = []
    for name, mask in dict(attributes or {}).items():
        mask = np.asarray(mask)
        if mask.shape != (len(codes),) or mask.dtype.kind not in "bui" or not np.isin(mask, (0, 1)).all():
            raise ValueError(f"attributes[{name!r}] must be booleans, one for each of the {len(codes)} examples of X")
        made += [(f"without {name}", mask == 0), (f"with {name}", mask == 1)]
    if found is not None and found.index is not None:
        made += [(name, found.index == k) for k, name in enumerate(found.names)]
    elif found is not None and found.values is not None:
        low, high = np.quantile(found.values, (0.25, 0.75))
        made += [
            (f"lowest quarter of {found.title}", found.values <= low),
            (f"highest quarter of {found.title}", found.values >= high),
        ]
    for name, mask in made:
        if not mask.any():
            raise ValueError(f"attributes: no example is {name!r}, so there is no difference of means")
    return [{"name": name, "code": codes[mask].mean(0, dtype=np.float64).tolist()} for name, mask in made]


# ------------------------------------------------------------------------------------------------ latent dimensions


def dimensions(source: Source, feature_names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the latent dimensions for the page: the active ones first, by descending KL (or variance)."""
    codes = source.codes.astype(np.float64)
    n = codes.shape[1]
    variance = codes.var(0)
    active, order = variance > 0, variance
    if source.simplex:
        active, order = codes.max(0) > _USED_SHARE, codes.mean(0)
    elif source.prior and not source.exam and len(codes) > 1:
        diagnosis = source.model.diagnose(source.X, **source.given)
        active, order = diagnosis.active, diagnosis.kl
    ranks = range(n) if n <= 2 else np.lexsort((-order, ~active)).tolist()
    return [_dimension(source, j, bool(active[j]), feature_names) for j in ranks]


def _dimension(source: Source, j: int, active: bool, feature_names: Sequence[str]) -> dict[str, Any]:
    found = {"index": j, "name": f"z[{j}]", "active": active}
    low, high = float(source.codes[:, j].min()), float(source.codes[:, j].max())
    if source.simplex:
        words = np.argsort(-source.model.components_[j], kind="stable")[:_TOPIC_WORDS]
        title = f"topic {j}: {', '.join(feature_names[w] for w in words)}"
        return found | {"name": f"topic {j}", "title": title, "low": 0, "high": 1, "walk": [0, 0.9]}
    if source.exam:
        found["name"] = "ability" if source.codes.shape[1] == 1 else f"ability[{j}]"
    if source.prior:
        return found | {"low": min(low, -3.0), "high": max(high, 3.0), "walk": [-3.0, 3.0]}
    margin = 0.1 * (high - low) or 1.0
    return found | {"low": low - margin, "high": high + margin, "walk": [low, high]}


def components(codes: NDArray[np.float32]) -> list[dict[str, Any]]:
    """Return the directions of the first principal components of the codes; none for two latent dimensions."""
    if codes.shape[1] < 3:
        return []
    centred = codes.astype(np.float64) - codes.mean(0, dtype=np.float64)
    variances, vectors = np.linalg.eigh(centred.T @ centred)
    shares = variances[::-1] / max(variances.sum(), np.finfo(float).tiny)
    return [
        {"name": f"PC {k + 1} ({100 * shares[k]:.0f} %)", "vector": pack(vectors[:, -1 - k], "float32")}
        for k in range(min(_COMPONENTS, codes.shape[1]))
    ]


# ------------------------------------------------------------------------------------------------ views


def image_shape(source: Source, shape: Any) -> tuple[int, int, int] | None:
    """Return height, width and channels of the decoded images; None: X is a table. Raises ValueError."""
    n, own = source.network.n_features, source.network.image_shape
    words = source.network.likelihood.kind in ("multinomial", "mixture")
    if isinstance(shape, str) and shape == "auto":
        side = isqrt(n)
        named = hasattr(source.model, "feature_names_in_")
        guessed = side * side == n and side >= _LEAST_SIDE and not (named or words or source.exam)
        return own or ((side, side, 1) if guessed else None)
    if shape is None:
        return None
    sides = tuple(shape) if isinstance(shape, (tuple, list, np.ndarray)) else ()
    sides = (*sides, 1) if len(sides) == 2 else sides
    if len(sides) != 3 or sides[2] not in (1, 3) or prod(sides) != n:
        raise ValueError(
            f'image_shape={shape!r} must be (height, width) or (height, width, 3) of the {n} features, "auto", or None '
            "for a table"
        )
    return int(sides[0]), int(sides[1]), int(sides[2])


def names_of_features(source: Source, feature_names: Any) -> list[str]:
    """Return a name for each decoded feature, or raise ValueError."""
    n, model = source.network.n_features, source.model
    if feature_names is not None:
        return _names(feature_names, "feature_names", n, "features")
    if hasattr(model, "feature_names_in_"):
        names = [str(name) for name in model.feature_names_in_]
        left_out = set(model.condition_columns_.tolist()) if hasattr(model, "condition_columns_") else set()
        return [name for j, name in enumerate(names) if j not in left_out]
    kind = "task" if source.exam else "word" if source.network.likelihood.kind in ("multinomial", "mixture") else "x"
    return [f"x[{j}]" if kind == "x" else f"{kind} {j}" for j in range(n)]


def view(source: Source, shape: tuple[int, int, int] | None, names: list[str], rows: NDArray[Any]) -> dict[str, Any]:
    """Return how the page shows a decoded example."""
    kind = source.network.likelihood.kind
    if shape is not None:
        return {"kind": "image", "shape": list(shape), "range": _grey_range(source, rows)}
    if kind in ("multinomial", "mixture"):
        return {"kind": "words", "names": names}
    decoded = _decoded(source, rows)
    low, high, middle = decoded.min(0), decoded.max(0), decoded.mean(0)
    shares = kind in ("bernoulli", "binomial")
    if shares:
        low, high = np.zeros_like(low), np.ones_like(high)
    parts = {"low": low, "high": high, "middle": middle}
    return {"kind": "features", "names": names, "fromZero": shares} | {
        name: pack(part, "float32") for name, part in parts.items()
    }


def _decoded(source: Source, rows: NDArray[Any]) -> NDArray[np.float32]:
    """Return the decoder's means at the codes of some rows, [rows, n_features], images in the engine's order."""
    given: dict[str, Any] = {}
    if source.conditions is not None:
        classes = getattr(source.model, "classes_", None)
        columns = source.conditions[rows]
        given = {"y": columns if classes is None else classes[columns.argmax(1)]}
    found = source.model.inverse_transform(source.codes[rows], **given)
    layout = _layout(source)
    return found if layout is None else layout.flatten(found, "the decoded images")


def _layout(source: Source) -> Images | None:
    own = source.network.image_shape
    return None if own is None else Images(*own, channels_first=source.model.channels == "first")


def _grey_range(source: Source, rows: NDArray[Any]) -> list[float]:
    """Return the values that are black and white: 0 and 1, or the extremes of the decoded images."""
    decoded = _decoded(source, rows)
    low, high = float(decoded.min()), float(decoded.max())
    if low >= -0.5 and high <= 1.5:
        return [0.0, 1.0]
    return [low, high if high > low else low + 1.0]


def originals(
    source: Source, shape: tuple[int, int, int], rows: NDArray[Any], limits: Sequence[float]
) -> NDArray[np.uint8]:
    """Return original images of some rows in 256 levels, [rows, height, width, 1 or 3]; missing pixels are black."""
    X = source.X
    if hasattr(source.model, "condition_columns_"):
        X = source.model.split_condition(X)[0]
    taken = X.tocsr()[rows].toarray() if hasattr(X, "tocsr") else np.asarray(examples.take(X, rows))
    layout = _layout(source)
    values = taken.reshape(len(rows), -1) if layout is None else layout.flatten(taken, "X")
    values = values / source.model.input_scale_ if values.dtype.kind in "iu" else values.astype(np.float64)
    low, high = limits
    levels = np.nan_to_num((values - low) / (high - low) * 255, nan=0.0)
    images = np.clip(np.rint(levels), 0, 255).astype(np.uint8).reshape(len(rows), *shape)
    return images[..., :1] if shape[2] not in (1, 3) else images
