"""ProdLDA (Srivastava & Sutton, arXiv:1703.01488) in PyTorch, with dense batches, for comparison.

Encoder: two layers of softplus, dropout, heads for mu and logvar with batch normalisation.
Prior: the Laplace approximation of a Dirichlet distribution in the softmax basis (section 3.2, equation 5).
Decoder: softmax(BN(theta beta)), theta = dropout(softmax(z)).
In the authors' code (github.com/akashgit/autoencoding_vi_for_topic_models) the three batch normalisations learn a shift
and no scale. Later implementations omit the shift too, so that no word can be frequent in all topics: perplexity
is higher, and topics are more distinctive. The option ``shift`` selects either.
"""

from __future__ import annotations

import time
from importlib import import_module
from typing import Any

import numpy as np
from corpus import Array

torch: Any = import_module("torch")  # untyped: mypy runs without PyTorch


# The setting with the greatest sum of NPMI and accuracy in tune.py.
BEST: dict[str, Any] = {"shift": True, "dropout": 0.0, "batch_size": 200, "alpha": 0.1, "epochs": 200}


class ProdLDA:
    """ProdLDA with scikit-learn's interface.

    Parameters
    ----------
    n_topics : int
    epochs, batch_size : int
    learning_rate : float
        Of Adam, with the paper's betas (0.99, 0.999).
    dropout : float
        Probability of dropping a value of the last hidden layer, or of theta, in training.
    alpha : float
        Parameter of the symmetric Dirichlet prior.
    shift : bool
        Whether the batch normalisations learn a shift.
    hidden : int
        Width of both hidden layers.
    random_state : int
    """

    def __init__(
        self,
        n_topics: int,
        *,
        epochs: int = 200,
        batch_size: int = 200,
        learning_rate: float = 2e-3,
        dropout: float = 0.2,
        alpha: float = 1.0,
        shift: bool = True,
        hidden: int = 100,
        random_state: int = 0,
    ) -> None:
        self.n_topics, self.epochs, self.batch_size, self.learning_rate = n_topics, epochs, batch_size, learning_rate
        self.dropout, self.alpha, self.shift, self.hidden = dropout, alpha, shift, hidden
        self.random_state = random_state

    def fit(self, X: Any) -> ProdLDA:
        """Train on counts, a CSR matrix [n, n_words]."""
        self.start(X)
        for _ in range(self.epochs):
            self.epoch()
        return self

    def start(self, X: Any) -> None:
        """Initialise the model for these counts."""
        torch.manual_seed(self.random_state)
        nn = torch.nn
        self._counts = torch.from_numpy(X.toarray())  # dense once: gathering rows is then fast
        n_words = self._counts.shape[1]
        self.encoder = nn.Sequential(
            nn.Linear(n_words, self.hidden), nn.Softplus(),
            nn.Linear(self.hidden, self.hidden), nn.Softplus(), nn.Dropout(self.dropout),
        )  # fmt: skip
        self.mu, self.logvar = (
            nn.Sequential(nn.Linear(self.hidden, self.n_topics), self._new_norm(self.n_topics)) for _ in range(2)
        )
        self._drop = nn.Dropout(self.dropout)
        self.beta = nn.Linear(self.n_topics, n_words, bias=False)
        nn.init.xavier_uniform_(self.beta.weight)
        self.norm = self._new_norm(n_words)
        self._model = nn.ModuleList([self.encoder, self.mu, self.logvar, self._drop, self.beta, self.norm])
        learned = [value for value in self._model.parameters() if value.requires_grad]
        self._optimizer = torch.optim.Adam(learned, lr=self.learning_rate, betas=(0.99, 0.999))
        self.seconds_: list[float] = []  # processor time of each epoch

    def _new_norm(self, n: int) -> Any:
        norm = torch.nn.BatchNorm1d(n, affine=self.shift)
        if self.shift:
            norm.weight.requires_grad_(False)  # 1
        return norm

    def epoch(self) -> None:
        """Train on all documents once, in random order."""
        begun = time.process_time()
        self._model.train()
        for rows in torch.randperm(len(self._counts)).split(self.batch_size):
            if len(rows) == 1:
                continue  # batch normalisation needs two rows
            loss = self.losses(self._counts[rows]).mean()
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
        self._model.eval()
        self.seconds_.append(time.process_time() - begun)

    @property
    def components_(self) -> Array:
        """Return the distribution of words in a document of one topic alone, [n_topics, n_words].

        The authors rank words by beta, which ignores word frequencies (batch normalisation divides by the spread of
        each word), so that rare words rank first. This ranking gives ProdLDA the higher NPMI.
        """
        return self.inverse_transform(np.eye(self.n_topics, dtype=np.float32))

    def losses(self, x: Any) -> Any:
        """Return the negative lower bound of each document, nats (equation 6)."""
        h = self.encoder(x)
        mu, logvar = self.mu(h), self.logvar(h)
        z = mu + torch.exp(logvar / 2) * torch.randn_like(mu)
        log_p = self._log_words(self._drop(torch.softmax(z, dim=1)))
        # The prior's mean is ln alpha_k - mean ln alpha = 0, its variance
        # (1 - 2 / K) / alpha_k + sum_i 1 / alpha_i / K².
        prior_var = (1 - 1 / self.n_topics) / self.alpha
        kl = 0.5 * ((logvar.exp() + mu**2) / prior_var - 1 + np.log(prior_var) - logvar).sum(1)
        return kl - (x * log_p).sum(1)

    def _log_words(self, theta: Any) -> Any:
        return torch.log_softmax(self.norm(self.beta(theta)), dim=1)

    def transform(self, X: Any) -> Array:
        """Return theta = softmax(mu), [n, n_topics]."""
        with torch.no_grad():
            theta = torch.softmax(self.mu(self.encoder(torch.from_numpy(X.toarray()))), dim=1)
        return theta.numpy()  # type: ignore[no-any-return]

    def inverse_transform(self, theta: Array) -> Array:
        """Return the probabilities of words, [n, n_words]."""
        with torch.no_grad():
            return self._log_words(torch.from_numpy(theta)).exp().numpy()  # type: ignore[no-any-return]
