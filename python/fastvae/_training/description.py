"""The objective of a variational autoencoder as one paragraph of text."""

from __future__ import annotations

import numbers
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from fastvae import _core, optimizers, schedules

if TYPE_CHECKING:
    from fastvae._fitted.specification import Specification
    from fastvae._training.objective import Objective
    from fastvae._training.plan import Plan


def describe(
    plan: Plan,
    specification: Specification,
    optimizer: optimizers.Optimizer,
    corruption: Any = None,
    likelihood: str | None = None,
) -> str:
    """Return the formula of the objective, with its constants.

    Parameters
    ----------
    plan : Plan
        Settings of a pass.
    specification : Specification
        The network, for any number of features.
    optimizer : object of :mod:`fastvae.optimizers`
        With the weight decay in use.
    corruption : object of :mod:`fastvae.corruption`, optional
    likelihood : str, optional
        Formula of a likelihood that is not in :mod:`fastvae.likelihoods`.
    """
    objective, conditional = plan.objective, specification.conditions > 0
    q = _given("z|x" if corruption is None else "z|x~", conditional, "q")
    log_p = f"E_q[log {_given('x|z', conditional)}]"
    if objective.samples > 1:
        weight = f"{_given('x|z_k', conditional)} p(z_k) / {q.replace('z', 'z_k')}"
        terms = [f"ln(1/K sum_k {weight}) with K = {objective.samples}"]
    elif objective.reconstruction == 0:
        terms = ["-" + _kl(objective)]
    elif objective.beta == 0.0:
        terms = [log_p]
    elif objective.prior is not None:
        terms = [log_p, f"- {_shown(objective.beta, 'beta')} n sum_j KL_j"]
    else:
        terms = [log_p, "- " + _kl(objective)]
    penalty = optimizer.weight_decay
    decoupled = isinstance(optimizer, optimizers.AdamW)
    if penalty and not decoupled:
        terms.append(f"- {penalty / 2:g} |theta|²")
    prior = _item_prior(specification)
    if prior:
        terms.append("+ ln p(tasks) / n")
    sentences = [
        f"Maximised, as a mean over the examples of a batch of at most {plan.batch_size}, in nats: {' '.join(terms)}.",
        f"q is {q} = N(mu, diag(sigma²)), the encoder's.",
    ]
    sentences += prior
    if conditional:
        sentences.append("y is what fit is told of each example; the prior of z is N(0, I) whatever y.")
    seen = _transformed(specification.input_transform)
    if corruption is not None:
        sentences.append(f"The encoder sees x~, which is {seen} with {_named(corruption, plan)}.")
    elif seen != "x":
        sentences.append(f"The encoder sees {seen}.")
    if objective.reconstruction:
        log_p = f"log {_given('x|z', conditional)}"
        formula = likelihood or _likelihood(log_p, specification, plan.binarize)
        sentences += [formula, *_missing_values(specification.missing)]
    if objective.samples > 1:
        sentences.append(
            "Each example has K new draws z_k = mu + sigma eps_k in each step. log p(z) - log q(z|x) = "
            f"sum_j (ln sigma_j² + eps_j² - z_j²) / 2, over {specification.latent_dim} latent dimensions."
        )
        if objective.doubly:
            sentences.append("The encoder's gradient is doubly reparameterised.")
    elif objective.reconstruction:
        sentences.append("E_q is estimated with one draw z = mu + sigma eps an example and step.")
    if objective.prior is not None and objective.beta != 0.0:
        total = sum(objective.prior.weights)
        a, b, c = (f"{weight / total:g}" for weight in objective.prior.weights)
        sentences.append(
            "n is the sum of x. KL_j = ln q(z_j|x) - ln p(z_j) at the draw of z, for each of "
            f"{specification.latent_dim} latent dimensions, with p(z_j) = {a} N(0, 1) + {b} N(m_j, s_j²) + {c} N(0, "
            f"e^{objective.prior.wide_logvar:g}); N(m, diag(s²)) is q(z|x) by the parameters before the epoch."
        )
    elif objective.samples == 1 and objective.beta != 0.0:
        sentences.append(
            "KL_j = (mu_j² + sigma_j² - 1 - ln sigma_j²) / 2, in closed form, for each of "
            f"{specification.latent_dim} latent dimensions."
        )
    if penalty and decoupled:
        sentences.append(
            f"AdamW's weight decay of {penalty:g} is no term of this: each step also shrinks all parameters by that "
            "times the learning rate."
        )
    elif penalty:
        sentences.append(f"The last term is the optimiser's weight decay of {penalty:g}; theta is all parameters.")
    return " ".join(sentences)


def _item_prior(specification: Specification) -> list[str]:
    """Return the sentence about the prior of item parameters, if there is one."""
    if specification.item_prior is None:
        return []
    slope, sd = specification.item_prior["slope"], specification.item_prior["intercept"]
    terms = []
    if slope["kind"] == "lognormal":
        terms.append(f"ln |a_t| ~ N({slope['mean']:g}, {slope['sd']:g}²)")
    if slope["kind"] == "normal":
        terms.append(f"a_tj ~ N(0, {slope['sd']:g}²)")
    if sd is not None and specification.weight_constraint != "nonnegative":
        terms.append(f"d_t ~ N(0, {sd:g}²)")
    if specification.weight_constraint == "nonnegative":
        terms = [term.replace("a_t", "beta_t") for term in terms]
    return [
        f"p(tasks) is the prior of the item parameters, {' and '.join(terms)}, without constants; n is the number of "
        "students."
    ] * bool(terms)


def _given(what: str, conditional: bool, letter: str = "p") -> str:
    """Return the notation of a density: p(x|z), or p(x|z, y) in a conditional model."""
    return f"{letter}({what}, y)" if conditional else f"{letter}({what})"


def _transformed(transform: str | None) -> str:
    """Return the formula of the encoder's input, before noise."""
    scale, short = _core.FREQUENCIES
    formulas = {
        None: "x",
        "log1p": "ln(1 + x_j)",
        "binary": "1 where x_j is not 0",
        "l1": "x_j / sum_j |x_j|",
        "l2": "x_j / (sum_j x_j²)^1/2",
        "frequencies": f"{scale:g} x_j / ({short:g} + sum_j |x_j|)",
    }
    return formulas[transform]


def _missing_values(missing: str) -> list[str]:
    """Return the sentence about missing values, if the model accepts them."""
    if missing == "error":
        return []
    indicator = ", and behind x a column for each feature that is 1 where it is missing" * (missing == "indicator")
    return [
        "The sum over j is over the observed entries of x, which are not NaN; the encoder sees 0 for "
        f"others{indicator}."
    ]


def _kl(objective: Objective) -> str:
    """Return the KL term, without its sign."""
    of_the_batch = objective.free_bits or objective.capacity is not None
    term = "mean KL_j" if of_the_batch else "KL_j"
    total = f"sum_j max({term}, {_shown(objective.free_bits)})" if objective.free_bits else f"sum_j {term}"
    if objective.capacity is not None:
        total = f"|{total} - {_shown(objective.capacity, 'capacity')}|"
    return total if objective.beta == 1 else f"{_shown(objective.beta, 'beta')} {total}"


def _likelihood(log_p: str, specification: Specification, binarize: str | None) -> str:
    """Return the formula of log p(x|z)."""
    import json  # here only, so that `import fastvae` stays cheap

    formula = _core.likelihood_formula(json.dumps(specification.likelihood, allow_nan=False))
    if specification.likelihood["kind"] == "bernoulli":
        grey = {
            None: "values between 0 and 1 make it a cross-entropy, which is no log-probability",
            "threshold": "x is made 0 or 1 by a threshold of 1/2",
            "bernoulli": "x is 1 with the grey value as its probability, drawn anew in each epoch",
        }[binarize]
        formula += f"; {grey}"
    return f"{log_p} = {formula}."


def _shown(value: Any, name: str = "") -> str:
    """Return the notation of a number, a schedule or a user's function."""
    if isinstance(value, numbers.Real):
        return f"{float(value):g}"
    if isinstance(value, schedules.Schedule):
        start, end, *length = map(_shown, (value.start, value.end, value.epochs or value.steps, value.ramp))
        ramp = f", ramp={length[1]}" if value.shape == "cyclical" else ""
        return f"{value.shape}({start}, {end}, {'steps' if value.epochs is None else 'epochs'}={length[0]}{ramp})"
    return f"{name}(step)"  # a function has no formula to show


def _named(corruption: Any, plan: Plan) -> str:
    """Return the notation of a corruption, with plain numbers for numpy's."""
    given = {field.name: getattr(corruption, field.name) for field in fields(corruption)}
    options = ", ".join(f"{name}={_shown(value)}" for name, value in given.items() if name != "rescale")
    rescaled = plan.corruption is not None and plan.corruption[0] == "rescaled_masking"
    return f"{type(corruption).__name__}({options}){' and kept values divided by 1 - p' * rescaled}"
