"""The specification of a network. Only this module knows the names of the engine's options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _core

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

INPUT_TRANSFORMS = ("log1p", "binary", "l1", "l2", "frequencies")
HIDDEN = "hidden"  # the transform to zeros: the encoder reads conditions only

# Names in a state dict, by the engine's option. The encoder reads (x - shift) / scale, a decoder of means returns
# shift + scale y. Covariates y are read as (y - y_shift) / y_scale.
STANDARDIZE = {
    "standardize": ("standardize.shift", "standardize.scale"),
    "standardize_y": ("standardize.y_shift", "standardize.y_scale"),
}


class Specification:
    """The architecture, likelihood and optimiser of a network: argument of the engine and part of a file, as JSON.

    Parameters
    ----------
    options : dict
        Options by the engine's names; absent ones have the engine's defaults.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options

    @classmethod
    def build(
        cls,
        *,
        n_features: int,
        conditions: int = 0,
        variational: bool,
        latent_dim: int,
        encoder: Sequence[int | dict[str, Any]],
        decoder: Sequence[int | dict[str, Any]],
        activation: str,
        likelihood: dict[str, Any],
        optimizer: dict[str, Any],
        precision: str = "float32",
        input_transform: str | None = None,
        missing: str = "error",
        topics: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
        weight_constraint: str = "free",
        item_prior: dict[str, Any] | None = None,
        trials: Sequence[int] = (),
        image_shape: tuple[int, int, int] | None = None,
    ) -> Specification:
        """Return a specification without a seed, from checked values.

        Parameters
        ----------
        n_features, conditions : int
            Numbers of columns of X and of y.
        variational : bool
            Whether the encoder computes a distribution.
        latent_dim : int
            Columns of the code.
        encoder, decoder : sequence of int or dict
            The hidden layers, as :mod:`fastvae._fitted.architecture` resolves them.
        activation, likelihood, optimizer, input_transform, missing
            As :mod:`fastvae.likelihoods`, :mod:`fastvae.optimizers` and :mod:`fastvae._data.missing` resolve them.
        precision : {"float32", "bf16"}
            Operands of matrix products.
        topics : pair of ndarray, [latent_dim], optional
            Means and standard deviations of a topic model's prior before the softmax.
        weight_constraint : {"free", "nonnegative", "common"}
            Constraint on the weights of the decoder's last layer.
        item_prior : dict, optional
            Prior of the decoder's weights and biases, as :mod:`fastvae.priors` resolves it.
        trials : sequence of int, [n_features]
            Maximum marks of each task, for a binomial likelihood.
        image_shape : tuple of int, optional
            Height, width and channels of x.
        """
        options = {
            "n_features": n_features,
            "latent_dim": latent_dim,
            "conditions": conditions,
            "variational": variational,
            "encoder": list(encoder),
            "decoder": list(decoder),
            "missing": missing,
            "activation": activation,
            "likelihood": likelihood,
            "input_transform": input_transform,
            "topics": None,
            "weight_constraint": weight_constraint,
            "trials": list(trials),
            "optimizer": optimizer,
            "precision": precision,
        }
        if item_prior is not None:
            options["item_prior"] = item_prior
        if image_shape is not None:
            options["image_shape"] = list(image_shape)
        if topics is not None:
            mean, scale = topics
            options["topics"] = {"mean": mean.tolist(), "scale": scale.tolist()}
        return cls(options)

    @classmethod
    def of(cls, engine: _core.Engine) -> Specification:
        """Return an engine's specification, with a value for every option."""
        import json  # here and below only, so that `import fastvae` stays cheap

        return cls(json.loads(engine.specification))

    def seeded(self, seed: int) -> Specification:
        """Return the specification with a seed."""
        return Specification(self.options | {"seed": seed})

    def to_json(self) -> str:
        """Return the specification as the JSON that the engine's constructor reads."""
        import json

        return json.dumps(self.options, allow_nan=False)

    def completed(self) -> Specification:
        """Return the specification with a value for every option, as an engine has it."""
        import json

        return Specification(json.loads(_core.complete_specification(self.to_json())))

    # Options

    @property
    def n_features(self) -> int:
        """Number of columns of X."""
        return int(self.options["n_features"])

    @property
    def conditions(self) -> int:
        """Number of columns of y; 0 if the model is not conditional."""
        return int(self.options["conditions"])

    @property
    def latent_dim(self) -> int:
        """Number of latent dimensions."""
        return int(self.options["latent_dim"])

    @property
    def variational(self) -> bool:
        """Whether the encoder computes a distribution."""
        return self.options["variational"] is True

    @property
    def image_shape(self) -> tuple[int, int, int] | None:
        """Height, width and channels of x, or None."""
        if "image_shape" not in self.options:
            return None
        height, width, channels = self.options["image_shape"]
        return int(height), int(width), int(channels)

    @property
    def convolutional(self) -> bool:
        """Whether encoder or decoder has layers that work on images."""
        layers = [*self.options["encoder"], *self.options["decoder"]]
        return any(isinstance(layer, dict) and layer["kind"] != "dense" for layer in layers)

    @property
    def normalized_decoder(self) -> bool:
        """Whether the decoder has batch normalisation."""
        return any(isinstance(layer, dict) and layer.get("batch_norm", False) for layer in self.options["decoder"])

    @property
    def precision(self) -> str:
        """The operands of matrix products: "float32", "bf16" or "int8"."""
        return str(self.options.get("precision", "float32"))

    @property
    def trains(self) -> bool:
        """Whether the network has the weights that training needs; else it is for inference only."""
        return self.precision != "int8" and not self.options.get("inference_only", False)

    @property
    def unstructured(self) -> bool:
        """Whether it is neither a topic model nor an item response model."""
        return self.options["topics"] is None and self.weight_constraint == "free" and not self.trials

    @property
    def linear_decoder(self) -> bool:
        """Whether the decoder has no hidden layers."""
        return not self.options["decoder"]

    @property
    def seed(self) -> int:
        """Seed of initial weights, order and noise."""
        return int(self.options["seed"])

    @property
    def likelihood(self) -> dict[str, Any]:
        """The likelihood's kind and its options."""
        likelihood: dict[str, Any] = self.options["likelihood"]
        return likelihood

    @property
    def counts(self) -> bool:
        """Whether the likelihood is one of counts, or of groups of columns: X is never scaled."""
        return _core.LIKELIHOODS[self.likelihood["kind"]]["counts"]

    @property
    def mixed(self) -> bool:
        """Whether groups of columns have likelihoods of their own."""
        return bool(self.likelihood["kind"] == "mixed")

    @property
    def balanced(self) -> bool:
        """Whether groups of columns have other weights than 1 in the training loss."""
        return any(group["weight"] != 1 for group in self.likelihood.get("groups", ()))

    @property
    def unit(self) -> bool:
        """Whether the likelihood takes values in [0, 1] only."""
        return _core.LIKELIHOODS[self.likelihood["kind"]]["unit"]

    @property
    def documents(self) -> bool:
        """Whether the likelihood is one of a whole document: multinomial or mixture."""
        return _core.LIKELIHOODS[self.likelihood["kind"]]["words"]

    @property
    def sized(self) -> bool:
        """Whether the means of counts are shares of a row's size."""
        return "size_factor" in self.likelihood

    @property
    def takes_sizes(self) -> bool:
        """Whether the sizes of rows are given, in the column of y behind the conditions."""
        return self.likelihood.get("size_factor") == "given"

    @property
    def size_unit(self) -> float:
        """Counts in a given size of 1."""
        return float(self.options.get("size_unit", 1.0))

    def with_size_unit(self, unit: float) -> Specification:
        """Return the specification with another number of counts in a given size of 1."""
        return Specification(self.options | {"size_unit": unit})

    @property
    def input_transform(self) -> str | None:
        """The transformation of the encoder's input."""
        transform: str | None = self.options["input_transform"]
        return transform

    @property
    def standardize(self) -> dict[str, NDArray[np.float32]]:
        """Shifts and scales of the columns of X and of y by their names in a state dict; empty without."""
        found = {}
        for option, names in STANDARDIZE.items():
            values = self.options.get(option)
            if values is not None:
                width = self.columns_of(option)
                for name, key in zip(names, ("shift", "scale"), strict=True):
                    found[name] = np.broadcast_to(np.array(values[key] or [0.0], np.float32), width).copy()
        return found

    def columns_of(self, option: str) -> int:
        """Return the number of columns that an option of STANDARDIZE is about."""
        return self.n_features if option == "standardize" else self.conditions

    def standardized(self, option: str, shift: NDArray[np.float32], scale: NDArray[np.float32]) -> Specification:
        """Return the specification with another shift and scale of the columns of X or of y."""
        shift, scale = shift[: None if shift.any() else 0], scale[: 1 if (scale == scale[0]).all() else None]
        return Specification(self.options | {option: {"shift": shift.tolist(), "scale": scale.tolist()}})

    @property
    def missing(self) -> str:
        """Treatment of NaN in X: "error", "mask", or "indicator" (mask, and the encoder reads an indicator)."""
        return str(self.options["missing"])

    @property
    def topics(self) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Means and standard deviations of a topic model's prior before the softmax, rounded to float32, or None."""
        topics = self.options["topics"]
        if topics is None:
            return None
        mean, scale = (np.array(topics[name], np.float32).astype(np.float64) for name in ("mean", "scale"))
        return mean, scale

    @property
    def seeds(self) -> list[tuple[int, int]]:
        """Topic and column of each seed word."""
        return [(int(seed["topic"]), int(seed["word"])) for seed in self.options.get("seeds", [])]

    def seeded_words(self, seeds: list[dict[str, Any]]) -> Specification:
        """Return the specification with seed words: "topic", "word" and "count" of each."""
        return Specification(self.options | {"seeds": seeds})

    @property
    def weight_constraint(self) -> str:
        """Constraint on the weights of the decoder's last layer."""
        return str(self.options["weight_constraint"])

    @property
    def item_prior(self) -> dict[str, Any] | None:
        """Prior of the decoder's weights and biases, or None."""
        prior: dict[str, Any] | None = self.options.get("item_prior")
        return prior

    @property
    def log_slope_mean(self) -> float | None:
        """Mean of the log-normal prior of the decoder's weights, or None for another prior."""
        slope = (self.item_prior or {"slope": {"kind": "flat"}})["slope"]
        return float(slope["mean"]) if slope["kind"] == "lognormal" else None

    @property
    def trials(self) -> list[int]:
        """Maximum marks of each task for a binomial likelihood; else empty."""
        return [int(most) for most in self.options["trials"]]
