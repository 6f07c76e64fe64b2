"""The parameters that VAE and Autoencoder share: layers of encoder and decoder, images, missing values, noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastvae import _checks, layers
from fastvae._data import images, missing, names, sparse
from fastvae._estimators.model import Model
from fastvae._fitted import architecture
from fastvae._fitted.specification import INPUT_TRANSFORMS

if TYPE_CHECKING:
    from fastvae._data.images import Images


class Layered(Model):
    """A model whose encoder and decoder have any layers, dense or convolutional."""

    _READS_BLOCKS = True

    image_shape: Any
    channels: Any
    decoder_hidden: Any
    input_transform: Any
    missing: Any
    missing_indicator: Any
    corruption: Any

    # Internal

    def _networks(self, n_features: int) -> dict[str, Any]:
        """Return the part of the specification that these parameters determine, checked."""
        latent_dim, pictures = self._latent_dim(), self._images()
        image = None if pictures is None else pictures.shape
        encoder = architecture.encoder_with_unflatten(layers.resolve(self.hidden, "hidden"), image)
        if self.decoder_hidden is None:
            decoder = architecture.mirror(encoder, image or (n_features,), latent_dim)
        else:
            decoder = architecture.with_unflatten(layers.resolve(self.decoder_hidden, "decoder_hidden"), image)
        return self._common() | {
            "latent_dim": latent_dim,
            "image_shape": image,
            "encoder": architecture.options(encoder),
            "decoder": architecture.options(decoder),
            "missing": self._missing(),
            "input_transform": check_transform(self.input_transform),
        }

    def _images(self) -> Images | None:
        return images.check(self.image_shape, self.channels)

    def _layout(self, X: Any, name: str, *, fitted: bool) -> Images | None:
        pictures = self._require_fitted().images if fitted else self._images()
        if pictures is None:
            return None
        if sparse.is_sparse(names.of_annotated(X)) and self._convolutional(fitted=fitted):
            raise TypeError(
                f"{name} is a sparse matrix, which convolutional layers do not support: pass {name}.toarray()"
            )
        return pictures

    def _convolutional(self, *, fitted: bool) -> bool:
        """Whether the fitted model, or the one that ``fit`` would build, has layers that work on images."""
        if fitted:
            return self._require_fitted().specification.convolutional
        encoder = layers.resolve(self.hidden, "hidden")
        decoder = [] if self.decoder_hidden is None else layers.resolve(self.decoder_hidden, "decoder_hidden")
        return architecture.is_convolutional(*encoder, *decoder)

    def _missing(self) -> str:
        return missing.mode(self.missing, self.missing_indicator)

    def _allows_nan(self) -> bool:
        return bool(self.missing == "mask")

    def _corruption(self) -> Any:
        return self.corruption


def check_transform(transform: Any) -> str | None:
    """Return the parameter ``input_transform``, or raise ValueError."""
    return None if transform is None else _checks.choice(transform, "input_transform", INPUT_TRANSFORMS)
