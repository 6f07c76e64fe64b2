"""Parts of a fitted network as ONNX models: encoder, decoder, reconstruction, score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastvae import _core
from fastvae._export import protobuf
from fastvae._export.onnx_graph import Graph
from fastvae._export.onnx_groups import group_means
from fastvae._export.onnx_likelihoods import log_prob, size

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastvae._export.network import Network

_DOCS = {
    "encoder": "The encoder",
    "decoder": "The decoder",
    "reconstruct": "The reconstruction from the posterior mean",
    "score": "The evidence lower bound of each example, or the loss of an autoencoder,",
}
PARTS = tuple(_DOCS)

_LARGEST = 2**31 - 1  # bytes of a protobuf message


class Quadrature(NamedTuple):
    """The nodes of the posterior of a one-dimensional ability, [q], their log prior, and the logits [q, n_tasks]."""

    nodes: NDArray[np.float64]
    log_prior: NDArray[np.float64]
    logits: NDArray[np.float64]


class Extras(NamedTuple):
    """Codes of models whose ``transform`` is not the encoder's mean.

    Attributes
    ----------
    points : ndarray, [n_points, n_topics], or None
        The noise over which the topic shares are averaged.
    exam : bool
        Whether the code is the ability of a student.
    quadrature : Quadrature or None
        The nodes of an exact posterior of the ability.
    """

    points: NDArray[np.float32] | None = None
    exam: bool = False
    quadrature: Quadrature | None = None


def export(network: Network, part: str, title: str, metadata: Mapping[str, str], extras: Extras) -> bytes:
    """Return an ONNX model as bytes; `title` names the estimator. Raises ValueError if it is too large for ONNX."""
    model = _Model(network, extras)
    getattr(model, part)()
    data = protobuf.model(
        name=f"{title}_{part}",
        doc=f"{_DOCS[part]} of a fastvae.{title}.",
        version=_core.__version__,
        metadata={"class": title, "part": part, **metadata},
        nodes=model.graph.nodes,
        tensors=model.graph.tensors.values(),
        inputs=model.inputs,
        outputs=model.outputs,
    )
    if len(data) > _LARGEST:
        raise ValueError(f"the ONNX model has {len(data):,} bytes; a file holds at most {_LARGEST:,}")
    return data


class _Model:
    """A graph with its inputs and outputs; a method for each part."""

    def __init__(self, network: Network, extras: Extras) -> None:
        self.network, self.extras = network, extras
        self.graph = Graph()
        self.inputs: list[bytes] = []
        self.outputs: list[bytes] = []

    def encoder(self) -> None:
        y = self._examples()
        self._encode(y, named=True)

    def decoder(self) -> None:
        network = self.network
        name = "theta" if network.simplex else "z"
        code = self._input(name, network.latent_dim, "Topic shares, rows sum to one" if network.simplex else "Codes")
        self._output("mean", self._mean(*self._decode(code, self._condition())), network.n_features, _MEAN)

    def reconstruct(self) -> None:
        y = self._examples()
        given = self._size()
        mean = self._mean(*self._decode(self._encode(y), y))
        if self.network.likelihood.sized:
            mean = self.graph.node("Mul", mean, size(self.graph, "X", given))
        self._output("reconstruction", mean, self.network.n_features, _MEAN)

    def score(self) -> None:
        network, graph = self.network, self.graph
        y = self._examples()
        if not network.variational:
            out, _ = self._decode(self._encode(y), y)
            log_p = log_prob(graph, network.likelihood, "X", (out, None), sigmoid=False)
            return self._output("loss", graph.node("Neg", log_p), None, "Loss of each example: lower is better")
        given = self._size()
        mu, logvar = self._posterior(y)
        eps = self._input(
            "eps", network.latent_dim, "Noise of z = mu + sigma eps: draws of N(0, 1), or zeros for z = mu"
        )
        logvar = self._clamped(logvar)
        z = graph.node("Add", mu, graph.node("Mul", self._deviation(logvar), eps))
        outputs = self._decode(graph.apply(network.simplex, z), y)
        log_p = log_prob(
            graph, network.likelihood, "X", outputs, sigmoid=bool(network.mean), condition=y, given_size=given
        )
        kl = self._kl(mu, logvar)
        self._output("elbo", graph.node("Sub", log_p, kl), None, "log p(x|z) - KL, nats: higher is better")
        self._output("reconstruction", graph.node("Neg", log_p), None, "-log p(x|z), nats")
        self._output("kl", kl, None, "KL(q(z|x) || N(0, I)), nats")
        return None

    # Inputs and outputs

    def _input(self, name: str, columns: int, doc: str) -> str:
        self.inputs.append(protobuf.value_info(name, ["n", columns], doc))
        return name

    def _output(self, name: str, value: str, columns: int | None, doc: str) -> None:
        self.graph.node("Identity", value, output=name)
        shape: list[int | str] = ["n"] if columns is None else ["n", columns]
        self.outputs.append(protobuf.value_info(name, shape, doc))

    def _examples(self) -> str | None:
        """Add the inputs X and, of a conditional model, y; return y as it is joined."""
        image = self.network.image_shape
        order = "" if image is None else f"; images of {image} in the order height, width, channels"
        self._input("X", self.network.n_features, f"Examples, as transform reads floats{order}")
        return self._condition()

    def _condition(self) -> str | None:
        if not self.network.conditions:
            return None
        y = self._input("y", self.network.conditions, "Condition: covariates, or one-hot rows of the classes")
        return self.graph.apply(self.network.condition, y)

    def _size(self) -> str | None:
        """Add the input of given sizes, if the model has them; return them in counts, [n, 1]."""
        likelihood = self.network.likelihood
        if not likelihood.given_size:
            return None
        given = self._input("size_factor", 1, "Size of each example")
        return self.graph.node("Mul", given, self.graph.constant(likelihood.size_unit))

    # Encoder

    def _hidden(self, y: str | None) -> str:
        graph, network = self.graph, self.network
        return graph.apply(network.encoder, graph.apply(network.input, "X", "X"), "X", y)

    def _posterior(self, y: str | None) -> tuple[str, str]:
        hidden, heads = self._hidden(y), self.network.heads
        return self.graph.apply(heads["mu"], hidden), self.graph.apply(heads["logvar"], hidden)

    def _encode(self, y: str | None, *, named: bool = False) -> str:
        """Return the decoder's input at the mean; with `named`, add the outputs of the encoder."""
        graph, network, extras = self.graph, self.network, self.extras
        width = network.latent_dim
        if not network.variational:
            code = graph.apply(network.heads["code"], self._hidden(y))
            if named:
                self._output("code", code, width, "Codes")
            return code
        if not named and not network.simplex:
            return graph.apply(network.heads["mu"], self._hidden(y))
        mu, logvar = self._posterior(y)
        if named:
            self._output("mu", mu, width, "Mean of q(z|x)")
            self._output("logvar", logvar, width, "ln sigma² of q(z|x), not clamped")
        if network.simplex:
            theta = self._mean_theta(mu, logvar)
            if named:
                self._output("theta", theta, width, "Topic shares, E_q[theta]: rows sum to one")
            return theta
        if named and extras.exam:
            self._output("ability", self._ability(mu), width, "Posterior mean of the ability, E[alpha|Y]")
        return mu

    def _clamped(self, logvar: str) -> str:
        return self.graph.node("Clip", logvar, self.graph.constant(-30), self.graph.constant(20))

    def _deviation(self, logvar: str) -> str:
        return self.graph.node("Exp", self.graph.node("Mul", logvar, self.graph.constant(0.5)))

    def _mean_theta(self, mu: str, logvar: str) -> str:
        """E_q[theta], the mean over the points of the noise."""
        graph, axis = self.graph, self.graph.constant([1], np.int64)
        points = graph.tensor("points", np.asarray(self.extras.points, np.float32)[np.newaxis])
        mu, deviation = (graph.node("Unsqueeze", part, axis) for part in (mu, self._deviation(self._clamped(logvar))))
        z = graph.node("Add", mu, graph.node("Mul", deviation, points))
        return graph.node("ReduceMean", graph.apply(self.network.simplex, z), axes=[1], keepdims=0)

    def _ability(self, mu: str) -> str:
        """E[alpha|Y]: by quadrature, or mu, where a student without answers has zero."""
        graph, rule = self.graph, self.extras.quadrature
        missing = graph.missing("X")
        if rule is None:
            answered = graph.node("Cast", graph.node("Not", missing), to=protobuf.FLOAT)
            return graph.node("Mul", mu, graph.node("ReduceMax", answered, axes=[1], keepdims=1))
        trials = self.network.likelihood.trials
        most = np.ones(self.network.n_features) if trials is None else trials.astype(np.float64)
        marks = graph.node("Where", missing, graph.constant(0), "X")
        possible = graph.node("Where", missing, graph.constant(0), graph.constant(most[np.newaxis]))
        # Relative to alpha = 0, the middle node: constants of a student do not matter, and float32 has small values.
        penalty, middle = np.logaddexp(0, rule.logits), len(rule.nodes) // 2
        tables = [rule.logits - rule.logits[middle], penalty[middle] - penalty]
        terms = [graph.node("MatMul", a, graph.constant(t.T)) for a, t in zip((marks, possible), tables, strict=True)]
        log_joint = graph.node("Add", graph.node("Add", *terms), graph.constant(rule.log_prior))
        weights = graph.node("Softmax", log_joint, axis=1)
        return graph.node("MatMul", weights, graph.constant(rule.nodes[:, np.newaxis]))

    # Decoder

    def _decode(self, code: str, y: str | None) -> tuple[str, str | None]:
        """Return the output in the units of x, and the second output or None."""
        graph, network = self.graph, self.network
        hidden = graph.apply(network.decoder, code, code, y)
        out = graph.apply(network.units, graph.apply(network.output, hidden))
        return out, graph.apply(network.second, hidden) if network.second else None

    def _mean(self, out: str, second: str | None) -> str:
        likelihood = self.network.likelihood
        if likelihood.groups:
            return group_means(self.graph, likelihood.groups, out)
        mean = self.graph.apply(self.network.mean, out)
        if not likelihood.inflated or second is None:
            return mean
        return self.graph.node("Mul", mean, self.graph.node("Sigmoid", self.graph.node("Neg", second)))

    def _kl(self, mu: str, logvar: str) -> str:
        graph = self.graph
        squares = graph.node("Add", graph.node("Mul", mu, mu), graph.node("Exp", logvar))
        each = graph.node("Sub", graph.node("Sub", squares, logvar), graph.constant(1))
        total = graph.node("ReduceSum", each, graph.constant([1], np.int64), keepdims=0)
        return graph.node("Mul", total, graph.constant(0.5))


_MEAN = "E[x|z]; probabilities of the words of a topic model or multinomial, shares of the marks of an exam"


def metadata_of(classes: Any, table: Any = None) -> dict[str, str]:
    """Return the metadata of a model with these classes of y, or None, and with the columns of a table."""
    import json  # here only, so that `import fastvae` stays cheap

    found = {} if classes is None else {"classes": json.dumps(classes.tolist(), default=str)}
    if table is not None:
        found["table"] = json.dumps(table.to_json()["columns"], default=str)
    return found
