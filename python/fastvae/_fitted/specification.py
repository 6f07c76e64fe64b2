"""The specification of a network: the one module that writes and reads the engine's arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _core, likelihoods

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

INPUT_TRANSFORMS = ("log1p", "binary", "l1", "l2")

# Likelihoods of all words of a document together.
_OF_WORDS = ("multinomial", "mixture")


class Specification:
    """What a network is made of, as the engine's constructor takes it and a file keeps it.

    Parameters
    ----------
    arguments : dict
        The engine's.
    """

    def __init__(self, arguments: dict[str, Any]) -> None:
        self.arguments = arguments

    @classmethod
    def build(
        cls,
        *,
        n_features: int,
        conditions: int = 0,
        variational: bool,
        latent_dim: int,
        encoder: list[int],
        decoder: list[int],
        activation: str,
        likelihood: tuple[str, float | str, float],
        optimizer: tuple[str, list[float]],
        input_transform: str | None = None,
        missing: str = "error",
        topics: Sequence[NDArray[np.float32]] | None = None,
        loadings: str = "free",
        trials: Sequence[int] = (),
    ) -> Specification:
        """Make a specification without a seed from checked values.

        Parameters
        ----------
        n_features, conditions : int
            Columns of X and of y.
        variational : bool
            Whether the code has a distribution.
        latent_dim : int
            Columns of the code.
        encoder, decoder : list of int
            Widths of the hidden layers.
        activation, likelihood, optimizer, input_transform, missing
            As :mod:`fastvae.likelihoods`, :mod:`fastvae.optimizers` and :mod:`fastvae._data.missing` resolve them.
        topics : pair of ndarray, [latent_dim], optional
            Means and standard deviations of the prior before the softmax, for a topic model.
        loadings : {"free", "nonnegative", "common"}
            The constraint on the decoder's last layer.
        trials : sequence of int, [n_features]
            The most marks of each task, for a binomial likelihood.
        """
        name, scale, floor = likelihood
        kind, options = optimizer
        return cls(
            {
                "n_features": n_features,
                "variational": variational,
                "latent_dim": latent_dim,
                "conditions": conditions,
                "encoder": encoder,
                "decoder": decoder,
                "missing": missing,
                "activation": activation,
                "topics": None if topics is None else [values.tolist() for values in topics],
                "loadings": loadings,
                "trials": list(trials),
                "likelihood": name,
                "scale": scale,
                "floor": floor,
                "input_transform": input_transform,
                "optimizer": kind,
                "options": options,
            }
        )

    def seeded(self, seed: int) -> Specification:
        """Return the specification with a seed, which an engine needs."""
        return Specification(self.arguments | {"seed": seed})

    def engine(self) -> _core.Engine:
        """Make a new engine."""
        return _core.Engine(self.arguments)

    def engine_of(self, file: _core.ModelFile) -> _core.Engine:
        """Make the engine that a file holds the tensors of."""
        return file.engine(self.arguments)

    # What it says

    @property
    def n_features(self) -> int:
        """Columns of X."""
        return int(self.arguments["n_features"])

    @property
    def conditions(self) -> int:
        """Columns of y; 0 if the model is not conditional."""
        return int(self.arguments["conditions"])

    @property
    def latent_dim(self) -> int:
        """Columns of the code."""
        return int(self.arguments["latent_dim"])

    @property
    def variational(self) -> bool:
        """Whether the code has a distribution."""
        return self.arguments["variational"] is True

    @property
    def dense(self) -> bool:
        """Whether it is neither a topic model nor an exam."""
        return self.topics is None and self.loadings == "free" and not self.trials

    @property
    def linear_decoder(self) -> bool:
        """Whether the decoder has no hidden layers."""
        return not self.arguments["decoder"]

    @property
    def seed(self) -> int:
        """Of initial weights, order and noise."""
        return int(self.arguments["seed"])

    @property
    def likelihood(self) -> tuple[str, float | str, float]:
        """Name, scale and floor."""
        return self.arguments["likelihood"], self.arguments["scale"], self.arguments["floor"]

    @property
    def counts(self) -> bool:
        """Whether X holds counts, which are never scaled."""
        return self.arguments["likelihood"] in (*likelihoods.COUNTS, "mixture")

    @property
    def documents(self) -> bool:
        """Whether the likelihood is of all words of a document together."""
        return self.arguments["likelihood"] in _OF_WORDS

    @property
    def input_transform(self) -> str | None:
        """The transformation of the encoder's input."""
        transform: str | None = self.arguments["input_transform"]
        return transform

    @property
    def missing(self) -> str:
        """What NaN in X is: "error", "mask", or "indicator" where the encoder reads which values are missing."""
        return str(self.arguments["missing"])

    @property
    def topics(self) -> tuple[NDArray[np.float64], ...] | None:
        """Means and standard deviations of a topic model's prior before the softmax."""
        topics = self.arguments["topics"]
        return None if topics is None else tuple(np.array(values) for values in topics)

    @property
    def loadings(self) -> str:
        """The constraint on the decoder's last layer."""
        return str(self.arguments["loadings"])

    @property
    def trials(self) -> list[int]:
        """The most marks of each task of a binomial likelihood; else empty."""
        return list(self.arguments["trials"])
