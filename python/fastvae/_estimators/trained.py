"""Training of an estimator: whole fits, single passes, gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _checks, corruption, schedules
from fastvae._data import conditions, examples
from fastvae._estimators.network import Network
from fastvae._training import callbacks, epochs, progress, validation
from fastvae._training.plan import FitSettings, Plan

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Self

    from fastvae._data.examples import Data, Examples
    from fastvae._fitted.model import FittedModel
    from fastvae._training.objective import Objective


class Trained(Network):
    """An estimator whose encoder and decoder are trained together.

    A subclass says what is minimised (``_objective``) and how the losses are called (``_name_losses``).
    """

    learning_rate: Any
    clip_norm: Any
    batch_size: Any
    epochs: Any
    validation_fraction: Any
    early_stopping: Any
    n_iter_no_change: Any
    tol: Any
    callbacks: Any
    progress: Any

    def fit(self, X: Any, y: Any = None, *, validation_data: Any = None) -> Self:
        """Train from fresh weights for ``epochs`` shuffled passes.

        Parameters
        ----------
        X : array_like, [n_examples, n_features]
            float32, float64 or uint8 (0..255, scaled to 0..1 batch by batch unless the likelihood is one of counts) are
            read in place, whatever their strides; other real types are converted. Sparse matrices (of scipy, or
            anything with the arrays of CSR) stay sparse, and their values are never scaled, whatever their type: CSR
            with float32 data and int32 indices in order is read in place, others are copied once. With
            ``missing="mask"`` a NaN is a value that was not observed.
        y : array_like, [n_examples] or [n_examples, c], optional
            What a conditional VAE is told of each example: labels (integers or strings) if y is 1-D, or c real
            covariates if it is 2-D. A column of labels [n_examples, 1] is a covariate, so pass ``y.ravel()``. Other
            models ignore y.
        validation_data : array_like or tuple, [m, n_features]
            Scored after each epoch; of a tuple (X, y) the first, and of a conditional model both. Excludes
            ``validation_fraction``.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For a bad parameter, shape or value.
        TypeError
            If X holds no real numbers.
        FloatingPointError
            If the loss or a gradient stops being finite. All weights are finite, and the message says which of
            them that step has changed.
        KeyboardInterrupt
            On Ctrl-C; the weights are those of the last finished step.

        Notes
        -----
        With ``early_stopping`` the weights are the best ones whatever else ends the training, an exception of a
        callback or of the training itself included.
        """
        settings = self._fit_settings()
        called = callbacks.check(self.callbacks)
        plan = self._plan()
        X = self._read_examples(X, "X")
        classes, y = self._read_training_conditions(y, len(X))
        held_out = self._validation_data(validation_data, settings.validation_fraction, X, classes, y)
        fraction = settings.validation_fraction
        if settings.early_stopping and held_out is None and not fraction:
            fraction = 0.1
            if round(fraction * len(X)) == 0:
                raise ValueError(
                    f"early_stopping holds out a tenth of X, but of {len(X)} examples that is none; give "
                    "validation_data"
                )
        fitted = self._new_model(X.shape[1], 0 if y is None else y.shape[1], classes)
        fitted.engine.check(X, "X", plan.threads)
        if held_out is not None:
            fitted.engine.check(held_out[0], "validation_data", plan.threads)
        rows = validation_rows = None
        if fraction:
            rows, validation_rows = validation.split(len(X), fraction, fitted.specification.seed)
            held_out = X, y
        self._set_fitted(fitted)
        self._initialize_weights(fitted, X, rows)

        def after_epoch(losses: dict[str, float]) -> bool:
            stop = callbacks.call(called, self, losses)
            if self._fitted is not fitted:
                raise RuntimeError("a callback has fitted the model anew while fit was training it")
            return stop

        epochs.fit(
            fitted,
            self._record,
            (X, y),
            rows,
            None if held_out is None else (held_out, validation_rows),
            settings,
            self._plan,
            self._name_losses,
            after_epoch,
        )
        return self

    def partial_fit(self, X: Any, y: Any = None, *, eps: Any = None, corrupted: Any = None) -> Self:
        """Go on training: one pass over X in the given order, the optimiser's state kept.

        Parameters
        ----------
        X : array_like, [n_examples, n_features]
        y : array_like, [n_examples] or [n_examples, c], optional
            As in ``fit``. The first call of all must see every class.
        eps : array_like, [n_examples, latent_dim], optional
            Replaces the noise of the reparameterisation; [n_examples, n_importance_samples, latent_dim] where there are
            several.
        corrupted : array_like, [n_examples, n_features], optional
            What the encoder sees in the place of X (through ``input_transform``, as it would see X), which remains the
            target; uint8 is scaled as that of X. Replaces ``corruption``. What is NaN in X, or with
            ``missing="mask"`` here, stays unseen.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError, FloatingPointError
            As from ``fit``.

        Notes
        -----
        Parameters changed since the model was made take effect where they belong to a pass (``beta``,
        ``objective``, ``learning_rate``, ``batch_size``, ``clip_norm``, ``corruption``, ``n_jobs``, ...); those of the
        network and the optimiser want a new ``fit``. A pass is an epoch of schedules. There is no validation, so
        nothing stops early, and no callback is called.
        """
        plan = self._plan()
        if self._fitted is None:
            X = self._read_examples(X, "X")
            classes, y = self._read_training_conditions(y, len(X))
            noise, replacement = self._read_noise(eps, len(X)), self._read_corrupted(corrupted, X.shape)
            fitted = self._new_model(X.shape[1], 0 if y is None else y.shape[1], classes)
            fitted.engine.check(X, "X", plan.threads)
            self._set_fitted(fitted)
            self._initialize_weights(fitted, X, None)
        else:
            fitted = self._fitted
            X, y = self._read_training_data(X, self._y_if_conditional(y))
            noise, replacement = self._read_noise(eps, len(X)), self._read_corrupted(corrupted, X.shape)
        losses = epochs.train_epoch(
            fitted,
            self._record,
            (X, y),
            None,
            plan,
            self._name_losses,
            eps=noise,
            corrupted=replacement,
            shuffle=False,
        )
        self._record.add(losses)
        return self

    def loss_and_gradients(
        self, X: Any, eps: Any = None, *, corrupted: Any = None, y: Any = None
    ) -> tuple[dict[str, float], dict[str, NDArray[np.float32]]]:
        """Losses of X as one batch of training, and the gradients of the loss.

        Parameters
        ----------
        X : array_like, [n_examples, n_features]
        eps : array_like, [n_examples, latent_dim], optional
            Noise, shaped as for ``partial_fit``; without it, that of ``score_samples``.
        corrupted : array_like, [n_examples, n_features], optional
            What the encoder sees in the place of X. Without it, X with ``corruption``, whose noise is keyed as that
            of ``score_samples``.
        y : array_like, optional
            Of a conditional model, as in ``fit``.

        Notes
        -----
        ``corruption`` and ``binarize`` are part of the loss here, as they are in training, and are not in ``evaluate``,
        which is about the X that it is given: then the two differ. ``binarize="bernoulli"`` makes X binary by one draw,
        that of validation data, which depends on the model's seed and the row and is that of no epoch.

        Returns
        -------
        losses : dict
            With the keys of ``history_``.
        gradients : dict of str to ndarray of float32
            Of the loss, which is a mean over the batch, keyed and shaped as ``state_dict()``.
        """
        plan, objective = self._plan(), self._current_objective()
        fitted, (X, y) = self._require_fitted(), self._read_training_data(X, y)
        losses, gradients = fitted.loss_and_gradients(
            X,
            y,
            plan.threads,
            eps=self._read_noise(eps, len(X)),
            corrupted=self._read_corrupted(corrupted, X.shape),
            objective=objective.for_core(),
            corruption=plan.corruption,
            binarize=plan.binarize,
        )
        return self._name_losses(*losses), gradients

    def apply_gradients(self, grads: Mapping[str, Any]) -> Self:
        """Take one optimiser step with given gradients: the same bits as the step that ``partial_fit`` fuses.

        Running statistics of a batch normalisation stay as they are, of which gradients say nothing.

        Parameters
        ----------
        grads : mapping of str to array_like
            Keyed and shaped as ``state_dict()``. They are not clipped.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If they are not, or a gradient is too large for float32; nothing has changed then.
        """
        fitted = self._require_fitted()
        next_step = schedules.Steps(fitted.engine.steps, fitted.position[1], 1)
        rate = schedules.values(self._learning_rate(), "learning_rate", next_step)
        fitted.apply_gradients(grads, float(rate[0]), self._threads())
        return self

    # Internal: what a subclass decides

    def _objective(self) -> Objective:
        """Return what is minimised, checked."""
        raise NotImplementedError

    def _name_losses(self, reconstruction: float, kl: float, loss: float) -> dict[str, float]:
        """Return the losses as entries of the history."""
        raise NotImplementedError

    def _corruption(self) -> Any:
        """Return the noise on the encoder's input, an object of :mod:`fastvae.corruption`, or None."""
        return None

    def _binarize(self) -> str | None:
        """Return how grey examples become binary, checked."""
        return None

    def _initial_weights(
        self, fitted: FittedModel, X: Any, rows: NDArray[np.uint64] | None
    ) -> dict[str, NDArray[np.float32]]:
        """Return the weights that do not start at random, given what will be trained on: some rows of X, or all."""
        return {}

    def _read_noise(self, eps: Any, n: int) -> NDArray[np.float32] | None:
        """Return noise in place of the reparameterisation's, [n (times samples), latent_dim]."""
        raise NotImplementedError

    # Internal: parameters

    def _plan(self) -> Plan:
        """Return what a pass of training needs, checked."""
        clip, noise = self.clip_norm, self._corruption()
        return Plan(
            _checks.integer(self.batch_size, "batch_size"),
            self._objective(),
            self._learning_rate(),
            None if clip is None else _checks.number(clip, "clip_norm", least=1e-12, below=1e30),
            None if noise is None else corruption.resolve(noise),
            self._binarize(),
            self._threads(),
        )

    def _fit_settings(self) -> FitSettings:
        """Return what ``fit`` does beside its passes, checked."""
        return FitSettings(
            _checks.integer(self.epochs, "epochs"),
            _checks.number(self.validation_fraction, "validation_fraction", 0.0, 1.0),
            _checks.boolean(self.early_stopping, "early_stopping"),
            _checks.integer(self.n_iter_no_change, "n_iter_no_change"),
            _checks.number(self.tol, "tol"),
            progress.check(self.progress),
        )

    def _learning_rate(self) -> schedules.Value:
        rate = schedules.check(self.learning_rate, "learning_rate", below=1e6)
        if rate == 0:
            raise ValueError("learning_rate=0 would train nothing; it must be positive")
        return rate

    def _current_objective(self) -> Objective:
        """Return what the last step minimised, or, before the first, what that will."""
        return self._objective().at(*self._require_fitted().position)

    # Internal: data

    def _initialize_weights(self, fitted: FittedModel, X: Examples, rows: NDArray[np.uint64] | None) -> None:
        """Set the weights of a new model that do not start at random."""
        weights = self._initial_weights(fitted, X, rows)
        if weights:
            fitted.load_state_dict(fitted.state_dict() | weights)

    def _read_training_data(self, X: Any, y: Any) -> Data:
        """Return data whose values have been looked at too: a step must not begin with bad ones."""
        X, y = self._read_data(X, y)
        self._require_fitted().engine.check(X, "X", self._threads())
        return X, y

    def _read_training_conditions(self, y: Any, n: int) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
        """Return the classes in y, if it holds labels, and y as the core reads it; nothing if it is not wanted."""
        if not self._conditional():
            return None, None
        classes = conditions.classes_of(y)
        return classes, conditions.read(y, n, classes, None)

    def _read_corrupted(self, corrupted: Any, shape: tuple[int, ...]) -> Examples | None:
        """Return the encoder's input in the place of X."""
        if corrupted is None:
            return None
        about = self._current_specification(shape[1])
        return examples.replacement(
            corrupted, "corrupted", shape, about.input_transform, counts=about.counts, holes=about.missing != "error"
        )

    def _validation_data(
        self, data: Any, fraction: float, X: Examples, classes: NDArray[Any] | None, y: NDArray[Any] | None
    ) -> Data | None:
        if data is None:
            return None
        if fraction:
            raise ValueError("give validation_data or validation_fraction, not both")
        if y is not None and not (isinstance(data, tuple) and len(data) == 2):
            raise ValueError("validation_data of a conditional model must be a tuple (X, y)")
        first = data[0] if isinstance(data, tuple) and data else data
        first = self._read_examples(first, "validation_data", X.shape[1])
        return first, None if y is None else conditions.read(data[1], len(first), classes, y.shape[1])
