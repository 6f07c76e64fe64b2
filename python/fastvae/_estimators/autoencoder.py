"""The plain autoencoder as an estimator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _checks
from fastvae._data import examples, weights
from fastvae._data.examples import Data
from fastvae._estimators.by_rows.method import by_rows, opened
from fastvae._estimators.layered import Layered
from fastvae._fitted import imputation, output, overflow
from fastvae._fitted.specification import Specification
from fastvae._training.objective import Objective

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Autoencoder(Layered):
    """Autoencoder with encoder f and decoder g: minimises the mean of L(x, g(f(x))) over the examples.

    Codes have no distribution: the model has no prior and no ``sample``. With ``corruption`` it is a denoising
    autoencoder (Vincent, Larochelle, Bengio & Manzagol, ICML 2008).

    Parameters
    ----------
    latent_dim : int
        Columns of the code.
    image_shape, channels
        As for :class:`fastvae.VAE`.
    hidden : sequence of int or layer
        The encoder's hidden layers: widths of dense layers, or objects from :mod:`fastvae.layers`. ``()`` is a linear
        model, which finds the span of the first principal components of centred data.
    decoder_hidden : sequence of int or layer, or None
        The decoder's hidden layers, as for :class:`fastvae.VAE`; None mirrors ``hidden``.
    activation : str
        Activation of the hidden layers: "relu", "tanh", "sigmoid", "softplus", "elu", "gelu" (exact), "silu" or
        "identity". Code and output are linear.
    loss : {"squared_error", "bernoulli"}
        L, a sum over features: (x - g)², or the cross-entropy in nats, where g is the sigmoid of the last layer and
        values lie in [0, 1].
    input_transform : {"log1p", "binary", "l1", "l2", "frequencies"} or None
        Transformation of the encoder's input, for counts: ln(1 + x) for x > -1, 1 where x is not 0, x / sum |x|,
        x / (sum x²)^1/2, or 50 x / (10 + sum |x|) (sums over features; an example of zeros stays zero). The target
        stays x.
    missing : {"error", "mask"}
        "error" refuses NaN in X. With "mask" NaN marks a missing value: the loss sums over the observed features, the
        encoder reads a zero, and ``impute`` fills it in.
    missing_indicator : bool
        With ``missing="mask"``: the encoder also reads one column per feature, after X, that is 1 where the value is
        missing. Convolutions read the columns as further channels.
    corruption : object or None
        Noise on the encoder's input, applied after ``input_transform``: an object from :mod:`fastvae.corruption`. The
        target stays clean.
    optimizer, learning_rate, weight_decay, clip_norm, nan_policy, batch_size, epochs, validation_fraction, \
early_stopping, n_iter_no_change, tol, callbacks, warm_start, precision, n_jobs, random_state, progress, communicator
        As for :class:`fastvae.VAE`.

    Attributes
    ----------
    n_features_in_, feature_names_in_, input_scale_, n_iter_, loss_curve_, elapsed_, interrupted_, n_skipped_batches_
        As for :class:`fastvae.VAE`.
    history_ : dict of str to list of float
        For each epoch "loss", the mean over its training batches, and, with validation data, "val_loss", computed at
        its end.

    Examples
    --------
    >>> import fastvae
    >>> X, y = fastvae.datasets.load_digits()
    >>> model = fastvae.Autoencoder(latent_dim=8, hidden=(64,), epochs=5, random_state=0).fit(X)
    >>> model.encode(X).shape
    (1797, 8)
    """

    _HEAD = "code.weight"
    _PER_OBSERVED = ("loss",)
    _LOSSES = ("loss",)

    def __init__(
        self,
        latent_dim: int = 2,
        *,
        image_shape: Any = None,
        channels: str = "last",
        hidden: Any = (400,),
        decoder_hidden: Any = None,
        activation: str = "relu",
        loss: str = "squared_error",
        input_transform: str | None = None,
        missing: str = "error",
        missing_indicator: bool = False,
        corruption: Any = None,
        optimizer: Any = "adam",
        learning_rate: Any = 1e-3,
        weight_decay: float | None = None,
        clip_norm: float | None = None,
        nan_policy: str = "raise",
        batch_size: int = 128,
        epochs: int = 20,
        validation_fraction: float = 0.0,
        early_stopping: bool = False,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        callbacks: Any = (),
        warm_start: bool = False,
        precision: str = "float32",
        n_jobs: int | None = None,
        random_state: Any = None,
        progress: bool | str | None = None,
        communicator: Any = None,
    ) -> None:
        self.latent_dim = latent_dim
        self.image_shape = image_shape
        self.channels = channels
        self.hidden = hidden
        self.decoder_hidden = decoder_hidden
        self.activation = activation
        self.loss = loss
        self.input_transform = input_transform
        self.missing = missing
        self.missing_indicator = missing_indicator
        self.corruption = corruption
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.nan_policy = nan_policy
        self.batch_size = batch_size
        self.epochs = epochs
        self.validation_fraction = validation_fraction
        self.early_stopping = early_stopping
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.callbacks = callbacks
        self.warm_start = warm_start
        self.precision = precision
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.progress = progress
        self.communicator = communicator

    @by_rows(result="codes")
    def encode(self, X: Any) -> NDArray[np.float32]:
        """Return the codes f(x); the same as ``transform``, but always an array.

        Parameters
        ----------
        X : array_like, [n_examples, n_features]

        Returns
        -------
        ndarray of float32, [n_examples, latent_dim]
        """
        return self._encode(X, None, logvar=False)[0]

    @by_rows(result="scores")
    def score_samples(self, X: Any, *, out: Any = None) -> NDArray[np.float32]:
        """Return the negative loss -L(x, g(f(x))) of each example: higher is better.

        Parameters
        ----------
        X : array_like, [n_examples, n_features]
        out : ndarray or memory map, [n_examples], optional
            C-contiguous float32: the result is written to it. It must not share memory with X.

        Returns
        -------
        ndarray of float32, [n_examples]
            `out`, if given.
        """
        fitted, (read, _) = self._require_fitted(), self._read_data(X)
        out = output.check(out, (len(read),), {"X": X, "X as it is read": read})
        loss, *_ = fitted.score(read, None, self._threads())
        overflow.check(loss, read)
        scores: NDArray[np.float32] = np.negative(loss, out=out)
        return scores

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return the mean of ``score_samples``: higher is better. Ignores y.

        Parameters
        ----------
        X : array_like, [n_examples, n_features]
        y : None
            Ignored.
        sample_weight : array_like, [n_examples], optional
            Weights of the mean, sum w_i score_i / sum w_i.

        Returns
        -------
        float

        Notes
        -----
        The score does not include corruption or weight decay. It compares networks and training with the same ``loss``
        on the same X; more latent dimensions never make it worse by themselves.
        """
        return -self.evaluate(X, sample_weight=sample_weight)["loss"]

    def evaluate(self, X: Any, *, sample_weight: Any = None) -> dict[str, float]:
        """Return the mean loss per example.

        Parameters
        ----------
        X : array_like, [n_examples, n_features]
        sample_weight : array_like, [n_examples], optional
            Weights of the mean, sum w_i loss_i / sum w_i.

        Returns
        -------
        dict of str to float
            ``loss``; with ``missing="mask"`` also ``loss_per_observed``, the sum over X divided by the number of
            observed values.
        """
        fitted, (source, X) = self._require_fitted(), opened(self, X)
        objectives = [self._current_objective().for_core()]
        if source is not None:
            return self._losses_of_source(source, X, None, sample_weight, objectives)
        X, _ = self._read_data(X)
        data = Data(X, None, weights.read(sample_weight, len(X)))
        _, _, (loss,) = fitted.mean_losses(data, self._threads(), objectives)
        losses = overflow.check_means({"loss": loss}, X)
        return losses | self._per_observed(losses, data)

    def impute(self, X: Any, *, n_iter: int = 0) -> NDArray[Any]:
        """Replace missing values (NaN) by their reconstruction from the observed values.

        Parameters
        ----------
        X : array_like, [n_examples, n_features]
        n_iter : int
            Further rounds: each encodes and decodes the result of the previous one, imputed values included.

        Returns
        -------
        ndarray in the shape of X
            In the type of X (float64 for a list); observed values are unchanged.

        Raises
        ------
        ValueError
            If the model was not fitted with ``missing="mask"``.
        """
        n_iter = _checks.integer(n_iter, "n_iter", least=0)
        fitted = self._require_fitted()
        imputation.check(fitted, type(self).__name__)
        X = examples.whole(X)
        values = examples.floats(self._read_data(X)[0], "X", counts=False)
        filled = fitted.shaped(imputation.with_means(fitted, values, None, n_iter, 0, self._threads()), X)
        return imputation.with_observed(filled, X, fitted.scale)

    # Internal

    def _specification(self, n_features: int, conditions: int) -> Specification:
        loss = _checks.choice(self.loss, "loss", ("squared_error", "bernoulli"))
        return Specification.build(
            n_features=n_features, variational=False, likelihood={"kind": loss}, **self._networks(n_features)
        )

    @classmethod
    def _accepts(cls, specification: Specification) -> bool:
        return not specification.variational and specification.unstructured

    def _objective(self) -> Objective:
        return Objective()

    def _read_noise(self, eps: Any, n: int) -> None:
        if eps is not None:
            raise ValueError(
                "eps is noise of a variational code, which an Autoencoder does not have: leave it out. To replace the "
                "encoder's input, pass corrupted="
            )

    def _name_losses(self, reconstruction: float, kl: float, loss: float) -> dict[str, float]:
        return {"loss": reconstruction}
