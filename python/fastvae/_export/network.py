"""A fitted model as sections of plain operations. A new kind of layer is added here, for all formats at once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log, prod
from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae import _core
from fastvae._export.density import Group, Likelihood
from fastvae._export.operations import (
    Activation,
    Affine,
    AppendMissing,
    AvgPool2d,
    BatchNorm,
    Binary,
    Conv2d,
    ConvTranspose2d,
    Exp,
    Flatten,
    GroupMeans,
    JoinCondition,
    Linear,
    Log1p,
    LogColumns,
    MaxPool2d,
    Normalize,
    Operation,
    Softmax,
    Standardize,
    ToColumns,
    ToImage,
    Unflatten,
    Upsample,
    ZeroMissing,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._fitted.model import FittedModel
    from fastvae._fitted.specification import Specification

Section = tuple[Operation, ...]

SECOND = ("scale", "inflation")  # names of a second output layer


@dataclass(frozen=True, eq=False)
class Network:
    """A fitted network in evaluation mode.

    A section is applied from its first operation to its last one. X [n, n_features] is float32 as ``transform`` reads
    floats: integers that are grey values are divided by 255 before, images lie in the order height, width, channels.
    y [n, conditions] is the condition: covariates, or one-hot rows in the order of ``classes_``.

    h = encoder(input(X)) gives mu = heads["mu"](h) and logvar = heads["logvar"](h), or heads["code"](h). With
    out = units(output(decoder(z))), E[x|z] = mean(out), times sigmoid(-second(decoder(z))) with zero inflation.
    `decoder` of a topic model reads theta = simplex(z).

    Attributes
    ----------
    n_features, latent_dim, conditions : int
        Numbers of columns of X, z and y.
    image_shape : tuple of int, or None
        Height, width and channels of x.
    condition : tuple of Operation
        y as ``JoinCondition`` appends it; empty: as it is.
    input : tuple of Operation
        X to the first layer's input, without y.
    encoder : tuple of Operation
        The hidden layers. Those with a name are the ``nn.Sequential`` "encoder".
    heads : dict of str to tuple of Operation
        "mu" and "logvar", or "code".
    simplex : tuple of Operation
        z to the topic shares theta; empty unless it is a topic model.
    decoder, output : tuple of Operation
        z to the hidden values, and these to the output [n, n_features], in the order of the features.
    second : tuple of Operation
        The hidden values to the second output u, [n, n_features]: the log scale of a Gaussian or the logit of zero
        inflation; else empty.
    units : tuple of Operation
        The output in the units of x; empty: as it is.
    mean : tuple of Operation
        The output to E[x|z].
    likelihood : Likelihood
        p(x|z).
    """

    n_features: int
    latent_dim: int
    conditions: int
    image_shape: tuple[int, int, int] | None
    condition: Section
    input: Section
    encoder: Section
    heads: dict[str, Section]
    simplex: Section
    decoder: Section
    output: Section
    second: Section
    units: Section
    mean: Section
    likelihood: Likelihood

    @property
    def variational(self) -> bool:
        """Whether the encoder computes a distribution."""
        return "mu" in self.heads


def describe(fitted: FittedModel) -> Network:
    """Return the description of a fitted model. Raises ValueError for a likelihood without plain operations."""
    fitted.require_decoder()
    fitted.require_training("an export (torch, ONNX, explorer)")
    if fitted.specification.topics is not None and fitted.specification.conditions:
        raise ValueError("a topic model with embeddings cannot be exported (torch, ONNX, explorer)")
    return _Describer(fitted.specification, fitted.state_dict()).network()


class _Describer:
    """Builds a description from a specification and a state dict."""

    def __init__(self, specification: Specification, state: Mapping[str, NDArray[np.float32]]) -> None:
        self.specification, self.options, self.state = specification, specification.options, state
        self.default: str = self.options["activation"]
        layers = [_completed(layer) for layer in self.options["encoder"]]
        # A dense first layer reads x in the order of its columns.
        self.flat = not layers or layers[0]["kind"] == "dense"
        self.encoder_layers, self.decoder_layers = layers, [_completed(layer) for layer in self.options["decoder"]]

    def network(self) -> Network:
        specification = self.specification
        encoder, inputs = self._encoder()
        heads = {name: self._head(name, inputs) for name in ("mu", "logvar", "code") if f"{name}.weight" in self.state}
        decoder, output, second = self._decoder()
        likelihood = self._likelihood()
        by = specification.standardize
        units: Section = ()
        means = likelihood.kind in ("gaussian", "squared_error") and specification.likelihood.get("mean") != "sigmoid"
        if "standardize.shift" in by and means:
            units = (Affine(by["standardize.shift"], by["standardize.scale"]),)
        if "standardize.shift" in by and specification.mixed:
            scaled = np.zeros(specification.n_features, bool)
            for group in likelihood.groups:
                kind = group.likelihood.kind
                scaled[group.first : group.last] = kind == "log_normal" or (kind == "gaussian" and not group.sigmoid)
            shift = np.where(scaled, by["standardize.shift"], 0).astype(np.float32)
            units = (Affine(shift, np.where(scaled, by["standardize.scale"], 1).astype(np.float32)),)
        condition: Section = ()
        if "standardize.y_shift" in by:
            condition = (Standardize(by["standardize.y_shift"], by["standardize.y_scale"]),)
        return Network(
            n_features=specification.n_features,
            latent_dim=specification.latent_dim,
            conditions=specification.conditions,
            image_shape=specification.image_shape,
            condition=condition,
            input=self._input(),
            encoder=encoder,
            heads=heads,
            simplex=self._simplex(),
            decoder=decoder,
            output=output,
            second=second,
            units=units,
            mean=self._mean(),
            likelihood=likelihood,
        )

    # The encoder

    def _input(self) -> Section:
        specification, made = self.specification, list[Operation]()
        masked = specification.missing != "error"
        if specification.trials:
            trials = np.array(specification.trials, np.float32)
            made.append(Standardize(np.zeros_like(trials), trials))
        transform, by = specification.input_transform, specification.standardize
        if specification.mixed:
            made += self._log_columns()
        if transform is not None:
            made += [ZeroMissing()] if masked else []
            made.append({"log1p": Log1p(), "binary": Binary()}.get(transform) or Normalize(transform))
        elif "standardize.shift" in by:
            made.append(Standardize(by["standardize.shift"], by["standardize.scale"]))
        made += [ZeroMissing()] if masked else []
        indicator = specification.missing == "indicator"
        made += [AppendMissing()] if indicator else []
        if not self.flat and specification.image_shape is not None:
            made.append(ToImage(*specification.image_shape, parts=2 if indicator else 1))
        return tuple(made)

    def _log_columns(self) -> list[Operation]:
        """Return what the encoder reads of log-normal columns and counts in groups of columns."""
        kinds = [group.likelihood.kind for group in self._groups() for _ in range(group.last - group.first)]
        added = np.array([kind in ("poisson", "negative_binomial") for kind in kinds], np.float32)
        chosen = added + np.array([kind == "log_normal" for kind in kinds], np.float32)
        return [LogColumns(chosen, added)] if chosen.any() else []

    def _encoder(self) -> tuple[Section, int]:
        """Return the hidden layers, and the number of inputs of the heads."""
        specification, conditions = self.specification, self.specification.conditions
        parts = 2 if specification.missing == "indicator" else 1
        size: tuple[int, ...] = (parts * specification.n_features,)
        made = list[Operation]()
        if self.flat:
            made += [JoinCondition()] if conditions else []
            size = (size[0] + conditions,)
        elif specification.image_shape is not None:
            height, width, channels = specification.image_shape
            size = (height, width, parts * channels)
        layers, size = self._layers("encoder", self.encoder_layers, size)
        made += layers
        inputs = prod(size)
        if len(size) == 3:
            made.append(Flatten())
        if self._joins("mu", inputs):
            made.append(JoinCondition())
        return tuple(made), inputs

    def _head(self, name: str, inputs: int) -> Section:
        section: Section = (self._linear(name),)
        if f"{name}.norm.running_mean" in self.state:
            section += (self._norm(f"{name}.norm"),)
        return section

    def _joins(self, name: str, inputs: int) -> bool:
        """Whether a dense layer reads y behind `inputs` other values."""
        weight = self.state.get(f"{name}.weight")
        return weight is not None and weight.shape[1] == inputs + self.specification.conditions != inputs

    # The decoder

    def _simplex(self) -> Section:
        topics = self.specification.topics
        if topics is None:
            return ()
        mean, scale = (part.astype(np.float32) for part in topics)
        return Affine(mean, scale), Softmax()

    def _decoder(self) -> tuple[Section, Section, Section]:
        """Return the hidden layers, the output, and the second output (empty without)."""
        specification, layers = self.specification, self.decoder_layers
        size: tuple[int, ...] = (specification.latent_dim + specification.conditions,)
        joins: Section = (JoinCondition(),) if specification.conditions else ()
        image = bool(layers) and layers[-1]["kind"] != "dense"
        last = max((i for i, layer in enumerate(layers) if layer["kind"] not in _POOLS), default=0)
        hidden, size = self._layers("decoder", layers[: last if image else len(layers)], size)
        index = self._modules(hidden)
        decoder = joins + tuple(hidden)
        second = next((name for name in SECOND if f"{name}.weight" in self.state), None)
        if not image:
            name = "topics" if specification.topics is not None else f"decoder.{index}"
            output = self._topics() if specification.topics is not None else (self._linear(name),)
            return decoder, output, (self._linear(second),) if second else ()
        pools = tuple(_pool(layer, f"decoder.{index + 1 + i}") for i, layer in enumerate(layers[last + 1 :]))
        rest = (*pools, ToColumns())
        output = (self._convolution(layers[last], f"decoder.{index}"), *rest)
        return decoder, output, (self._convolution(layers[last], second), *rest) if second else ()

    def _topics(self) -> Section:
        """Return the words of the topics: phi, or a product that is normalised."""
        weight = self.state["topics.weight"]
        if self.specification.likelihood["kind"] == "mixture":
            scores = _core.TOPIC_GAIN * weight.astype(np.float64)  # [words, topics]
            shares = np.exp(np.maximum(scores - scores.max(0), -50.0))
            return (Linear((shares / shares.sum(0)).astype(np.float32), None, name="topics"),)
        return self._linear("topics"), self._norm("topics.norm")

    def _mean(self) -> Section:
        kind = self.specification.likelihood["kind"]
        if kind == "mixed":
            return (GroupMeans(self._groups()),)
        if kind in ("bernoulli", "binomial") or self.specification.likelihood.get("mean") == "sigmoid":
            return (Activation("sigmoid"),)
        if kind == "multinomial" or "size_factor" in self.specification.likelihood:
            return (Softmax(),)
        return (Exp(),) if kind in ("poisson", "negative_binomial") else ()

    def _groups(self) -> tuple[Group, ...]:
        found, first = list[Group](), 0
        for i, group in enumerate(self.specification.likelihood["groups"]):
            options, last = group["likelihood"], first + group["n_columns"]
            found.append(
                Group(self._of(options, f"likelihood.{i}"), first, last, options.get("mean") == "sigmoid", str(i))
            )
            first = last
        return tuple(found)

    def _likelihood(self) -> Likelihood:
        options = self.specification.likelihood
        if options["kind"] == "mixed":
            return Likelihood(kind="mixed", groups=self._groups())
        return self._of(options, "likelihood")

    def _of(self, options: Mapping[str, Any], name: str) -> Likelihood:
        """Return a likelihood from its options, with the parameters `name` of the state dict."""
        trials, log_scale = self.specification.trials, self.state.get(f"{name}.log_scale")
        if isinstance(options.get("scale"), (int, float)):
            log_scale = np.array(log(options["scale"]), np.float32)
        return Likelihood(
            kind=options["kind"],
            log_scale=log_scale,
            floor=float(options.get("floor", 0.0)),
            log_total_count=self.state.get(f"{name}.log_total_count"),
            trials=np.array(trials, np.float32) if trials else None,
            size_factor=options.get("size_factor"),
            size_unit=self.specification.size_unit,
            inflated=bool(options.get("zero_inflation", False)),
        )

    # Layers

    def _layers(
        self, module: str, layers: Sequence[Mapping[str, Any]], size: tuple[int, ...]
    ) -> tuple[list[Operation], tuple[int, ...]]:
        """Return the operations of hidden layers, and the size of their output."""
        made = list[Operation]()

        def name() -> str:
            return f"{module}.{self._modules(made)}"

        options = json.dumps(self.options[module][: len(layers)])
        sizes = [tuple(found) for found in _core.layer_shapes(module, list(size), options)]
        for layer, size in zip(layers, sizes, strict=False):
            kind = layer["kind"]
            if kind in _POOLS:
                made.append(_pool(layer, name()))
            elif kind == "unflatten":
                height, width, channels = layer["shape"]
                made.append(Unflatten(channels, height, width, name=name()))
            else:
                if kind == "dense":
                    if len(size) == 3:
                        made.append(Flatten(name=name()))
                    own = name()
                    if self._joins(own, prod(size)):
                        made.append(JoinCondition())
                    made.append(self._linear(own))
                else:
                    made.append(self._convolution(layer, name()))
                if layer.get("batch_norm"):
                    made.append(self._norm(name()))
                made.append(Activation(layer.get("activation") or self.default, name=name()))
        return made, sizes[-1]

    @staticmethod
    def _modules(made: Sequence[Operation]) -> int:
        """Return the number of modules of an ``nn.Sequential``."""
        return sum(bool(operation.name) for operation in made)

    def _linear(self, name: str) -> Linear:
        bias = self.state.get(f"{name}.bias")
        return Linear(self.state[f"{name}.weight"], bias, name=name)

    def _convolution(self, layer: Mapping[str, Any], name: str) -> Conv2d | ConvTranspose2d:
        weight, bias = self.state[f"{name}.weight"], self.state.get(f"{name}.bias")
        stride, padding, added = (_pair(layer[key]) for key in ("stride", "padding", "output_padding"))
        if layer["kind"] == "conv2d":
            return Conv2d(weight, bias, stride, padding, name=name)
        return ConvTranspose2d(weight, bias, stride, padding, added, name=name)

    def _norm(self, name: str) -> BatchNorm:
        weight, bias = (self.state.get(f"{name}.{part}") for part in ("weight", "bias"))
        mean, variance = (self.state[f"{name}.running_{part}"] for part in ("mean", "var"))
        return BatchNorm(mean, variance, weight, bias, name=name)


_POOLS: dict[str, type[MaxPool2d] | type[AvgPool2d] | type[Upsample]] = {
    "max_pool2d": MaxPool2d,
    "avg_pool2d": AvgPool2d,
    "upsample": Upsample,
}


def _pool(layer: Mapping[str, Any], name: str) -> Operation:
    return _POOLS[layer["kind"]](_pair(layer["size"]), name=name)


def _pair(sides: Sequence[int]) -> tuple[int, int]:
    return int(sides[0]), int(sides[1])


def _completed(layer: int | Mapping[str, Any]) -> dict[str, Any]:
    """Return a layer of a specification as an object with all sizes."""
    if isinstance(layer, int):
        return {"kind": "dense", "units": layer}
    return {"stride": [1, 1], "padding": [0, 0], "output_padding": [0, 0]} | dict(layer)
