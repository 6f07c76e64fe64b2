"""Diagnosis of a topic model: topics that are alike or unused."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from fastvae._fitted.diagnosis import FINE, Diagnosis

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Two topics are alike if their overlap sum_w min(p_w, q_w) exceeds this.
_ALIKE_OVERLAP = 0.7
# A topic is unused if its share is below this in every document.
_UNUSED_SHARE = 0.05


@dataclass(frozen=True, repr=False)
class TopicDiagnosis(Diagnosis):
    """Result of :meth:`fastvae.TopicModel.diagnose`; ``print`` shows a table and the messages.

    Attributes
    ----------
    usage : ndarray of float64, [n_topics]
        Mean share of each topic over the documents.
    largest : ndarray of float64, [n_topics]
        Largest share of each topic in a document.
    overlap : ndarray of float64, [n_topics]
        Overlap of each topic with its most similar one, sum_w min(p_w, q_w): 1 for equal topics.
    twin : ndarray of int64, [n_topics]
        Index of the most similar topic.
    kl, variance, active, sigma, clamped, clamped_so_far, messages
        As from :meth:`fastvae.VAE.diagnose`, for the code before the softmax.
    """

    usage: NDArray[np.float64]
    largest: NDArray[np.float64]
    overlap: NDArray[np.float64]
    twin: NDArray[np.int64]

    def __str__(self) -> str:
        """Return a table of the topics, by descending usage, and the messages."""
        lines = [
            f"{len(self.usage)} topics; KL {self.kl.sum():.2f} nats a document",
            "topic  mean share  largest share  overlap with its most like",
        ]
        for k in np.argsort(-self.usage, kind="stable"):
            lines.append(
                f"{k:5d}  {self.usage[k]:10.3f}  {self.largest[k]:13.3f}  {self.overlap[k]:7.2f} (topic {self.twin[k]})"
            )
        return "\n".join([*lines, *self.messages])

    def _repr_html_(self) -> str:
        """Return the table with bars of the usage and the messages, for notebooks."""
        from fastvae import _html

        most = max(float(self.usage.max()), 1e-12)
        rows = [
            (
                _html.bar(self.usage[k] / most),
                str(k),
                f"{self.usage[k]:.3f}",
                f"{self.largest[k]:.3f}",
                f"{self.overlap[k]:.2f} (topic {self.twin[k]})",
            )
            for k in np.argsort(-self.usage, kind="stable")
        ]
        head = ("usage", "topic", "mean share", "largest share", "overlap with its most like")
        return _html.page(
            f"<b>Diagnosis</b>: {len(self.usage)} topics; KL {self.kl.sum():.2f} nats a document",
            _html.messages(self.messages),
            _html.table(head, rows, numbers=4),
        )


def diagnose(codes: Diagnosis, theta: NDArray[np.float32], components: NDArray[np.float32]) -> TopicDiagnosis:
    """Diagnose topics: components [n_topics, n_words] and shares theta [n_documents, n_topics]."""
    usage, largest = theta.mean(0, dtype=np.float64), theta.max(0).astype(np.float64)
    overlaps = np.array([np.minimum(topic, components).sum(1, dtype=np.float64) for topic in components])
    np.fill_diagonal(overlaps, -1.0)
    twin, overlap = overlaps.argmax(1), overlaps.max(1)
    messages = tuple(message for message in codes.messages if message != FINE)
    messages += (*_overlap_messages(overlap), *_unused_messages(largest))
    found = {field.name: getattr(codes, field.name) for field in fields(Diagnosis)}
    found["messages"] = messages or (FINE,)
    return TopicDiagnosis(**found, usage=usage, largest=largest, overlap=overlap, twin=twin)


def _overlap_messages(overlap: NDArray[np.float64]) -> list[str]:
    n, alike = len(overlap), int((overlap > _ALIKE_OVERLAP).sum())
    if not alike:
        return []
    if alike == n:
        return [
            "The topics have collapsed: each is like another one. Train longer or with a larger learning_rate, warm "
            "beta up (beta=fastvae.schedules.linear(0, 1, epochs=...)), or leave out words that are in most documents."
        ]
    return [f"{alike} of {n} topics are like another one: a smaller n_topics does as well, or another random_state."]


def _unused_messages(largest: NDArray[np.float64]) -> list[str]:
    unused = int((largest < _UNUSED_SHARE).sum())
    if not unused:
        return []
    return [f"No document uses {unused} of {len(largest)} topics: a smaller n_topics or a larger alpha may do as well."]
