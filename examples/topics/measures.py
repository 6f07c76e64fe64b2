"""Measures of a fitted topic model: the words of its topics, perplexity and classification of held-out documents.

A model has scikit-learn's ``transform`` (counts [n, n_words] to theta [n, n_topics]), ``inverse_transform`` (theta to
probabilities of words [n, n_words]) and ``components_`` [n_topics, n_words].
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from corpus import Array, Corpus, halves
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastvae._topics import measures


def measure(model: Any, corpus: Corpus, split: str = "test") -> dict[str, float | None]:
    """Return all measures, on the documents of a split, of a model fitted to the training documents.

    The perplexity of a model without ``inverse_transform`` is None.
    """
    reference = corpus.counts if corpus.reference is None else corpus.reference
    components = np.asarray(model.components_)
    n_words = components.shape[1]
    train, train_labels = corpus.part("train")
    held_out, labels = corpus.part(split)
    theta = np.asarray(model.transform(train))
    return {
        # Over all documents, also held-out ones: co-occurrence of words is a property of the language.
        "npmi": float(measures.coherence(components, reference, "npmi", min(10, n_words)).mean()),
        "diversity": measures.diversity(components, min(25, n_words)),
        "perplexity": completion_perplexity(model, held_out) if hasattr(model, "inverse_transform") else None,
        "accuracy": accuracy(theta, train_labels, np.asarray(model.transform(held_out)), labels),
        # The number of topics in use, exp of the entropy of the mean theta; small after a collapse.
        "topics_used": float(np.exp(-(mean := theta.mean(axis=0) + 1e-12) @ np.log(mean))),
    }


def completion_perplexity(model: Any, counts: Any) -> float:
    """Return exp(-mean ln p(w)) over a random half of each document's words; the other half gives theta."""
    observed, scored = halves(counts)
    p = np.asarray(model.inverse_transform(model.transform(observed)))
    scored = scored.tocoo()
    log_p = np.log(p[scored.row, scored.col].astype(np.float64))
    return float(np.exp(-(scored.data * log_p).sum() / scored.data.sum()))


def accuracy(theta: Array, labels: Array, held_out: Array, expected: Array) -> float:
    """Return the accuracy of a logistic regression on the standardised theta."""
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # if theta hardly varies between documents
        return float(classifier.fit(theta, labels).score(held_out, expected))
