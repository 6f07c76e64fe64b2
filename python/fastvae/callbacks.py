"""Callbacks for ``fit``: loggers, checkpoints of the best and the last model, TensorBoard.

>>> import fastvae
>>> from fastvae.callbacks import CSVLogger
>>> X, y = fastvae.datasets.load_digits()
>>> vae = fastvae.VAE(epochs=3, callbacks=[CSVLogger("log.csv")]).fit(X)

A callback is a function f(model, logs), called after each epoch, or an object with methods ``on_train_begin(model)``,
``on_epoch_end(model, logs)`` and ``on_train_end(model)``, of which it may lack some. ``logs`` is a dict of the epoch's
losses, the keys of ``history_``; ``logs.epoch`` is the number of the epoch, from 1. Training stops if a call after an
epoch returns True. ``on_train_end`` is called after errors and Ctrl-C too. With ``state_dict()`` and
``load_state_dict(state)`` a callback has a state in checkpoints.

Early stopping, schedules and the treatment of NaN are parameters of the estimators: ``early_stopping``,
``learning_rate=fastvae.schedules...`` and ``nan_policy``.
"""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastvae import _checks

if TYPE_CHECKING:
    from fastvae._training.logs import Logs

__all__ = ["CSVLogger", "Callback", "JSONLLogger", "LambdaCallback", "ModelCheckpoint", "TensorBoard"]


class Callback:
    """A base class whose methods do nothing; callbacks need not derive from it."""

    def on_train_begin(self, model: Any) -> None:
        """Called before the first epoch of a fit.

        Parameters
        ----------
        model : estimator
            It is fitted, with the weights before training.
        """

    def on_epoch_end(self, model: Any, logs: Logs) -> bool | None:
        """Called after each epoch.

        Parameters
        ----------
        model : estimator
            It is fitted, with the weights after the epoch.
        logs : dict of str to float
            The losses of the epoch, with the keys of ``history_``, and its number ``logs.epoch``.

        Returns
        -------
        bool or None
            True stops training.
        """
        return None

    def on_train_end(self, model: Any) -> None:
        """Called at the end of a fit, also after an error or Ctrl-C.

        Parameters
        ----------
        model : estimator
            With ``early_stopping`` it has the best weights, except after Ctrl-C.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint.

        Returns
        -------
        dict
            Of numbers, strings, lists and dicts.
        """
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state from a checkpoint.

        Parameters
        ----------
        state : dict
            As from ``state_dict``.
        """


class LambdaCallback(Callback):
    """A callback made of functions.

    Parameters
    ----------
    on_epoch_end : callable, optional
        Called with (model, logs) after each epoch; training stops if it returns True.
    on_train_begin, on_train_end : callable, optional
        Called with the model before the first epoch and at the end.
    """

    def __init__(
        self,
        on_epoch_end: Callable[[Any, Logs], Any] | None = None,
        *,
        on_train_begin: Callable[[Any], Any] | None = None,
        on_train_end: Callable[[Any], Any] | None = None,
    ) -> None:
        functions: dict[str, Any] = {
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
        }
        for name, function in functions.items():
            if function is not None and not callable(function):
                raise ValueError(f"{name}={function!r} must be a function")
        self._functions = functions

    def on_train_begin(self, model: Any) -> None:
        if (function := self._functions["on_train_begin"]) is not None:
            function(model)

    def on_epoch_end(self, model: Any, logs: Logs) -> Any:
        function = self._functions["on_epoch_end"]
        return None if function is None else function(model, logs)

    def on_train_end(self, model: Any) -> None:
        if (function := self._functions["on_train_end"]) is not None:
            function(model)


class _Log(Callback):
    """A text file with one line for each epoch of the model, complete after each epoch."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = _path(path, "path")
        self._seconds: dict[int, float] = {}  # elapsed_ after each epoch
        self._keys: list[str] = []  # of the file
        self._failed = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r})"

    def on_train_begin(self, model: Any) -> None:
        self._failed = False
        self._seconds = {epoch: seconds for epoch, seconds in self._seconds.items() if epoch <= model.n_iter_}
        self._write_all(model)

    def on_epoch_end(self, model: Any, logs: Logs) -> None:
        self._seconds[logs.epoch] = model.elapsed_
        try:
            if list(model.history_) != self._keys or self._failed:
                self._write_all(model)
            else:
                with open(self.path, "a", encoding="utf-8", newline="") as file:
                    file.write(self._line(logs.epoch, logs))
            self._failed = False
        except OSError as error:
            if not self._failed:
                self._failed = True
                _checks.warn(f"{self!r} cannot write: {error}. Training goes on.")

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": list(self._seconds.items())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._seconds = {int(epoch): float(seconds) for epoch, seconds in state["seconds"]}

    def _write_all(self, model: Any) -> None:
        history = model.history_
        self._keys = list(history)
        with open(self.path, "w", encoding="utf-8", newline="") as file:
            file.write(self._header())
            for i in range(model.n_iter_):
                file.write(self._line(i + 1, {key: values[i] for key, values in history.items()}))

    def _header(self) -> str:
        return ""

    def _line(self, epoch: int, losses: dict[str, float]) -> str:
        raise NotImplementedError


class CSVLogger(_Log):
    """Writes ``epoch``, ``seconds`` and the losses of each epoch to a CSV file.

    Parameters
    ----------
    path : str or path-like
        The file. A new fit replaces it; when training goes on (``warm_start``, :func:`fastvae.resume`) it keeps the
        epochs before, each once.

    Raises
    ------
    OSError
        From ``fit``, before training, if the file cannot be written. Later failures are one warning.

    Notes
    -----
    ``seconds`` is ``elapsed_``, the time spent in training up to the end of the epoch; it is empty for epochs that this
    object has not seen. Losses that were not computed are ``nan``. The file is closed between two epochs.
    """

    def _header(self) -> str:
        return ",".join(["epoch", "seconds", *self._keys]) + "\n"

    def _line(self, epoch: int, losses: dict[str, float]) -> str:
        seconds = self._seconds.get(epoch)
        values = [repr(float(losses.get(key, math.nan))) for key in self._keys]
        return ",".join([str(epoch), "" if seconds is None else f"{seconds:.6f}", *values]) + "\n"


class JSONLLogger(_Log):
    """Writes a JSON object with ``epoch``, ``seconds`` and the losses of each epoch to a line of a file.

    Parameters
    ----------
    path : str or path-like
        As for :class:`CSVLogger`.

    Notes
    -----
    Numbers that JSON does not have (NaN) are null.
    """

    def _line(self, epoch: int, losses: dict[str, float]) -> str:
        seconds = self._seconds.get(epoch)
        row = {"epoch": epoch, "seconds": None if seconds is None else round(seconds, 6)}
        values = {key: float(losses.get(key, math.nan)) for key in self._keys}
        return json.dumps(row | {key: v if math.isfinite(v) else None for key, v in values.items()}) + "\n"


class ModelCheckpoint(Callback):
    """Saves the best model, and the last one, as files for :func:`fastvae.load`.

    To go on with a fit that was killed, pass ``checkpoint=`` to ``fit`` and use :func:`fastvae.resume`: that file holds
    the state of the fit too.

    Parameters
    ----------
    best : str, path-like or None
        File of the model with the best ``monitor`` so far. It is replaced atomically.
    last : str, path-like or None
        File of the model after the latest epoch, and at the end of ``fit`` of the model that ``fit`` returns.
    monitor : str or None
        Key of the losses that decides. None is "val_loss" with validation data, else "loss".
    mode : {"min", "max"} or None
        Whether less or more is better. None is "max" for "elbo" and "val_elbo", else "min".
    every : int
        Epochs between two files of the last model.
    optimizer : bool
        As for :meth:`fastvae.VAE.save`.

    Attributes
    ----------
    best_ : float or None
        The best value so far.
    best_epoch_ : int or None
        Its epoch.

    Raises
    ------
    ValueError
        If neither ``best`` nor ``last`` is given, or an option is bad; from ``fit``, after the first epoch, if
        ``monitor`` is not one of the losses.
    OSError
        From ``fit``, before training if a folder does not exist or is not writable, or a path is no file; later if the
        first file cannot be written. Failures after it are one warning.
    """

    def __init__(
        self,
        best: str | os.PathLike[str] | None = None,
        *,
        last: str | os.PathLike[str] | None = None,
        monitor: str | None = None,
        mode: str | None = None,
        every: int = 1,
        optimizer: bool = True,
    ) -> None:
        if best is None and last is None:
            raise ValueError("ModelCheckpoint needs best= or last=, the path of a file")
        self.best = None if best is None else _path(best, "best")
        self.last = None if last is None else _path(last, "last")
        if self.best is not None and self.last is not None and _same_file(self.best, self.last):
            raise ValueError(f"best= and last= are the same file, {self.best!r}")
        self.monitor = monitor
        self.mode = None if mode is None else _checks.choice(mode, "mode", ("min", "max"))
        self.every = _checks.integer(every, "every")
        self.optimizer = _checks.boolean(optimizer, "optimizer")
        self.best_: float | None = None
        self.best_epoch_: int | None = None
        self._written, self._failed = set[str](), False

    def __repr__(self) -> str:
        shown = {"best": self.best, "last": self.last, "monitor": self.monitor, "mode": self.mode}
        return f"ModelCheckpoint({', '.join(f'{key}={value!r}' for key, value in shown.items() if value is not None)})"

    def on_train_begin(self, model: Any) -> None:
        if model.n_iter_ == 0:
            self.best_ = self.best_epoch_ = None
        self._written, self._failed = set(), False
        for path in (self.best, self.last):
            if path is not None:
                _check_writable(path)

    def on_epoch_end(self, model: Any, logs: Logs) -> None:
        monitor = self.monitor or ("val_loss" if "val_loss" in logs else "loss")
        if monitor not in logs:
            raise ValueError(f"monitor={monitor!r} is none of the losses: use one of {', '.join(map(repr, logs))}")
        sign = -1.0 if (self.mode or ("max" if monitor.endswith("elbo") else "min")) == "max" else 1.0
        value = logs[monitor]
        better = not math.isnan(value) and (self.best_ is None or sign * value < sign * self.best_)
        if better:
            self.best_, self.best_epoch_ = value, logs.epoch
            self._save(model, self.best)
        if logs.epoch % self.every == 0:
            self._save(model, self.last)

    def on_train_end(self, model: Any) -> None:
        if model.n_iter_:
            self._save(model, self.last)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best_, "best_epoch": self.best_epoch_}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best_, self.best_epoch_ = state["best"], state["best_epoch"]

    def _save(self, model: Any, path: str | None) -> None:
        if path is None:
            return
        try:
            model.save(path, optimizer=self.optimizer)
            self._written.add(path)
            self._failed = False
        except OSError as error:
            if path not in self._written:
                raise
            if not self._failed:
                self._failed = True
                _checks.warn(f"{self!r} cannot write {path!r}: {error}. Training goes on.")


class TensorBoard(Callback):
    """Writes the losses for TensorBoard, with the epoch as the step: ``loss/train``, ``loss/val``, ``kl/train``, ...

    It needs the package tensorboardX, or torch with tensorboard.

    Parameters
    ----------
    log_dir : str or path-like
        Folder of this run. When training goes on, TensorBoard hides what the folder has of later epochs.

    Raises
    ------
    ImportError
        From ``fit``, if neither package is installed.
    """

    def __init__(self, log_dir: str | os.PathLike[str] = "runs") -> None:
        self.log_dir = _path(log_dir, "log_dir")
        self._writer: Any = None

    def __repr__(self) -> str:
        return f"TensorBoard({self.log_dir!r})"

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_writer": None}  # a copy made during a fit opens its own

    def on_train_begin(self, model: Any) -> None:
        self._writer = _summary_writer()(self.log_dir, purge_step=model.n_iter_ + 1)

    def on_epoch_end(self, model: Any, logs: Logs) -> None:
        for key, value in logs.items():
            name, kind = (key.removeprefix("val_"), "val") if key.startswith("val_") else (key, "train")
            self._writer.add_scalar(f"{name}/{kind}", value, logs.epoch)
        self._writer.add_scalar("seconds", model.elapsed_, logs.epoch)

    def on_train_end(self, model: Any) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()


def _summary_writer() -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ImportError(
                "TensorBoard needs tensorboardX, or torch with tensorboard: pip install tensorboardX"
            ) from error
    return SummaryWriter


def _check_writable(path: str) -> None:
    """Raise OSError unless a file can be written to a path, for all that is known before writing it."""
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, "the folder does not exist", folder)
    if not os.access(folder, os.W_OK):
        raise PermissionError(errno.EACCES, "the folder is not writable", folder)
    if os.path.exists(path) and not os.path.isfile(path):
        raise OSError(errno.EINVAL, "it is no regular file: name a file", path)


def _same_file(one: str, two: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(two)


def _path(value: Any, name: str) -> str:
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value) or "\0" in os.fsdecode(value):
        raise ValueError(f"{name}={value!r} must be the path of a file")
    return os.fsdecode(value)
