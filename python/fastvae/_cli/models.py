"""Models: loading, reading data for them, names of their results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fastvae._cli import messages, tables
from fastvae._cli.errors import UsageError
from fastvae._cli.read import Data, read
from fastvae._cli.read.choose import DATA_SUFFIXES
from fastvae._cli.read.data import bare, named
from fastvae._cli.read.texts import Vocabulary, beside
from fastvae._cli.write import files


def load(path: str, threads: int | None = None, *, detectors: bool = False) -> Any:
    """Load a model file with this number of threads; `detectors`: the command takes anomaly detectors too."""
    import fastvae

    if path == "-":
        raise UsageError("a model is read from a file, not from standard input")
    if not Path(path).exists():
        hint = ": MODEL comes first, then DATA" if Path(path.rpartition(":")[0]).is_file() else ""
        raise UsageError(f"{path}: no such file{hint}")
    if Path(path).suffix.lower() in DATA_SUFFIXES:
        raise UsageError(f"{path} is a data file: MODEL, which `fastvae train` writes, comes first, then DATA")
    model: Any = fastvae.load(path)
    model.n_jobs = threads
    if hasattr(model, "vae_"):  # an AnomalyDetector
        if not detectors:
            raise UsageError(f"{path} is an anomaly detector: use fastvae score --each")
        return model
    model.progress = False
    return model


def feature_names(model: Any) -> list[str] | None:
    """Return the names of the columns of the training data, if they had names."""
    found = getattr(model, "feature_names_in_", None)
    return None if found is None else [str(name) for name in found]


def read_for(model: Any, options: Any, path: str | None = None, *, cells: bool = False) -> Data:
    """Read DATA as the model's training data were read; `path` is the model's file, `cells` as for `read`."""
    if tables.is_table(model):
        model.unknown = getattr(options, "unknown", None) or model.unknown
        return read(options, expected=feature_names(model), cells=cells, types=tables.types_of(model))
    if getattr(options, "unknown", None) is not None:
        raise UsageError("--unknown is for models of tables of mixed columns")
    names, images = feature_names(model), getattr(model, "image_shape", None)
    channels = None if images is None else (images[2] if len(images) == 3 else 1)
    data = read(
        options,
        expected=names,
        channels=channels if channels in (1, 3) else None,
        vocabulary=lambda documents: vocabulary_of(options, path),
        cells=cells,
    )
    X = bare(data.X)
    if images is not None and data.id_name == "file" and X.shape[1:3] != tuple(images[:2]):
        size = "x".join(map(str, images[:2]))
        raise UsageError(
            f"{data.title}: the images have {'x'.join(map(str, X.shape[1:3]))} pixels, those of the model "
            f"{size}: pass --image-size {size}"
        )
    if images is None and isinstance(X, np.ndarray) and X.ndim > 2:
        X = X.reshape(len(X), -1)
    width = X.shape[1] if len(X.shape) == 2 else None
    data.X = named(X, names) if names is not None and width == len(names) else X
    if names is not None and data.names is not None and width != len(names):
        data.X = named(X, data.names)
    return data


def vocabulary_of(options: Any, path: str | None) -> Vocabulary:
    """Return the vocabulary given by ``--vocabulary`` or kept beside the model file, or raise UsageError."""
    if options.vocabulary is not None:
        return Vocabulary.load(Path(options.vocabulary))
    if path is None:
        raise UsageError("pass --vocabulary FILE, the words to count")
    found = beside(Path(path))
    if not found.exists():
        raise UsageError(f"texts need the vocabulary of the model, {found}, which is missing: pass --vocabulary FILE")
    return Vocabulary.load(found)


def condition(model: Any, data: Data) -> dict[str, Any]:
    """Return ``y=`` for a conditional model or one that reads embeddings, or raise UsageError."""
    if type(model).__name__ == "TopicModel" and model.n_embeddings_:
        if data.embeddings is None:
            raise UsageError(
                "the model reads embeddings of the documents: pass --embeddings FILE to topics, encode, score, "
                "reconstruct or resume"
            )
        return {"y": data.embeddings}
    if data.embeddings is not None:
        raise UsageError("leave out --embeddings: the model was trained without")
    if not is_conditional(model):
        return {}
    if data.y is None:
        raise UsageError("the model is conditional: pass --label COLUMN or --labels FILE, as for train")
    return {"y": labels_for(model, data.y)}


def is_conditional(model: Any) -> bool:
    """Whether the model needs y."""
    return bool(getattr(model, "conditional", False)) and getattr(model, "condition_columns", None) is None


def labels_for(model: Any, y: Any) -> Any:
    """Return labels in the type of the model's classes."""
    classes = getattr(model, "classes_", None)
    if classes is None or y.ndim != 1 or classes.dtype.kind == y.dtype.kind:
        return y
    try:
        return y.astype(classes.dtype if classes.dtype.kind != "U" else str)
    except ValueError:
        return y


def condition_value(model: Any, text: str | None, option: str) -> dict[str, Any]:
    """Return ``y=`` for decoded examples, from the value of an option, or raise UsageError."""
    if not is_conditional(model) and not hasattr(model, "condition_columns_"):
        if text is not None:
            raise UsageError(f"{option}: the model is not conditional")
        return {}
    classes = getattr(model, "classes_", None)
    known = "" if classes is None else ", ".join(map(str, classes[:20]))
    if text is None:
        raise UsageError(f"the model is conditional: pass {option} VALUE{known and f', one of {known}'}")
    if classes is None:
        try:
            return {"y": np.array([float(part) for part in text.split(",")])}
        except ValueError:
            raise UsageError(f"{option} {text}: the condition is numbers, with commas") from None
    for label in classes.tolist():
        if str(label) == text:
            return {"y": label}
    raise UsageError(f"{option} {text} is none of the model's classes: {known}")


def code_names(model: Any) -> list[str]:
    """Return names of the columns of codes: z0, z1, ...; topic0, ... of topics; ability0, ... of exams."""
    stem = {"TopicModel": "topic", "ItemResponse": "ability"}.get(type(model).__name__, "z")
    n = code_width(model)
    return [stem] if n == 1 and stem == "ability" else [f"{stem}{i}" for i in range(n)]


def code_width(model: Any) -> int:
    """Return the number of columns of codes."""
    return int(model.latent_dim if tables.is_table(model) else len(model.get_feature_names_out()))


def value_names(model: Any, size: int, data: Data | None = None) -> list[str]:
    """Return names of the columns of reconstructions and samples: those of the training data, or x0, x1, ..."""
    names = feature_names(model)
    if names is not None and hasattr(model, "condition_columns_"):
        left = set(model.condition_columns_.tolist())
        names = [name for i, name in enumerate(names) if i not in left]
    if names is None and data is not None and data.names is not None:
        names = data.names
    return names if names is not None and len(names) == size else [f"x{i}" for i in range(size)]


def words_of(model: Any) -> list[str]:
    """Return the words of a topic model, or w0, w1, ... if it was trained without names."""
    return feature_names(model) or [f"w{i}" for i in range(model.n_features_in_)]


def row_columns(data: Data) -> dict[str, Any]:
    """Return the columns of a table before the result: names of rows and labels."""
    found: dict[str, Any] = {}
    if data.ids is not None:
        ids = np.empty(len(data.ids), object)
        ids[:] = data.ids
        found[data.id_name] = ids
    if data.y is not None and data.y.ndim == 1 and data.label is not None:
        found[data.label] = data.y
    return found


def image_layout(model: Any, data: Data | None = None) -> dict[str, Any]:
    """Return the arguments ``images`` and ``channels_first`` of a Result: of the model's images, else of the data's."""
    shape = getattr(model, "image_shape", None)
    if shape is None:
        return {"images": None if data is None else data.images}
    return {"images": tuple(map(int, shape)), "channels_first": model.channels == "first"}


def save(model: Any, path: Path, optimizer: bool = True) -> None:
    """Write a model file, and say so."""
    model.save(path, optimizer=optimizer)
    messages.note(f"wrote {path} ({files.size(path)})")


def last_losses(model: Any) -> dict[str, float]:
    """Return the losses of the last epoch."""
    return {key: values[-1] for key, values in model.history_.items() if values}


def summary(model: Any) -> str:
    """Return class and sizes of a fitted model in one line."""
    n_parameters = sum(value.size for value in model.state_dict().values())
    latent = code_width(model)
    codes = {"TopicModel": "topic", "ItemResponse": "ability dimension"}.get(type(model).__name__, "latent dimension")
    parts = (plural(model.n_features_in_, "feature"), plural(latent, codes), plural(n_parameters, "weight"))
    return f"{type(model).__name__}, {', '.join(parts)}"


def plural(n: int, noun: str) -> str:
    """Return "1 epoch" or "2 epochs"."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
