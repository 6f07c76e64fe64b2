"""What a variational autoencoder maximises, in one paragraph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastvae import likelihoods, optimizers

if TYPE_CHECKING:
    from fastvae._vae import VAE


def describe(model: VAE) -> str:
    """Return the formula that a model's parameters stand for."""
    objective = model._objective()  # checks the parameters
    if objective.reconstruction == 0:
        terms = ["-" + _kl(model)]
    elif objective.beta == 0.0:
        terms = ["E_q[log p(x|z)]"]
    else:
        terms = ["E_q[log p(x|z)]", "- " + _kl(model)]
    sentences = [
        f"Maximised, as a mean over the examples of a batch of {model.batch_size}, in nats: {' '.join(terms)}."
    ]
    if objective.reconstruction:
        sentences += [_likelihood(model), "E_q is estimated with one draw z = mu + sigma eps an example and step."]
    if objective.beta != 0.0:
        sentences.append(
            f"KL_j = (mu_j² + sigma_j² - 1 - ln sigma_j²) / 2, in closed form, for each of {model.latent_dim} latent "
            "dimensions."
        )
    if model.corruption is not None:
        sentences.append(f"The encoder sees x with {model.corruption!r}.")
    own = optimizers.chosen(model.optimizer).weight_decay
    penalty = own if model.weight_decay is None else model.weight_decay
    if penalty:
        sentences.append(f"The optimiser's weight decay of {penalty:g} comes on top.")
    return " ".join(sentences)


def _kl(model: VAE) -> str:
    """Return the KL's term, without its sign."""
    of_the_batch = model.free_bits or model.capacity is not None
    term = "mean KL_j" if of_the_batch else "KL_j"
    total = f"sum_j max({term}, {model.free_bits:g})" if model.free_bits else f"sum_j {term}"
    if model.capacity is not None:
        total = f"|{total} - {_shown(model.capacity)}|"
    return total if model.beta == 1 else f"{_shown(model.beta)} {total}"


def _likelihood(model: VAE) -> str:
    name, scale, _ = likelihoods.resolve(model.likelihood)
    if name == "bernoulli":
        grey = {
            None: "values between 0 and 1 make it a cross-entropy, which is no log-probability",
            "threshold": "x is made 0 or 1 by a threshold of 1/2",
            "bernoulli": "x is 1 with the grey value as its probability, drawn anew in each epoch",
        }[model._binarize()]
        return f"log p(x|z) = sum_j x_j ln p_j + (1 - x_j) ln(1 - p_j), p the sigmoid of the decoder's output; {grey}."
    scales = {
        "shared": "s learned, one for all features",
        "per_feature": "s_j learned for each feature",
        "decoder": "s_j from the decoder, for each example and feature",
    }
    return (
        "log p(x|z) = sum_j -((x_j - m_j) / s_j)² / 2 - ln s_j - ln(2 pi) / 2, m the decoder's output, "
        f"{scales.get(str(scale), f's = {scale}')}."
    )


def _shown(value: object) -> str:
    """Return a number or a schedule as one writes it."""
    return f"{value:g}" if isinstance(value, (int, float)) else repr(value)
