"""What a variational autoencoder maximises, in one paragraph."""

from __future__ import annotations

import numbers
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from fastvae import _core, optimizers, schedules

if TYPE_CHECKING:
    from fastvae._vae import VAE


def describe(model: VAE) -> str:
    """Return the formula that a model's parameters stand for."""
    objective = model._pass().objective  # checks the parameters of a pass, and the line below those of the network
    model._specification_for(model._fewest_features(), int(model._conditional()))
    log_p = f"E_q[log {_given(model, 'x|z')}]"
    if objective.samples > 1:
        weight = f"{_given(model, 'x|z_k')} p(z_k) / {_given(model, _seen(model).replace('z', 'z_k'), 'q')}"
        terms = [f"ln(1/K sum_k {weight}) with K = {objective.samples}"]
    elif objective.reconstruction == 0:
        terms = ["-" + _kl(model)]
    elif objective.beta == 0.0:
        terms = [log_p]
    else:
        terms = [log_p, "- " + _kl(model)]
    penalty = _penalty(model)
    decoupled = isinstance(optimizers.chosen(model.optimizer), optimizers.AdamW)
    if penalty and not decoupled:
        terms.append(f"- {penalty / 2:g} |theta|²")
    sentences = [
        f"Maximised, as a mean over the examples of a batch of at most {model.batch_size}, in nats: {' '.join(terms)}.",
        f"q is {_given(model, _seen(model), 'q')} = N(mu, diag(sigma²)), the encoder's.",
    ]
    if model.conditional:
        sentences.append("y is what fit is told of each example; the prior of z is N(0, I) whatever y.")
    seen = _transformed(model._input_transform())
    if model.corruption is not None:
        sentences.append(f"The encoder sees x~, which is {seen} with {_named(model.corruption)}.")
    elif seen != "x":
        sentences.append(f"The encoder sees {seen}.")
    if objective.reconstruction:
        sentences += [_likelihood(model), *_holes(model)]
    if objective.samples > 1:
        sentences.append(
            "Each example has K new draws z_k = mu + sigma eps_k in each step. log p(z) - log q(z|x) = "
            f"sum_j (ln sigma_j² + eps_j² - z_j²) / 2, over {model.latent_dim} latent dimensions."
        )
        if objective.doubly:
            sentences.append("The encoder's gradient is doubly reparameterised.")
    elif objective.reconstruction:
        sentences.append("E_q is estimated with one draw z = mu + sigma eps an example and step.")
    if objective.samples == 1 and objective.beta != 0.0:
        sentences.append(
            f"KL_j = (mu_j² + sigma_j² - 1 - ln sigma_j²) / 2, in closed form, for each of {model.latent_dim} latent "
            "dimensions."
        )
    if penalty and decoupled:
        sentences.append(
            f"AdamW's weight decay of {penalty:g} is no term of this: each step also shrinks all parameters by that "
            "times the learning rate."
        )
    elif penalty:
        sentences.append(f"The last term is the optimiser's weight decay of {penalty:g}; theta is all parameters.")
    return " ".join(sentences)


def _given(model: VAE, what: str, letter: str = "p") -> str:
    """Return a density, which in a conditional model is given y too: p(x|z, y)."""
    return f"{letter}({what}, y)" if model.conditional else f"{letter}({what})"


def _seen(model: VAE) -> str:
    return "z|x" if model.corruption is None else "z|x~"


def _penalty(model: VAE) -> float:
    own = optimizers.chosen(model.optimizer).weight_decay
    return float(own if model.weight_decay is None else model.weight_decay)


def _transformed(transform: str | None) -> str:
    """Return what the encoder sees of x, before noise."""
    formulas = {
        None: "x",
        "log1p": "ln(1 + x_j)",
        "binary": "1 where x_j is not 0",
        "l1": "x_j / sum_j |x_j|",
        "l2": "x_j / (sum_j x_j²)^1/2",
    }
    return formulas[transform]


def _holes(model: VAE) -> list[str]:
    """Say which entries count, where some may be missing."""
    kind = model._missing()
    if kind == "error":
        return []
    told = ", and behind x a column for each feature that is 1 where it is missing" * (kind == "indicator")
    return [
        f"The sum over j is over the observed entries of x, which are not NaN; the encoder sees 0 for others{told}."
    ]


def _kl(model: VAE) -> str:
    """Return the KL's term, without its sign."""
    of_the_batch = model.free_bits or model.capacity is not None
    term = "mean KL_j" if of_the_batch else "KL_j"
    total = f"sum_j max({term}, {_shown(model.free_bits)})" if model.free_bits else f"sum_j {term}"
    if model.capacity is not None:
        total = f"|{total} - {_shown(model.capacity, 'capacity')}|"
    return total if model.beta == 1 else f"{_shown(model.beta, 'beta')} {total}"


def _likelihood(model: VAE) -> str:
    """Return log p(x|z)."""
    import json  # here only, so that `import fastvae` stays cheap

    own = model._likelihood_in_words()
    if own is not None:
        return own
    likelihood = model._architecture()["likelihood"]
    formula = _core.likelihood_formula(json.dumps(likelihood, allow_nan=False))
    if likelihood["kind"] == "bernoulli":
        grey = {
            None: "values between 0 and 1 make it a cross-entropy, which is no log-probability",
            "threshold": "x is made 0 or 1 by a threshold of 1/2",
            "bernoulli": "x is 1 with the grey value as its probability, drawn anew in each epoch",
        }[model._binarize()]
        formula += f"; {grey}"
    return f"log {_given(model, 'x|z')} = {formula}."


def _shown(value: Any, name: str = "") -> str:
    """Return a number, a schedule or a function of the user's as one writes it."""
    if isinstance(value, numbers.Real):
        return f"{float(value):g}"
    if isinstance(value, schedules.Schedule):
        start, end, *length = map(_shown, (value.start, value.end, value.epochs or value.steps, value.ramp))
        ramp = f", ramp={length[1]}" if value.shape == "cyclical" else ""
        return f"{value.shape}({start}, {end}, {'steps' if value.epochs is None else 'epochs'}={length[0]}{ramp})"
    return f"{name}(step)"  # a function has no formula to show


def _named(corruption: Any) -> str:
    """Return a corruption as one writes it, of numpy's numbers too."""
    options = ", ".join(f"{field.name}={_shown(getattr(corruption, field.name))}" for field in fields(corruption))
    return f"{type(corruption).__name__}({options})"
