"""The parameters that VAE and Autoencoder share: a dense encoder and a dense decoder."""

from __future__ import annotations

from typing import Any

from fastvae import _checks, _core
from fastvae._data import missing
from fastvae._estimators.model import Model
from fastvae._fitted.specification import INPUT_TRANSFORMS


class Dense(Model):
    """A model with a dense encoder and a dense decoder of any widths."""

    latent_dim: Any
    decoder_hidden: Any
    input_transform: Any
    missing: Any
    missing_indicator: Any
    corruption: Any

    # Internal

    def _networks(self) -> dict[str, Any]:
        """Return the part of the specification that these parameters determine, checked."""
        encoder = self._encoder()
        mirrored = self.decoder_hidden is None
        return encoder | {
            "latent_dim": self._latent_dim(),
            "decoder": encoder["encoder"][::-1] if mirrored else _checks.widths(self.decoder_hidden, "decoder_hidden"),
            "missing": self._missing(),
            "input_transform": check_transform(self.input_transform),
        }

    def _latent_dim(self) -> int:
        return _checks.integer(self.latent_dim, "latent_dim", most=_core.MAX_WIDTH // 2)

    def _missing(self) -> str:
        return missing.mode(self.missing, self.missing_indicator)

    def _allows_nan(self) -> bool:
        return bool(self.missing == "mask")

    def _corruption(self) -> Any:
        return self.corruption


def check_transform(transform: Any) -> str | None:
    """Return the parameter ``input_transform``, or raise ValueError."""
    return None if transform is None else _checks.choice(transform, "input_transform", INPUT_TRANSFORMS)
