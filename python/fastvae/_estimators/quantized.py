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
        Which one: "int8" is smaller and faster, and on images as near to float32. "bf16" is for a model trained with
        ``precision="bf16"``, whose results do not change by a bit; for networks that have no form in int8; and for
        inputs with a few values far larger than the others, where its errors are half of those of "int8". It needs a
        CPU with AVX-512 BF16 (see :func:`fastvae.show_config`): elsewhere it takes three to seven times as long as
        float32.

        ``state_dict()`` has the stored numbers. In "int8": ``encoder.0.weight`` as int8 [out, in], and
        ``encoder.0.weight_scale`` [out], by which its rows are multiplied. In "bf16": the rounded weights as float32
        arrays, because NumPy has no bfloat16; the file has BF16. ``load_state_dict`` of a model in "bf16" takes weights
        in float32, and rounds them.

        Files and memory shrink to about a quarter with "int8", to half with "bf16". Time for 784-400-20, float32 = 1,
        on one thread of a Zen 5 with AVX-512 VNNI and BF16:

        ===================================  =======  =======
        ..                                   "int8"   "bf16"
        ===================================  =======  =======
        ``transform`` of 60,000 examples     0.42     0.60
        the same, digits (mostly zeros)      0.52     0.67
        one example, encoded and decoded     0.37     0.58
        ===================================  =======  =======

        "int8" pays from hidden layers of about 128 units on: ``transform`` of 128-128-128-8 takes three quarters of the
        time of float32, 128-1024-1024-8 a third (processor time on a busy machine, as is the 0.67).

        Codes of both correlate above 0.999 with those of float32. -log p(x|z) of MNIST and Fashion-MNIST changes by
        0.004 and 0.02 nats with "int8", and by 0.006 and 0.012 with "bf16". With "int8", zeros are exact, and grey
        values and binary x nearly so; a few values of an example that are far larger than the others (raw counts,
        money) leave few steps to these: train with ``input_transform="log1p"``, or use "bf16".

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
