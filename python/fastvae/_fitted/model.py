"""The fitted model: an engine, its specification and the classes of y; arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _checks, _core
from fastvae._data import arrays, conditions
from fastvae._data.columns import Columns
from fastvae._data.images import Images
from fastvae._data.scale import UNSCALED, UNTRAINED, VERSION_0_1, InputScale
from fastvae._fitted import output
from fastvae._fitted.files import checked_names, decode_classes, encode_classes, with_keys
from fastvae._fitted.specification import STANDARDIZE, Specification
from fastvae._fitted.uncertainty import LogMarginal, Predictive

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._data.examples import Data, Examples
    from fastvae._data.names import Names

# Tensors by name, with their shapes.
_Shapes = list[tuple[str, list[int]]]

# An objective as the core takes it: weights of the reconstruction and of the KL, free bits, capacity, number of draws,
# whether their gradient is doubly reparameterised.
Terms = tuple[float, float, float, float | None, int, bool]


class FittedModel:
    """A network with its weights and the state of its training.

    X and y must be validated by :mod:`fastvae._data` (type and shape); the engine checks the values of X when it uses
    them. `threads` is None or a number of threads; results do not depend on it.

    Parameters
    ----------
    engine : Engine or Specification
        An engine, or a specification with a seed, from which one is built.
    classes : ndarray, [n_classes], optional
        Sorted unique labels of y, for a conditional model fitted with labels.
    """

    def __init__(self, engine: _core.Engine | Specification, classes: NDArray[Any] | None = None) -> None:
        self.engine = _core.Engine(engine.to_json()) if isinstance(engine, Specification) else engine
        self.specification = Specification.of(self.engine)
        self.classes = classes
        self.position = (0, 0.0)  # number of the last training step, and epochs before it
        # What MaskingNoise(rescale=None) means.
        self.rescales_masking = self.specification.counts and not self.specification.mixed
        self.set_input(UNSCALED if self.specification.counts else UNTRAINED, None)
        image_shape = self.specification.image_shape
        self.images = None if image_shape is None else Images(*image_shape)  # the layout of images in X
        # Parameters of an exam's tasks that the decoder does not hold, by name; None: it holds all.
        self.item_parameters: dict[str, NDArray[np.float64]] | None = None
        self.form: tuple[int, ...] | None = None  # the shape of an example of the training X; None: all axes
        self.table: Any = None  # the schema of a table of mixed columns (fastvae._tables), of a TabularVAE
        self.popularity: NDArray[np.int64] | None = None  # users of each item, of a recommender

    @property
    def n_features(self) -> int:
        """Number of columns of X that are encoded and decoded."""
        return self.specification.n_features

    @property
    def n_columns(self) -> int:
        """Number of columns of X, condition columns included."""
        return self.n_features if self.columns is None else self.columns.total

    @property
    def latent_dim(self) -> int:
        """Number of latent dimensions."""
        return self.specification.latent_dim

    def start(self, moments: _core.ColumnMoments) -> None:
        """Move the random weights of a new model to the level of training data with these moments."""
        specification = self.engine.standardized(moments)
        if specification is not None:
            self._build(specification)
        self.engine.start(moments)

    def adopt(self, specification: str, values: NDArray[np.float32]) -> None:
        """Give a new model a specification and all its parameters, one behind another, as another rank has them."""
        if specification != self.engine.specification:
            self._build(specification)
        parts, place = [], 0
        for _, shape in self.engine.shapes():
            size = int(np.prod(shape, dtype=np.int64))
            parts.append(np.ascontiguousarray(values[place : place + size]))
            place += size
        self.engine.set_parameters(parts)

    def standardize_y(self, y: NDArray[Any], rows: NDArray[np.uint64] | None) -> None:
        """Give a new model the standardisation for covariates y of the training rows (None: all), if they need one."""
        if self.specification.conditions == 0:
            return
        specification = self.engine.standardized_y(y[:, : self.specification.conditions], rows)
        if specification is not None:
            self._build(specification)

    def set_size_unit(self, unit: float) -> None:
        """Give a new model the number of counts in a given size of 1."""
        self._build(self.specification.with_size_unit(unit).to_json())

    def set_seed_words(self, seeds: list[dict[str, Any]]) -> None:
        """Give a new topic model seed words: "topic", "word" and "count" of each."""
        self._build(self.specification.seeded_words(seeds).to_json())

    def _build(self, specification: str) -> None:
        """Replace the engine of a new model by one with another specification."""
        self.engine = _core.Engine(specification)
        self.specification = Specification.of(self.engine)

    def set_precision(self, precision: str) -> None:
        """Set the operands of matrix products. Weights, moments and counters stay the same."""
        if precision != self.specification.precision:
            self.engine = self.engine.with_precision(precision)
            self.specification = Specification.of(self.engine)

    def set_position(self, position: Any) -> None:
        """Set the position of a training from a file, or raise ValueError."""
        step, epochs = position
        self.position = (
            _checks.integer(step, "the last step", least=0, most=self.engine.steps),
            _checks.number(epochs, "the epochs before the last step", below=1e15),
        )

    @property
    def feature_names(self) -> Names:
        """Names of the columns of X that are encoded and decoded, or None."""
        return self.names if self.names is None or self.columns is None else np.delete(self.names, self.columns.indices)

    def set_input(self, scale: InputScale, names: Names, columns: Columns | None = None) -> None:
        """Set the scale of integers in X, the names of its columns, and those that are the condition."""
        if columns is not None and columns.total - len(columns.indices) != self.n_features:
            raise ValueError(f"{columns.title} of {columns.total} do not leave {self.n_features} features")
        self.scale, self.names, self.columns = scale, names, columns
        whole = names is None and columns is None
        self.unchanged = scale.unchanged(counts=self.specification.counts) if whole else ()

    def takes(self, X: NDArray[Any]) -> bool:
        """Whether the engine reads an array as it is: a table of the right size and type, without names."""
        table = X.ndim == 2 and X.shape[1] == self.n_features and len(X) > 0 and self.images is None
        return table and X.dtype in self.unchanged

    # Images

    def set_images(self, images: Images | None, form: Sequence[int] | None) -> None:
        """Set the layout of images and the shape of an example of the training X, or raise ValueError."""
        shape = None if images is None else images.shape
        if shape != self.specification.image_shape:
            raise ValueError(f"images of {shape} do not fit a model of {self.specification.image_shape}")
        if images is not None and form is not None and tuple(form) not in images.forms:
            raise ValueError(f"examples of shape {tuple(form)} are not images of {shape}")
        self.images, self.form = images, None if images is None or form is None else tuple(form)

    def row_shape(self, X: Any = None) -> tuple[int, ...]:
        """Return the shape that :meth:`shaped` gives an example."""
        if self.images is None:
            return (self.n_features,)
        form = self.form if X is None or self.columns is not None else np.shape(X)[1:]
        return tuple(form or self.images.forms[0])

    def shaped(self, rows: NDArray[np.float32], X: Any = None) -> NDArray[np.float32]:
        """Return rows [..., n_features] with examples in the shape that they have in X (None: the training X)."""
        return rows if self.images is None else self.images.restore(rows, self.row_shape(X))

    def output(
        self, out: Any, shape: tuple[int, ...], read: dict[str, Any]
    ) -> tuple[NDArray[Any] | None, NDArray[np.float32] | None]:
        """Return `out`, checked, and it as the engine writes results [n, columns]; None for what does not apply.

        The engine cannot write images with the channels first: their results are copied.
        """
        found = output.check(out, shape, read)
        direct = found is not None and not (self.images is not None and self.images.channels_first and len(shape) > 1)
        return found, found.reshape(len(found), -1) if found is not None and direct else None

    def set_popularity(self, counts: Any) -> None:
        """Set the number of users of each item from a file, or raise ValueError."""
        if (
            not isinstance(counts, list)
            or len(counts) != self.n_features
            or not all(type(count) is int and 0 <= count < 2**53 for count in counts)
        ):
            raise ValueError(f"the popularity must be {self.n_features} numbers of users")
        self.popularity = np.array(counts, np.int64)

    # Conditions

    def read_conditions(self, y: Any, n: int, owner: str, *, one: bool = False, name: str = "y") -> NDArray[Any] | None:
        """Return y of `n` examples as the engine reads it; with `one`, a single row may stand for all.

        Raises ValueError if a conditional model lacks y or another model is given one; `owner` is the name of its
        class, `name` that of y in messages.
        """
        columns = self.specification.conditions
        if (y is None) == (columns == 0):
            return None if y is None else conditions.read(y, n, self.classes, columns, one, name)
        if columns == 0:
            raise ValueError(f"leave out y=: this {owner} is not conditional")
        remedy = "" if self.columns is not None else "; condition_columns= takes y from columns of X, as in a pipeline"
        raise ValueError(f"pass y=: this {owner} is conditional{remedy}")

    def require_decoder(self) -> None:
        """Raise ValueError if the decoder is not the model of the answers of an exam."""
        if self.item_parameters is not None:
            kind = "3pl" if "guessing" in self.item_parameters else "graded"
            raise ValueError(
                f"model={kind!r} has no decoder, so it has no bound, gradients, samples or export: use log_marginal, "
                "predict_proba, impute, item_probabilities or transform"
            )

    def require_sizes(self, y: NDArray[Any] | None) -> None:
        """Raise ValueError if the likelihood needs sizes of rows, and y has none."""
        specification = self.specification
        if specification.takes_sizes and (y is None or y.shape[1] == specification.conditions):
            raise ValueError('pass size_factor=: this model was fitted with size_factor="given", one size for each row')

    # Codes and means

    def encode(
        self,
        X: Examples,
        y: NDArray[Any] | None,
        threads: int | None,
        *,
        logvar: bool = True,
        out: NDArray[np.float32] | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return mu and log sigma² (empty without `logvar`), or codes and an empty array: [n_examples, latent_dim].

        Here and below `out` is None or a checked array, [n, columns], for the (first) result.
        """
        mu, second = self.engine.encode(X, y, logvar, threads, _flat(out))
        return mu.reshape(-1, self.latent_dim), second.reshape(-1, self.latent_dim)

    def mean_code(
        self,
        X: Examples,
        y: NDArray[Any] | None,
        points: NDArray[np.float32],
        threads: int | None,
        out: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Return mean codes on the simplex over the noise `points` [n_points, latent_dim]: [n_examples, latent_dim]."""
        return self.engine.mean_code(X, y, points, threads, _flat(out)).reshape(-1, self.latent_dim)

    def decode(
        self,
        Z: NDArray[Any],
        y: NDArray[Any] | None,
        threads: int | None,
        out: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Return E[x|z], [n, n_features], of codes Z [n, latent_dim]."""
        self.require_decoder()
        return self.engine.decode(Z, y, threads, _flat(out)).reshape(len(Z), -1)

    def reconstruct(
        self,
        X: Examples,
        y: NDArray[Any] | None,
        threads: int | None,
        out: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Return the decoder's means at the codes of X, [n_examples, n_features]."""
        self.require_decoder()
        self.require_sizes(y)
        return self.engine.reconstruct(X, y, threads, _flat(out)).reshape(len(X), -1)

    def best_items(
        self,
        X: Examples,
        n: int,
        allowed: NDArray[np.bool_] | None,
        new_only: bool,
        threads: int | None,
        bounds: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint32]] | None = None,
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return the n items with the largest logits at z = mu(x), and these, [n_examples, n]; -1 and -inf: no more.

        The items are those that are `allowed` (None: all); with `new_only`, those whose value in X is zero. `bounds` of
        the logits save work; results do not depend on them.
        """
        items, logits = self.engine.best_items(X, n, allowed, new_only, bounds, threads)
        return items.reshape(-1, n), logits.reshape(-1, n)

    # Losses

    def score(
        self,
        X: Examples,
        y: NDArray[Any] | None,
        threads: int | None,
        *,
        eps: NDArray[np.float32] | None = None,
        samples: int = 1,
    ) -> list[NDArray[np.float32]]:
        """Return -log p(x|z), KL and, with several samples, the bound of each example, [n_examples], nats."""
        self.require_decoder()
        self.require_sizes(y)
        return self.engine.score(X, y, eps, samples, threads)

    def mean_losses(
        self,
        data: Data,
        threads: int | None,
        objectives: list[Terms],
        *,
        rows: NDArray[np.uint64] | None = None,
        eps: NDArray[np.float32] | None = None,
        corruption: tuple[str, float] | None = None,
        binarize: str | None = None,
        balanced: bool = True,
        exchange: Any = None,
    ) -> tuple[float, float, list[float]]:
        """Return weighted means over the examples of -log p(x|z) and KL, and the loss by each objective, nats.

        `balanced`: log p has the weights of groups of columns, as in training. `exchange`: the other ranks, if the
        examples are a share of several.
        """
        self.require_decoder()
        self.require_sizes(data.y)
        return self.engine.mean_losses(*data, rows, eps, objectives, corruption, binarize, balanced, threads, exchange)

    def row_losses(
        self,
        X: Examples,
        y: NDArray[Any] | None,
        threads: int | None,
        objectives: list[Terms],
        *,
        eps: NDArray[np.float32] | None = None,
        balanced: bool = True,
    ) -> tuple[NDArray[np.float32], ...]:
        """Return the losses of each example of which :meth:`mean_of_losses` is the mean.

        They are -log p(x|z), KL and the bound, [n_examples] (or of one draw [n_examples, 0]), and the KL of each
        coordinate, [n_examples, latent_dim] (or without free bits [n_examples, 0]), nats.
        """
        self.require_decoder()
        self.require_sizes(y)
        n, samples = len(X), objectives[0][4]
        reconstruction, kl, bound = self.engine.score(X, y, eps, samples, threads, balanced)
        none = np.empty((n, 0), np.float32)
        free_bits = any(objective[2] > 0 for objective in objectives)
        by_coordinate = self.engine.kl(X, y, threads).reshape(n, -1) if free_bits else none
        return reconstruction, kl, bound if samples > 1 else none, by_coordinate

    def mean_of_losses(
        self, losses: Sequence[NDArray[np.float32]], weights: NDArray[np.float32] | None, objectives: list[Terms]
    ) -> tuple[float, float, list[float]]:
        """Return what :meth:`mean_losses` returns, from the losses of each example: the same bits."""
        *losses, kl = (np.ascontiguousarray(values).reshape(-1) for values in losses)
        return self.engine.mean_of_losses(losses, kl, weights, objectives)

    def log_marginal(self, X: Examples, y: NDArray[Any] | None, samples: int, threads: int | None) -> LogMarginal:
        """Estimate log p(x) of each example, in nats, by importance sampling with `samples` draws."""
        self.require_decoder()
        self.require_sizes(y)
        return LogMarginal(*self.engine.log_marginal(X, y, samples, threads))

    def conditional_mean(
        self, X: NDArray[Any], given: NDArray[Any], y: NDArray[Any] | None, samples: int, threads: int | None
    ) -> NDArray[np.float32]:
        """Return the mean of p(x'|x_obs), [n_examples, n_features], from `samples` weighted draws of q(z|given).

        `given` is X, or X with values in place of missing ones. Raises FloatingPointError if all weights are 0.
        """
        self.require_decoder()
        means, sizes = self.engine.conditional_mean(X, given, y, samples, threads)
        _check_weights(sizes)
        return means.reshape(len(X), -1)

    # Draws

    def conditional_sample(
        self,
        X: NDArray[Any],
        given: NDArray[Any],
        y: NDArray[Any] | None,
        samples: int,
        draws: int,
        seed: int,
        threads: int | None,
    ) -> NDArray[np.float32]:
        """Draw codes from p(z|x_obs), [draws, n_examples, latent_dim], by resampling as for ``conditional_mean``."""
        self.require_decoder()
        codes, sizes = self.engine.conditional_sample(X, given, y, samples, draws, seed, threads)
        _check_weights(sizes)
        return codes.reshape(draws, len(X), -1)

    def prior(self, n: int, seed: int, first: int = 0) -> NDArray[np.float32]:
        """Draw z from N(0, I), [n, latent_dim].

        Here and below `first` is the number of the first row: rows first .. first + n of a longer result are the same.
        """
        return self.engine.prior(n, seed, first).reshape(n, -1)

    def sample(
        self,
        Z: NDArray[Any],
        y: NDArray[Any] | None,
        lengths: NDArray[np.uint32] | None,
        seed: int,
        threads: int | None,
        first: int = 0,
    ) -> NDArray[np.float32]:
        """Draw x from p(x|z), [n, n_features]; a multinomial or a size factor needs `lengths`."""
        self.require_decoder()
        return self.engine.sample(Z, y, lengths, seed, threads, first).reshape(len(Z), -1)

    def posterior_sample(
        self, X: Examples, y: NDArray[Any] | None, n: int, seed: int, threads: int | None, first: int = 0
    ) -> NDArray[np.float32]:
        """Draw codes from q(z|x), [n, n_examples, latent_dim]."""
        drawn = self.engine.posterior_sample(X, y, n, seed, threads, first)
        return drawn.reshape(n, len(X), -1)

    def variable_log_prob(
        self, X: Examples, y: NDArray[Any] | None, n: int, seed: int, threads: int | None, first: int = 0
    ) -> NDArray[np.float32]:
        """Return the mean over n draws of z of log p(x_v|z) of each variable, [n_examples, n_variables], nats."""
        return self.engine.variable_log_prob(X, y, n, seed, threads, first).reshape(len(X), -1)

    def predictive(
        self, X: Examples, y: NDArray[Any] | None, n: int, seed: int, threads: int | None, first: int = 0
    ) -> Predictive:
        """Return mean and standard deviations of p(x'|x), from n draws of z."""
        self.require_decoder()
        self.require_sizes(y)
        moments = self.engine.predictive(X, y, n, seed, threads, first)
        return Predictive(*(moment.reshape(len(X), -1) for moment in moments))

    # Parameters and gradients

    def state_dict(self) -> dict[str, NDArray[np.float32]]:
        """Return copies of all parameters, with torch's names and shapes, and the standardisation, if any."""
        named = _shaped(self.engine.parameters(), self.engine.shapes())
        scaled = [name for name in named if f"{name}_scale" in named]  # integers of a quantised model
        return named | {name: named[name].astype(np.int8) for name in scaled} | self.specification.standardize

    def standardize_as(self, d: Any) -> None:
        """Give a new model the standardisation in a state dict, if any. Raises ValueError if it is invalid."""
        for option, keys in STANDARDIZE.items():
            if isinstance(d, Mapping) and any(name in d for name in keys):
                names = [(name, [self.specification.columns_of(option)]) for name in keys]
                shift, scale = _checked({name: d[name] for name in keys if name in d}, names, "the state dict")
                self._build(self.specification.standardized(option, shift, scale).to_json())

    def load_state_dict(self, d: Any) -> None:
        """Set all parameters. Raises ValueError, without any change, if they or the standardisation do not match."""
        if isinstance(d, Mapping):  # torch's counter of batches, which has no use here
            d = {name: value for name, value in d.items() if not str(name).endswith(".num_batches_tracked")}
            own = self.specification.standardize
            for names in STANDARDIZE.values():
                if not all(
                    (name in d) == (name in own) and (name not in own or np.array_equal(d[name], own[name]))
                    for name in names
                ):
                    raise ValueError(
                        f"the state dict's {' and '.join(map(repr, names))} are not this fitted model's, whose "
                        "weights belong to its own training data: load it into an unfitted model"
                    )
            d = {name: value for name, value in d.items() if name not in own}
        self.engine.set_parameters(_checked(d, self.engine.shapes(), "the state dict"))
        if self.table is not None:
            self.table.codes = None  # of other weights

    def flip_sign(self, dim: int) -> None:
        """Flip the sign of a latent dimension in encoder, decoder and the optimiser's state."""
        self.engine.flip_sign(dim)

    def loss_and_gradients(
        self,
        data: Data,
        threads: int | None,
        *,
        eps: NDArray[np.float32] | None,
        corrupted: Examples | None,
        objective: Terms,
        corruption: tuple[str, float] | None,
        binarize: str | None,
        prior: Any = None,
    ) -> tuple[tuple[float, float, float], dict[str, NDArray[np.float32]]]:
        """Return reconstruction, KL and loss of one batch, means over its examples, and the gradients of the loss.

        `prior` is a composite prior as the core takes it.
        """
        self.require_decoder()
        self.require_sizes(data.y)
        *losses, gradients = self.engine.loss_and_gradients(
            *data, eps, corrupted, objective, corruption, binarize, threads, prior
        )
        reconstruction, kl, loss = losses
        return (reconstruction, kl, loss), _shaped(gradients, self.engine.trained())

    def apply_gradients(self, gradients: Any, learning_rate: float, threads: int | None) -> None:
        """Take one step of the optimiser. Raises ValueError, without any change, if gradients do not match."""
        self.require_decoder()
        flat = _checked(gradients, self.engine.trained(), "the gradients")
        self.engine.apply_gradients(flat, learning_rate, threads)

    # Saving

    def dump(
        self,
        optimizer: bool = True,
        estimator: dict[str, Any] | None = None,
        history: Sequence[tuple[str, NDArray[np.float64]]] = (),
        *,
        best: bool = False,
    ) -> bytes:
        """Return the bytes of a model file; `optimizer` includes its state, `estimator` is stored as JSON.

        With `best`, for a checkpoint, the best weights of early stopping are included.
        """
        import json  # here only, so that `import fastvae` stays cheap

        return self.engine.dump(json.dumps(estimator, allow_nan=False), optimizer, list(history), best)

    def fingerprint(self, data: Data, rows: NDArray[np.uint64] | None = None) -> str:
        """Return a checksum of the values of X, y and weights, as the engine reads them."""
        return f"{self.engine.fingerprint(*data, rows):08x}"

    def quantized_file(self, precision: str) -> bytes:
        """Return the bytes of a file of the network with weights in int8 or bf16, without the estimator."""
        return self.engine.quantized(precision).dump("null", False)

    def require_training(self, what: str) -> None:
        """Raise ValueError if the model is quantised; `what` needs weights that it does not have."""
        if not self.specification.trains:
            raise ValueError(
                f"{what} needs weights in float32, but this model is quantised to {self.specification.precision}, for "
                "inference only: use the model that it was made from, or an unfitted copy (sklearn.base.clone)"
            )

    def for_inference(self) -> FittedModel:
        """Return a copy without the optimiser's state."""
        copy = FittedModel.__new__(FittedModel)
        copy.__setstate__(self._state(optimizer=False))
        copy.item_parameters, copy.table, copy.popularity = self.item_parameters, self.table, self.popularity
        return copy

    def __getstate__(self) -> dict[str, Any]:
        return self._state(optimizer=True)

    def _state(self, *, optimizer: bool) -> dict[str, Any]:
        return {
            "file": self.dump(optimizer),
            "classes": self.classes,
            "position": self.position,
            "rescales_masking": self.rescales_masking,
            "scale": self.scale,
            "names": self.names,
            "columns": self.columns,
            "images": self.images,
            "form": self.form,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over a pickled state, or raise an exception for a damaged one."""
        # Not in those of earlier versions.
        more = {"rescales_masking", "scale", "names", "columns", "images", "form"}
        state = with_keys(state, {"file", "classes", "position"}, more, "the fitted model")
        if not isinstance(state["file"], bytes):
            raise TypeError("the network must be bytes")
        engine, _ = _core.ModelFile(state["file"]).read()
        self.__init__(engine)  # type: ignore[misc]
        self.classes = decode_classes(encode_classes(state["classes"]), self.specification.conditions)
        self.rescales_masking = bool(state.get("rescales_masking", False))  # earlier versions never did
        self.set_position(state["position"])
        names, columns = state.get("names"), state.get("columns")
        if names is not None:
            names = checked_names(names.tolist(), self.n_features if columns is None else columns.total)
        if columns is not None:
            columns = Columns.checked(columns.indices, columns.alone, columns.total, names)
        scale = InputScale.checked(*state.get("scale", VERSION_0_1))
        self.set_input(UNSCALED if self.specification.counts else scale, names, columns)
        self.set_images(state.get("images"), state.get("form"))


def _flat(out: NDArray[np.float32] | None) -> NDArray[np.float32] | None:
    """Return an array for a result as the engine writes it."""
    return None if out is None else out.reshape(-1).view(np.ndarray)


def _check_weights(sizes: NDArray[np.float64]) -> None:
    """Raise FloatingPointError if an effective sample size is 0 or NaN."""
    if not (sizes > 0).all():
        raise FloatingPointError(
            "the importance weights of an example are not finite: an observed value is too far from the training data. "
            "Pass n_samples=0, or scale the data"
        )


def _shaped(values: list[NDArray[np.float32]], shapes: _Shapes) -> dict[str, NDArray[np.float32]]:
    """Return flat tensors by name, reshaped."""
    return {name: array.reshape(shape) for (name, shape), array in zip(shapes, values, strict=True)}


def _checked(given: Any, shapes: _Shapes, what: str) -> list[NDArray[np.float32]]:
    """Return the arrays of a state dict flat, in the order of `shapes`, or raise ValueError if they do not match."""
    if not isinstance(given, Mapping):
        raise ValueError(f"{what} must be a mapping from names to arrays, not {type(given).__name__}")
    missing = [name for name, _ in shapes if name not in given]
    unknown = sorted(map(str, set(given) - {name for name, _ in shapes}))
    if missing or unknown:
        raise ValueError(f"{what} does not fit the model: missing {missing}, unknown {unknown}")
    flat = []
    for name, shape in shapes:
        array = arrays.tensor(given[name], f"{what}'s {name}")
        if list(array.shape) != shape:
            raise ValueError(f"{what}'s {name} has shape {array.shape}, but the model's is {tuple(shape)}")
        flat.append(np.ascontiguousarray(array).reshape(-1))
    return flat
