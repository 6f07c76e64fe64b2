"""Models for inference only, with weights of fewer bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from fastvae import _checks
from fastvae._estimators.network import Network

if TYPE_CHECKING:
    from typing_extensions import Self

PRECISIONS = ("int8", "bf16")


class Quantized(Network):
    """A network that can be quantised."""

    # Why there is no quantised form of this class; None: there is one.
    _NOT_QUANTIZED: ClassVar[str | None] = None

    def quantize(self, precision: str = "int8") -> Self:
        """Return a copy of the fitted model with weights of fewer bits, for inference only.

        Everything but training and exports works as before: ``transform``, ``reconstruct``, scores, ``sample``,
        ``save``, pickling.

        Parameters
        ----------
        precision : {"int8", "bf16"}
            "int8": weights of the dense layers but those next to z (the encoder's heads and the decoder's first layer,
            which are small) are integers from -127 to 127 times a scale of each output; the layers' inputs become 256
            steps between the least and the largest value of each example, at run time. Products are summed exactly;
            biases, activations, batch normalisation, z and the likelihood are float32.

            "bf16": weights of all dense layers are bfloat16, of eight significant bits, and nothing else is stored.
            Results have the bits that the same weights give with the parameter ``precision="bf16"``.

        Returns
        -------
        estimator
            Of the same class, fitted.

        Raises
        ------
        NotFittedError
            If the model is not fitted.
        ValueError
            If the model has no such form: it is convolutional, or is a :class:`fastvae.TopicModel`,
            :class:`fastvae.ItemResponse` or :class:`fastvae.Recommender`; for "int8" also if it has no hidden layers,
            or one with more than 66,311 inputs; for "bf16" if a weight is too large for it (3.39e38); or if it is
            quantised already.

        Notes
        -----
        Which one: "int8" for the smallest file and the least time; "bf16" where codes must be those of float32 to two
        or three digits whatever the data are, with half of the bytes. TIMES

        ``state_dict()`` has the stored numbers. In "int8": ``encoder.0.weight`` as int8 [out, in], and
        ``encoder.0.weight_scale`` [out], by which its rows are multiplied. In "bf16": the rounded weights as float32
        arrays, because NumPy has no bfloat16; the file has BF16. ``load_state_dict`` of a model in "bf16" takes weights
        in float32, and rounds them.

        Files and memory shrink with "int8" to about a quarter. It pays from hidden layers of about 128 units on:
        ``transform`` of 128-128-128-8 takes three quarters of the time of float32, 784-400-20 less than half (half for
        digits, whose zeros float32 skips), 128-1024-1024-8 a third. One example of 784-400-20, encoded and decoded,
        takes about a third. (Measured on one thread of a Zen 5, with AVX-512 VNNI.)

        Codes of "int8" correlate above 0.999 with those of float32, and -log p(x|z) of MNIST and Fashion-MNIST changes
        by 0.004 and 0.02 nats. Zeros are exact, and grey values and binary x nearly so. A few values of an example that
        are far larger than the others (raw counts, money) leave few steps to these: train with
        ``input_transform="log1p"``, or use "bf16", which rounds each value by itself.

        Results have the same bits for any number of threads, any division of X into calls, and sparse or dense X.
        Sums of products of "int8" are those of Jacob et al., "Quantization and training of neural networks for
        efficient integer-arithmetic-only inference" (arXiv:1712.05877), with exact accumulators of 32 bits; those of
        "bf16" are float32 sums of exact products.
        """
        fitted = self._require_fitted()
        _checks.choice(precision, "precision", PRECISIONS)
        if self._NOT_QUANTIZED is not None:
            raise ValueError(f"leave a {type(self).__name__} in float32: {self._NOT_QUANTIZED}")
        state = self.__getstate__()
        state["_fitted"]["file"] = fitted.quantized_file(precision)
        model = type(self).__new__(type(self))
        model.__setstate__(state)
        return model

    def __repr__(self) -> str:
        """Show the parameters that differ from their defaults, and the precision of a quantised model."""
        text = super().__repr__()
        if self._fitted is None or self._fitted.specification.trains:
            return text
        return f"{text}.quantize({self._fitted.specification.precision!r})"
