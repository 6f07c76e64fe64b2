"""Training of an estimator: fit, single passes, gradients."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fastvae import _checks, corruption, schedules
from fastvae._data import columns, conditions, examples, images, weights
from fastvae._data.examples import Data, Format
from fastvae._data.sources import opening
from fastvae._data.sources.source import Source
from fastvae._data.streams.batches import Batches
from fastvae._estimators import files, ranks, streamed
from fastvae._estimators.checkpoint import Checkpoint
from fastvae._estimators.job import Job
from fastvae._estimators.network import Network
from fastvae._estimators.routing import request_setter
from fastvae._estimators.turn import Turn
from fastvae._fitted import precision
from fastvae._training import callbacks, composite, input_level, logs, passes, progress, units, validation
from fastvae._training import epochs as train
from fastvae._training.callbacks import Callbacks
from fastvae._training.convergence import AUTO, Budget
from fastvae._training.plan import FitSettings, Plan
from fastvae._training.record import WAITED
from fastvae._training.run import Run

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Self

    from fastvae._data.examples import Examples
    from fastvae._distributed.team import Team
    from fastvae._fitted.model import FittedModel
    from fastvae._training.objective import Objective

# Options of the specification that come from the training data or the seed, not from parameters, and the one that may
# change between two calls of `fit` or `partial_fit`.
_MAY_DIFFER = ("seed", "standardize", "standardize_y", "size_unit", "seeds", "precision")


class Trained(Network):
    """An estimator with methods for training.

    A subclass defines the objective (``_objective``) and the names of the losses (``_name_losses``).
    """

    _READS_BLOCKS: ClassVar[bool] = False  # whether X may be larger than memory
    _BUDGET: ClassVar[Budget | None] = None  # what epochs="auto" stands for; None: it is not allowed

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
    warm_start: Any = False
    nan_policy: Any = "raise"

    _team: Team | None = None  # the ranks with their shares, during a distributed call

    set_partial_fit_request = request_setter("partial_fit")
    set_score_request = request_setter("score")

    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        validation_data: Any = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: int | None = None,
    ) -> Self:
        """Train for ``epochs`` shuffled passes, from random weights or, with ``warm_start``, from the present ones.

        Training starts at the level of the data: the output layer's biases and the likelihood's scales are those of the
        best model that does not depend on z. Columns far from unit size are standardised within the network: see
        ``state_dict``.

        Parameters
        ----------
        X : array_like, [n_examples, n_features], or images with ``image_shape``
            Dense float32, float64 and uint8 arrays of any strides are read in place; other real types are converted.
            Sparse matrices (of scipy, or any object with the arrays of CSR) stay sparse: CSR with float32 data and
            sorted int32 indices is read in place, others are copied once. With ``missing="mask"`` NaN, and None or
            ``pandas.NA`` in columns of objects, mark a missing value. Of AnnData, ``X.X`` is read. Integers are divided
            by ``input_scale_`` (see Notes).

            Data larger than memory, of ``VAE``, ``Autoencoder`` and ``CountVAE``: memory maps, objects with ``shape``,
            ``dtype`` and slices of rows (of h5py, zarr, dask), a ``pyarrow.parquet.ParquetFile``, a list of files
            (``.npy``, ``.npz`` of ``scipy.sparse.save_npz``, ``.parquet``), and batches: an object that can be iterated
            over again and again, or with ``steps_per_epoch`` an iterator. A batch is X or (X, y). See Notes.
        y : array_like, [n_examples] or [n_examples, c], optional
            Required by a conditional VAE: labels (integers or strings) if y is 1-D, c real covariates if it is 2-D. A
            column of integers [n_examples, 1] is refused: pass ``y.ravel()`` or ``y.astype(float)``. Other models, and
            a VAE with ``condition_columns``, ignore y.
        sample_weight : array_like, [n_examples], optional
            Weights of the examples in the loss, sum w_i loss_i / sum w_i: only ratios of weights matter. An example of
            weight 2 counts as two, in expectation over the batches; one of weight 0 is left out. The moments of columns
            (start, standardisation) and the statistics of batch normalisation have no weights.
        validation_data : array_like [m, n_features] or tuple (X, y), optional
            Scored after each epoch. A conditional model needs the tuple; others, and a VAE with ``condition_columns``,
            ignore its y. Cannot be combined with ``validation_fraction``. Its examples have equal weights; those that
            ``validation_fraction`` holds out have theirs.
        epochs : int, optional
            Passes of this call, in place of the parameter.
        steps_per_epoch : int, optional
            Batches of an epoch, for an X that is read in blocks or batches. Each epoch of a source or an array is then
            the beginning of a pass in a new random order. Batches go on where the epoch before has ended. Default: all.
        checkpoint : str or path-like, optional
            File for the state of training, with which :func:`fastvae.resume` continues a fit that was killed: it ends
            with the bits of a fit that was not. Each checkpoint replaces the last one atomically. It is also a model
            file, which :func:`fastvae.load` reads. A callback with a state has methods ``state_dict()`` (numbers,
            strings, lists, dicts) and ``load_state_dict(state)``, as PyTorch's objects.
        checkpoint_every : int, optional
            Epochs between two checkpoints. Default: the first end of an epoch after a minute.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter, a shape or a value is invalid, or X holds complex numbers.
        TypeError
            If X does not hold numbers; the message names the column.
        FloatingPointError
            If the loss or a gradient is not finite. All weights are still finite, and the message says which of them
            the failed step has changed. The last step of all is checked too, and undone if the loss of its batch is
            not finite with the new weights.
        KeyboardInterrupt
            On Ctrl-C. The weights are those after the last finished step.
        OSError
            If the first checkpoint cannot be written. A later one that cannot is a warning, and training goes on.
        RuntimeError
            If another thread trains the model, or rows of a source or a batch cannot be read: the message names the
            source, and the weights are those after the last finished step.

        Warns
        -----
        UserWarning
            Once, if the trained model has a problem, or has not converged with ``epochs="auto"``. Problems are a loss
            above that of the start, many clamped log variances, or (of a VAE after 200 steps) codes that do not depend
            on the data; ``diagnose`` finds more.
            If the likelihood has one scale for all columns and the standard deviations of the columns do not fit it.
            If columns of a table are constant and the likelihood learns a scale for each. If the likelihood is
            Bernoulli and all values are as small as grey values that were divided by 255 twice.
            If the likelihood is one of words and X holds fractions.

        Notes
        -----
        ``fit`` (or the first ``partial_fit``) decides what integers in X mean, and every method divides them by
        ``input_scale_`` ever after: in arrays, lists, frames, images and sparse matrices alike. It is 255 (grey values)
        if X is uint8 with a value above 1. It is 1 if X is uint8 with zeros and ones only, of another integer type or
        bool, or if the likelihood is one of counts. If X holds floats, which are never divided, it is 255 and applies
        to uint8 only if they lie in [0, 1] and not all are 0 or 1; else it is 1.

        The column names of a frame are stored as ``feature_names_in_``. By scikit-learn's rule later calls refuse other
        names or another order, and warn if only one of the two has names.

        With ``warm_start=True`` and a fitted model, training goes on as if it had never stopped: ``epochs=4``, then
        ``fit`` again, gives the same bits as ``epochs=8``, also after ``save`` and ``load``. Permutations, noise,
        schedules, the optimiser's moments and the history go on; the rows of ``validation_fraction`` stay the same.
        Early stopping counts anew, from the weights that it starts with. ``precision`` may change, since weights and
        moments are float32 in both. Changes of the network or the optimiser are refused: they need
        ``warm_start=False``.

        Sources larger than 64 MB are read in blocks of that size by another thread while the model trains. Chunks of 2
        MB (or of the source: chunks of HDF5 and zarr, row groups, shards) are put in random order in each epoch, and
        thirty-two of them are a block, whose rows are put in random order too: both are functions of the seed and the
        epoch, on any number of threads. Smaller sources are read at once, and have the bits of an array. Batches keep
        their order and are one step each, whatever ``batch_size``. The scale of integers, the start of training,
        standardisation and warnings about columns come from a sample: the rows of sixteen chunks spread over the
        source, or the first batches. Values are checked in each block. ``validation_fraction`` holds out whole chunks.
        ``history_["data_wait"]`` is the time that an epoch has waited for data, in seconds. With ``communicator=``
        nothing is read in blocks: memory maps are read in place, and other sources larger than 64 MB, batches and
        ``steps_per_epoch`` are refused.

        With ``early_stopping`` the best weights are restored even if an exception, also of a callback, ends training.
        Only Ctrl-C keeps the last ones.
        """
        same = {
            "epochs": epochs,
            "steps_per_epoch": steps_per_epoch,
            "checkpoint": checkpoint is None,
            "checkpoint_every": checkpoint_every,
        }
        with ranks.joined(self, "fit", **same):
            settings, X = self._fit_settings(), streamed.opened(self, X, steps_per_epoch)
            if epochs is not None:
                settings = settings._replace(epochs=_checks.integer(epochs, "epochs"))
            if checkpoint is None and checkpoint_every is not None:
                raise ValueError("checkpoint_every= needs checkpoint=, the path of a file")
            going_on = _checks.boolean(self.warm_start, "warm_start") and self._fitted is not None
            with Turn(self, fits=True):
                job = self._job(X, y, sample_weight, validation_data, settings, going_on, steps_per_epoch)
                if checkpoint is not None and isinstance(X, Batches):
                    raise ValueError(
                        "checkpoint= needs rows that can be read again from any place, which batches cannot: save the "
                        "model in a callback"
                    )
                saver = None
                if checkpoint is not None and self._is_first_rank():
                    saver = Checkpoint.checked(checkpoint, checkpoint_every, self._fingerprint(job))
                run = Run.start(
                    job.fitted, self._record, job.training, job.held_out, job.settings, self._plan, job.judge
                )
                if saver is not None:
                    saver.write(self, run)  # an error now, not after an hour
                return self._train(job, run, saver)

    def _resume(
        self,
        path: Any,
        state: dict[str, Any],
        X: Any,
        y: Any,
        sample_weight: Any,
        validation_data: Any,
        observed: Any = None,
        steps_per_epoch: int | None = None,
    ) -> Self:
        """Continue the fit of a checkpoint whose model this is; `state` is its key "run"."""
        if observed is not None:
            raise ValueError(f"leave out observed=: a {type(self).__name__} has none")
        with ranks.joined(self, "resume"):
            settings, X = self._fit_settings(), streamed.opened(self, X, steps_per_epoch)
            job = self._job(X, y, sample_weight, validation_data, settings, True, steps_per_epoch)
            if state["data"] != self._fingerprint(job):
                raise ValueError(
                    "X, y, sample_weight or validation_data are not those of the fit that wrote "
                    f"{os.fsdecode(path)!r}: pass the same data in the same order"
                )
            if self._is_first_rank():
                callbacks.restore(self.callbacks, state["callbacks"])
            if "fit" not in state:
                return self
            with files.damage_as_format_error(repr(os.fsdecode(path))):
                saver = Checkpoint.checked(path, state["every"], state["data"]) if self._is_first_rank() else None
                run = Run.restored(state["fit"], job.fitted, self._record, job.settings)
            return self._train(job, run, saver)

    def _is_first_rank(self) -> bool:
        """Whether this is the only process, or the one of several that writes and warns."""
        return self._ranks is None or self._ranks.rank == 0

    def _fingerprint(self, job: Job) -> str:
        """Return what tells other data: a hash or, since other ranks may have other shares, the size of all shares."""
        if self._team is None:
            return job.fingerprint()
        return f"{self._team.total} examples of {job.fitted.n_columns} columns on several ranks"

    def _job(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        validation_data: Any,
        settings: FitSettings,
        going_on: bool,
        steps: int | None,
    ) -> Job:
        """Return the fit to data in memory, or to a source or batches."""
        if not isinstance(X, (Source, Batches)):
            held_out = streamed.validation_in_memory(self, validation_data)
            return self._prepare(X, y, sample_weight, held_out, settings, going_on)
        if going_on:
            self._check_unchanged(self._require_fitted())
        return streamed.prepare(self, X, y, sample_weight, validation_data, settings, steps, going_on=going_on)

    def _open_source(self, X: Any, name: str) -> Source | None:
        """Return the adapter of an X that is read in ranges of rows; None if it is in memory."""
        return opening.open_source(X, name)

    def _prepare(
        self, X: Any, y: Any, sample_weight: Any, validation_data: Any, settings: FitSettings, going_on: bool
    ) -> Job:
        """Read and check the data of a fit; set a new model unless training goes on with the fitted one."""
        self._require_training("fit")
        called = Callbacks(self.callbacks)
        progress.require(settings.progress)
        plan = self._plan()
        if going_on:
            fitted = self._require_fitted()
            X, y = self._read_data(X, self._y_if_conditional(y))
            fitted.require_sizes(y)
            self._check_unchanged(fitted)
            classes, form = fitted.classes, Format(fitted.scale, fitted.names, fitted.form, fitted.columns)
        else:
            X, y, form = self._read_first(X, y)
            classes, y = self._read_training_conditions(y, len(X), form)
        data = Data(X, y, weights.read(sample_weight, len(X)))
        held_out = self._validation_data(validation_data, settings.validation_fraction, data, form, classes)
        fraction = settings.validation_fraction
        if settings.early_stopping and held_out is None and not fraction:
            fraction = 0.1
            if round(fraction * len(X)) == 0:
                raise ValueError(
                    f"early_stopping holds out a tenth of X, which is no example out of {len(X)}: pass validation_data"
                )
        if self._ranks is not None:
            ranks.agree_on_data(self._ranks, data, held_out, form, classes)
        if not going_on:
            fitted = self._new_model(X.shape[1], self._count_conditions(y), classes, form)
        if self._is_first_rank():
            precision.warn_if_slow(precision.check(self.precision))
        plan.objective.check(fitted.specification)
        self._check_values(fitted, X, plan.threads)
        if held_out is not None:
            fitted.engine.check(held_out[0], "validation_data", plan.threads)
        rows = validation_rows = None
        if fraction:
            rows, validation_rows = validation.split(len(X), fraction, fitted.specification.seed)
            held_out = data
            validation_rows = weights.rows_in_use(data.weights, validation_rows, "the held-out fraction of X")
        rows = weights.rows_in_use(data.weights, rows, "X to train on")
        self._team = self._team_of(data, rows)
        if going_on:  # after all that may refuse
            fitted.set_precision(self.precision)
        else:
            self._initialize_weights(fitted, data, rows)
            self._set_fitted(fitted)
        training = (data, rows)
        return Job(fitted, training, None if held_out is None else (held_out, validation_rows), called, settings)

    def _team_of(self, data: Data, rows: NDArray[np.uint64] | None) -> Team | None:
        """Return the ranks with their shares, of which rows of the data (None: all) are this one's; None alone."""
        if self._ranks is None:
            return None
        from fastvae._distributed.communicator import resolve
        from fastvae._distributed.team import Team

        n = len(data.X) if rows is None else len(rows)
        used = data.weights if rows is None or data.weights is None else data.weights[rows]
        total = float(n) if used is None else float(used.sum(dtype=np.float64))
        return Team(self._ranks, n, total, half=resolve(self.communicator).gradients == "bfloat16")

    def _train(self, job: Job, run: Run, saver: Checkpoint | None) -> Self:
        """Train until the end of a fit."""
        fitted, (data, rows) = job.fitted, job.training
        skipped, save_messages, before = self._record.skipped, list[str](), self._record.elapsed
        stream, epochs = passes.stream_of(data), self._record.n_iter

        def called(method: Callable[..., Any], *arguments: Any) -> Any:
            self._save_messages = save_messages
            try:
                result = method(self, *arguments)
            finally:
                vars(self).pop("_save_messages", None)  # a callback may have fitted the model anew
            if self._fitted is not fitted:
                raise RuntimeError("a callback has fitted or loaded the model during fit: do so after fit returns")
            return result

        self._log_start(job, run)
        reason = "ended"
        try:
            try:
                called(job.callbacks.train_begin)
                unfinished, messages, kl = train.fit(
                    fitted,
                    self._record,
                    data,
                    rows,
                    job.held_out,
                    run,
                    self._plan,
                    self._name_losses,
                    lambda logs: bool(called(job.callbacks.epoch_end, logs)),
                    lambda run: None if saver is None else saver.epoch(self, run),
                    job.settings.progress if self._is_first_rank() else False,
                    job.judge,
                )
            finally:
                called(job.callbacks.train_end)
        except BaseException as error:
            reason = f"stopped by {type(error).__name__}"
            raise
        finally:
            self._log_end(reason, self._record.elapsed - before)
        if self._ranks is not None:
            ranks.require_equal_weights(self._ranks, fitted)
        self._finish(fitted, data, rows)
        if not self._is_first_rank():  # the messages are of the model of all
            return self
        if saver is not None:
            saver.end(self)
            messages += saver.messages
        messages += [*save_messages, *self._collapse(fitted, kl), *self._problems(fitted, data, rows)]
        if job.judge is not None:
            messages += job.judge.problems(float(np.nanmax(self.history_[job.judge.name])))
        if self._record.skipped > skipped:
            messages.append(
                f"{self._record.skipped - skipped} batches without a finite loss or gradient were skipped "
                "(nan_policy='skip'): look for outliers in X, or lower learning_rate."
            )
        if stream is not None:
            waited = float(np.nansum(self.history_.get(WAITED, [])[epochs:]))
            complete = run.done == run.planned
            messages += streamed.problems(stream, waited, self._record.elapsed - before, complete=complete)
        if unfinished:
            messages.append(
                f"The loss still fell after {self.n_iter_} epochs, the most that epochs='auto' allows: pass "
                f"epochs={2 * self.n_iter_}."
            )
        if messages:
            _checks.warn(f"{type(self).__name__} after training: {' '.join(messages)}")
        return self

    def _log_start(self, job: Job, run: Run) -> None:
        log = logs.logger("INFO")
        if log is not None:
            data, rows = job.training
            log.info(
                "%s: training %s: %d examples, %d features, %d parameters, epochs %d to %d, seed %d",
                type(self).__name__,
                "goes on" if self.n_iter_ else "starts",
                passes.examples(data, rows, self._plan()),
                data.X.shape[1],
                sum(array.size for array in self.state_dict().values()),
                self.n_iter_ + 1,
                self.n_iter_ + run.planned - run.done,
                job.fitted.specification.seed,
            )

    def _log_end(self, reason: str, seconds: float) -> None:
        log = logs.logger("INFO")
        if log is not None:
            losses = {key: values[-1] for key, values in self.history_.items() if values}
            log.info(
                "%s: training %s after epoch %d, %.2f s: %s",
                type(self).__name__,
                reason,
                self.n_iter_,
                seconds,
                logs.shown(losses) or "no loss",
            )

    def partial_fit(
        self,
        X: Any,
        y: Any = None,
        *,
        classes: Any = None,
        sample_weight: Any = None,
        eps: Any = None,
        corrupted: Any = None,
    ) -> Self:
        """Continue training: one pass over X in the given order. The optimiser keeps its state.

        The first call starts at the level of its X.

        Parameters
        ----------
        X : array_like, [n_examples, n_features], or data that are read in blocks
        y : array_like, [n_examples] or [n_examples, c], optional
            As in ``fit``. Without ``classes`` the first call must contain every class.
        classes : array_like, [n_classes], optional
            All labels that y has in this call and in later ones, for a conditional model with labels. Only the first
            call needs it; in later calls the labels must be the same.
        sample_weight : array_like, [n_examples], optional
            Weights as in ``fit``, relative to those of this call.
        eps : array_like, [n_examples, latent_dim], optional
            Noise of the reparameterisation, instead of random draws; [n_examples, n_importance_samples, latent_dim]
            with several samples.
        corrupted : array_like, [n_examples, n_features], optional
            The encoder's input, instead of X with ``corruption``; ``input_transform`` applies to it, and uint8 is
            scaled as for X. The target stays X. The encoder does not read values that are NaN in X or, with
            ``missing="mask"``, in ``corrupted``. Its ``condition_columns`` are not read.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError, FloatingPointError
            As from ``fit``.
        RuntimeError
            If another thread fits the model. The pass waits for the passes of other threads.

        Notes
        -----
        A changed parameter takes effect if it belongs to a pass (``beta``, ``objective``, ``learning_rate``,
        ``batch_size``, ``clip_norm``, ``corruption``, ``precision``, ``n_jobs``, ...). Changes of the network or the
        optimiser need a new ``fit``. Schedules count a pass as an epoch. The order is not shuffled, there is no
        validation, no early stopping, and callbacks are not called: ``fit`` with ``warm_start=True`` has all of these.
        """
        with ranks.joined(self, "partial_fit", classes=classes):
            self._require_training("partial_fit")
            plan = self._plan()
            if classes is not None and not (self._conditional() if self._fitted is None else self._is_conditional()):
                raise ValueError(f"leave out classes=: this {type(self).__name__} is not conditional")
            X = streamed.opened(self, X)
            with Turn(self, fits=False):
                if isinstance(X, (Source, Batches)):
                    if eps is not None or corrupted is not None:
                        raise ValueError(
                            "leave out eps= and corrupted=: they are for an X in memory, and X is read in blocks"
                        )
                    data, noise, replacement = streamed.pass_over(self, X, y, sample_weight, classes), None, None
                    fitted = self._require_fitted()
                elif self._fitted is None:
                    X, y, form = self._read_first(X, y)
                    classes, y = self._read_training_conditions(y, len(X), form, classes)
                    if self._ranks is not None:
                        ranks.agree_on_data(self._ranks, Data(X, y, sample_weight), None, form, classes)
                    noise, replacement = self._read_noise(eps, len(X)), self._read_corrupted(corrupted, X.shape, form)
                    fitted = self._new_model(X.shape[1], self._count_conditions(y), classes, form)
                    plan.objective.check(fitted.specification)
                    self._check_values(fitted, X, plan.threads)
                    data = Data(X, y, weights.read(sample_weight, len(X)))
                    self._team = self._team_of(data, None)
                    self._initialize_weights(fitted, data, weights.rows_in_use(data.weights, None, "X"))
                    self._set_fitted(fitted)
                else:
                    fitted = self._fitted
                    if classes is not None:
                        conditions.check_classes(classes, fitted.classes)
                    data = self._read_training_data(X, self._y_if_conditional(y), sample_weight)
                    X = data.X
                    if self._ranks is not None:
                        self._ranks.require_same({"presences of sample_weight": data.weights is not None})
                    self._team = self._team_of(data, None)
                    noise, replacement = self._read_noise(eps, len(X)), self._read_corrupted(corrupted, X.shape)
                    fitted.set_precision(precision.check(self.precision))  # after all that may refuse
                if self._is_first_rank():
                    precision.warn_if_slow(fitted.specification.precision)
                losses = train.train_epoch(
                    fitted,
                    self._record,
                    data,
                    None,
                    replace(plan, team=self._team),
                    self._name_losses,
                    eps=noise,
                    corrupted=replacement,
                    shuffle=False,
                )
                self._record.add(losses)
        return self

    def loss_and_gradients(
        self, X: Any, eps: Any = None, *, corrupted: Any = None, y: Any = None, sample_weight: Any = None
    ) -> tuple[dict[str, float], dict[str, NDArray[np.float32]]]:
        """Return the training losses of X as one batch, and the gradients of the loss.

        Parameters
        ----------
        X : array_like, [n_examples, n_features]
        eps : array_like, [n_examples, latent_dim], optional
            Noise, shaped as for ``partial_fit``. Default: the noise of ``score_samples``.
        corrupted : array_like, [n_examples, n_features], optional
            The encoder's input, as for ``partial_fit``. Default: X with ``corruption``, whose noise has the same key as
            the noise of ``score_samples``.
        y : array_like, optional
            Required by a conditional model, as in ``fit``.
        sample_weight : array_like, [n_examples], optional
            Weights as in ``fit``: all means over the batch are sum w_i loss_i / sum w_i.

        Returns
        -------
        losses : dict of str to float
            Means over the batch, with the keys of ``history_``, in nats per example.
        gradients : dict of str to ndarray of float32
            Gradients of "loss", with the names and shapes of ``state_dict()``.

        Raises
        ------
        ValueError, TypeError
            As from ``fit``.

        Notes
        -----
        ``corruption`` and ``binarize`` apply here, as in training, and do not apply in ``evaluate``; with them the two
        losses differ. ``binarize="bernoulli"`` uses the draw of validation data, which depends on the model's seed and
        the row, and which no epoch of training uses.
        """
        self._require_training("loss_and_gradients")
        plan, objective = self._plan(), self._current_objective()
        fitted, data = self._require_fitted(), self._read_training_data(X, y, sample_weight)
        objective.check(fitted.specification)
        losses, gradients = fitted.loss_and_gradients(
            data,
            plan.threads,
            eps=self._read_noise(eps, len(data.X)),
            corrupted=self._read_corrupted(corrupted, data.X.shape),
            objective=objective.for_core(),
            corruption=plan.corruption,
            binarize=plan.binarize,
            prior=composite.arrays(fitted, data, objective.prior, plan.threads),
        )
        return self._name_losses(*losses), gradients

    def apply_gradients(self, grads: Mapping[str, Any]) -> Self:
        """Take one optimiser step with given gradients; same bits as the fused step of ``partial_fit``.

        Running statistics of batch normalisation, which have no gradients, do not change.

        Parameters
        ----------
        grads : mapping of str to array_like
            Names and shapes as from ``loss_and_gradients``. They are not clipped.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If names or shapes do not match, or a gradient is not finite in float32. The model is then unchanged.
        """
        self._require_training("apply_gradients")
        fitted = self._require_fitted()
        next_step = schedules.Steps(fitted.engine.steps, fitted.position[1], 1)
        rate = schedules.values(self._learning_rate(), "learning_rate", next_step)
        fitted.apply_gradients(grads, float(rate[0]), self._threads())
        return self

    # Internal

    def _require_training(self, what: str) -> None:
        """Raise ValueError if the model is quantised, for inference only; `what` is a method."""
        if self._fitted is not None:
            self._fitted.require_training(what)

    # Internal: overridden by subclasses

    def _objective(self) -> Objective:
        """Return the loss, checked."""
        raise NotImplementedError

    def _name_losses(self, reconstruction: float, kl: float, loss: float) -> dict[str, float]:
        """Return the losses with their keys in the history."""
        raise NotImplementedError

    def _corruption(self) -> Any:
        """Return the noise on the encoder's input, an object of :mod:`fastvae.corruption`, or None."""
        return None

    def _counts(self) -> bool:
        """Whether the likelihood for a new ``fit`` is one of counts."""
        return False

    def _requires_positive(self) -> bool:
        try:
            return self._counts()
        except ValueError:  # of a bad parameter, which is an error of `fit`, not of tags
            return False

    def _binarize(self) -> str | None:
        """Return the parameter ``binarize``, checked."""
        return None

    def _initial_weights(
        self, fitted: FittedModel, X: Any, rows: NDArray[np.uint64] | None
    ) -> dict[str, NDArray[np.float32]] | None:
        """Return initial weights computed from the training rows of X (None: all); None for the level of the data."""
        return None

    def _problems(self, fitted: FittedModel, data: Data, rows: NDArray[np.uint64] | None) -> Sequence[str]:
        """Return sentences about the problems of the model that ``fit`` has trained on rows of X (None: all)."""
        return ()

    def _finish(self, fitted: FittedModel, data: Data, rows: NDArray[np.uint64] | None) -> None:
        """Add to the fitted model what is computed once, after training."""

    def _collapse(self, fitted: FittedModel, kl: float) -> Sequence[str]:
        """Return a sentence if the codes do not depend on the data; `kl` is that of some training examples."""
        return ()

    def _read_noise(self, eps: Any, n: int) -> NDArray[np.float32] | None:
        """Return the noise of the reparameterisation given by the caller, [n (times samples), latent_dim]."""
        raise NotImplementedError

    # Internal: parameters

    def _check_parameters(self) -> None:
        self._plan()
        self._fit_settings()
        Callbacks(self.callbacks)
        _checks.boolean(self.warm_start, "warm_start")
        _checks.check_seed(self.random_state)
        chosen = self._condition_columns()
        if chosen is not None:
            columns.count(chosen)
        self._check_specification()

    def _plan(self) -> Plan:
        """Return the settings of one pass of training, checked."""
        clip, noise = self.clip_norm, self._corruption()
        return Plan(
            _checks.integer(self.batch_size, "batch_size"),
            self._objective(),
            self._learning_rate(),
            None if clip is None else _checks.number(clip, "clip_norm", least=1e-12, below=1e30),
            None if noise is None else corruption.resolve(noise, counts=self._rescales_masking()),
            self._binarize(),
            self._threads(),
            _checks.choice(self.nan_policy, "nan_policy", ("raise", "skip")) == "skip",
            team=self._team,
        )

    def _rescales_masking(self) -> bool:
        """Whether ``MaskingNoise(rescale=None)`` rescales."""
        return self._counts() if self._fitted is None else self._fitted.rescales_masking

    def _fit_settings(self) -> FitSettings:
        """Return the settings of ``fit``, checked."""
        return FitSettings(
            self._epochs(),
            _checks.number(self.validation_fraction, "validation_fraction", 0.0, 1.0),
            _checks.boolean(self.early_stopping, "early_stopping"),
            _checks.integer(self.n_iter_no_change, "n_iter_no_change"),
            _checks.number(self.tol, "tol"),
            progress.check(self.progress),
        )

    def _epochs(self) -> int | Budget:
        """Return the parameter ``epochs``, checked; a budget for "auto"."""
        if self._BUDGET is None or not isinstance(self.epochs, str):
            return _checks.integer(self.epochs, "epochs")
        if self.epochs != AUTO:
            raise ValueError(f'epochs={self.epochs!r} must be an integer or "auto"')
        return self._BUDGET

    def _learning_rate(self) -> schedules.Value:
        rate = schedules.check(self.learning_rate, "learning_rate", below=1e6)
        if isinstance(rate, float) and rate < np.finfo(np.float32).tiny:
            raise ValueError(f"learning_rate={rate!r} would not train: it is zero in float32")
        return rate

    def _current_objective(self) -> Objective:
        """Return the loss at the last step, or at the first one before training."""
        return self._objective().at(*self._require_fitted().position)

    # Internal: data

    def _check_unchanged(self, fitted: FittedModel) -> None:
        """Raise ValueError if parameters now describe another network or optimiser than that of the fitted model."""
        now, then = (
            {name: value for name, value in specification.options.items() if name not in _MAY_DIFFER}
            for specification in (
                self._specification(fitted.n_features, fitted.specification.conditions).completed(),
                fitted.specification,
            )
        )
        changed = sorted(name for name in now | then if now.get(name) != then.get(name))
        if changed:
            raise ValueError(
                f"warm_start=True goes on with the fitted network and optimiser, but parameters have changed "
                f"({', '.join(changed)}): set them back, or fit with warm_start=False"
            )

    def _check_values(self, fitted: FittedModel, X: Examples, threads: int | None) -> None:
        """Raise ValueError if the X of a new fit has a value that the likelihood refuses; warn of doubtful ones."""
        fitted.engine.check(X, "X", threads)
        if fitted.specification.documents:
            examples.warn_of_fractions(X, fitted.specification.likelihood["kind"].replace("_", " "))

    def _initialize_weights(self, fitted: FittedModel, data: Data, rows: NDArray[np.uint64] | None) -> None:
        """Move the random weights of a new model to the level of the training rows of X and y (None: all)."""
        X, y, _ = data
        if y is not None and fitted.classes is None:
            fitted.standardize_y(y, rows)
        initial = self._initial_weights(fitted, X, rows)
        if initial is None:
            moments = fitted.engine.column_moments(X, rows, self._binarize(), self._threads())
            if self._ranks is not None:
                moments = ranks.all_moments(self._ranks, moments)
            if self._is_first_rank():
                grey = fitted.images is not None or fitted.scale.divisor != 1
                units.warn(moments, fitted.specification, fitted.feature_names, grey=grey)
                units.warn_of_tiny_values(X, moments, fitted.specification)
                if fitted.images is not None:
                    images.warn_of_channels_first(fitted.images)
            fitted.start(moments)
        initial = (initial or {}) | input_level.weights(fitted, X, rows)
        if initial:
            fitted.load_state_dict(fitted.state_dict() | initial)
        if self._ranks is not None:
            ranks.adopt_first(self._ranks, fitted)

    def _read_training_data(self, X: Any, y: Any, sample_weight: Any) -> Data:
        """Return data with checked values too: a training step must not start with invalid ones."""
        X, y = self._read_data(X, y)
        self._require_fitted().require_sizes(y)
        self._require_fitted().engine.check(X, "X", self._threads())
        return Data(X, y, weights.read(sample_weight, len(X)))

    def _read_training_conditions(
        self, y: Any, n: int, format: Format, announced: Any = None
    ) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
        """Return the classes of y (None for covariates) and y as the engine reads it; None twice if not conditional.

        `announced` are the classes of later calls too.
        """
        if not self._conditional():
            return None, None
        name = "y" if format.columns is None else f"{format.columns.title} of X"
        classes = conditions.classes_of(y, announced, name)
        if self._ranks is not None and announced is None and classes is not None:
            classes = ranks.all_classes(self._ranks, classes)
        return classes, conditions.read(y, n, classes, None, name=name)

    def _count_conditions(self, y: NDArray[Any] | None) -> int:
        """Return the number of conditions in y as the engine reads it."""
        return 0 if y is None else y.shape[1]

    def _read_corrupted(self, corrupted: Any, shape: tuple[int, int], format: Format | None = None) -> Examples | None:
        """Return the encoder's input given by the caller; `format` is that of the X of a new fit."""
        if corrupted is None:
            return None
        name, spec = "corrupted", self._current_specification(shape[1], fitted=format is None)
        if format is None:
            read = self._read_examples(corrupted, name)
        else:
            read = self._read_alike(corrupted, name, shape[1], format)
        read = examples.floats(read, name, counts=spec.counts) if isinstance(read, np.ndarray) else read
        examples.check_encoder_input(read, name, shape, spec.input_transform, allow_nan=spec.missing != "error")
        return read

    def _validation_data(
        self, data: Any, fraction: float, training: Data, format: Format, classes: NDArray[Any] | None
    ) -> Data | None:
        if data is None:
            return None
        if fraction:
            raise ValueError("pass validation_data or validation_fraction, not both")
        (X, y, _), columns = training, format.columns
        if y is not None and columns is None and not (isinstance(data, tuple) and len(data) == 2):
            raise ValueError("validation_data of a conditional model must be a tuple (X, y)")
        name = "validation_data"
        if isinstance(data, tuple) and len(data) != 2:
            raise ValueError(f"validation_data is a tuple of {len(data)} items; expected X, or a tuple (X, y)")
        given = data[0] if isinstance(data, tuple) else data
        if columns is not None:
            given = examples.whole(given)
        first = self._read_alike(given, name, X.shape[1], format)
        if y is None:
            return Data(first)
        if columns is None:
            return Data(first, conditions.read(data[1], len(first), classes, y.shape[1]))
        held_out = columns.values(given, name, type(self).__name__, labels=classes is not None)
        title = f"{columns.title} of {name}"
        return Data(first, conditions.read(held_out, len(first), classes, y.shape[1], name=title))
