"""The native module. Float arrays are flat; :mod:`fastvae._fitted.model` documents their shapes."""

from collections.abc import Callable
from typing import Any, TypedDict, final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ACTIVATIONS",
    "FREQUENCIES",
    "LARGEST",
    "LIKELIHOODS",
    "LOGVAR_RANGE",
    "MAX_SIDE",
    "MAX_THREADS",
    "MAX_TRIALS",
    "MAX_WIDTH",
    "PRECISIONS",
    "ROUNDING",
    "TOPIC_GAIN",
    "ColumnMoments",
    "Engine",
    "ExamAnswers",
    "FormatError",
    "ModelFile",
    "SparseMatrix",
    "__version__",
    "check_likelihood",
    "complete_specification",
    "config",
    "corrupt",
    "cpu_features",
    "gaussian_kl",
    "layer_shapes",
    "likelihood_formula",
    "log_prob",
    "order_of_rank",
    "permutation",
    "reparameterize",
    "standard_normal",
    "unreadable_num_threads",
    "write_atomically",
]

__version__: str
ACTIVATIONS: list[str]
FREQUENCIES: tuple[float, float]
LARGEST: float
LIKELIHOODS: dict[str, _LikelihoodFacts]
LOGVAR_RANGE: tuple[float, float]
MAX_THREADS: int
MAX_TRIALS: int
MAX_SIDE: int
MAX_WIDTH: int
PRECISIONS: list[str]
ROUNDING: float
TOPIC_GAIN: float

_F32 = NDArray[np.float32]

class _LikelihoodFacts(TypedDict):
    counts: bool
    unit: bool
    words: bool
    public: bool

_Rows = NDArray[np.uint64]

@final
class ColumnMoments:
    @property
    def mean(self) -> NDArray[np.float64]: ...
    @property
    def std(self) -> NDArray[np.float64]: ...
    def table(self) -> NDArray[np.float64]: ...
    def merged(self, tables: list[NDArray[np.float64]]) -> ColumnMoments: ...

@final
class SparseMatrix:
    def __new__(
        cls,
        indptr: NDArray[np.int64],
        indices: NDArray[np.int32],
        data: _F32,
        shape: tuple[int, int],
        name: str,
    ) -> SparseMatrix: ...
    def __len__(self) -> int: ...
    @property
    def canonical(self) -> bool: ...
    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def dtype(self) -> np.dtype[np.float32]: ...
    @property
    def indptr(self) -> NDArray[np.int64]: ...
    @property
    def indices(self) -> NDArray[np.int32]: ...
    @property
    def data(self) -> _F32: ...

_Matrix = NDArray[Any] | SparseMatrix

# Weight of the reconstruction, weight of the KL, free bits, capacity, draws per example, doubly reparameterised.
_Objective = tuple[float, float, float, float | None, int, bool]
# Weights of the mixture, log variance of its widest component, means and log variances, factors of the KL.
_Composite = tuple[tuple[float, float, float], float, list[_F32], _F32]

@final
class Engine:
    def __new__(cls, specification: str) -> Engine: ...
    def with_precision(self, precision: str) -> Engine: ...
    @property
    def specification(self) -> str: ...
    @property
    def steps(self) -> int: ...
    @property
    def optimizer_start(self) -> int: ...
    @property
    def epochs(self) -> int: ...
    @property
    def clamped(self) -> int: ...
    def shapes(self) -> list[tuple[str, list[int]]]: ...
    def trained(self) -> list[tuple[str, list[int]]]: ...
    def parameters(self) -> list[_F32]: ...
    def set_parameters(self, values: list[_F32]) -> None: ...
    def quantized(self, precision: str) -> Engine: ...
    def store_best(self) -> None: ...
    def restore_best(self) -> None: ...
    def drop_best(self) -> None: ...
    def flip_sign(self, coordinate: int) -> None: ...
    def column_moments(
        self, x: _Matrix, rows: _Rows | None, binarize: str | None, threads: int | None
    ) -> ColumnMoments: ...
    def standardized(self, moments: ColumnMoments) -> str | None: ...
    def standardized_y(self, y: NDArray[Any], rows: _Rows | None) -> str | None: ...
    def start(self, moments: ColumnMoments) -> None: ...
    def check(self, x: _Matrix, name: str, threads: int | None) -> None: ...
    def train(
        self,
        x: _Matrix,
        y: NDArray[Any] | None,
        weights: _F32 | None,
        rows: _Rows | None,
        eps: _F32 | None,
        corrupted: _Matrix | None,
        *,
        shuffle: bool,
        batch_size: int,
        objective: _Objective,
        step_values: tuple[_F32, _F32, NDArray[np.float64]],
        corruption: tuple[str, float] | None,
        binarize: str | None,
        clip_norm: float | None,
        threads: int | None,
        checks_end: bool,
        skips_bad: bool,
        tick: Callable[[int], None] | None,
        prior: _Composite | None = None,
        exchange: Any = None,
        block: tuple[int, int, NDArray[np.uint64], float | None] | None = None,
    ) -> tuple[float, float, float, float, int]: ...
    def encode(
        self, x: _Matrix, y: NDArray[Any] | None, logvar: bool, threads: int | None, out: _F32 | None = None
    ) -> tuple[_F32, _F32]: ...
    def last_hidden(self, x: _Matrix, rows: _Rows | None, threads: int | None) -> _F32: ...
    def decode(self, z: NDArray[Any], y: NDArray[Any] | None, threads: int | None, out: _F32 | None = None) -> _F32: ...
    def best_items(
        self,
        x: _Matrix,
        n: int,
        allowed: NDArray[np.bool_] | None,
        new_only: bool,
        bounds: tuple[_F32, _F32, NDArray[np.uint32]] | None,
        threads: int | None,
    ) -> tuple[NDArray[np.int32], _F32]: ...
    def reconstruct(self, x: _Matrix, y: NDArray[Any] | None, threads: int | None, out: _F32 | None = None) -> _F32: ...
    def score(
        self,
        x: _Matrix,
        y: NDArray[Any] | None,
        eps: _F32 | None,
        samples: int,
        threads: int | None,
        balanced: bool = False,
    ) -> list[_F32]: ...
    def kl(self, x: _Matrix, y: NDArray[Any] | None, threads: int | None) -> _F32: ...
    def mean_of_losses(
        self, losses: list[_F32], kl: _F32, weights: _F32 | None, objectives: list[_Objective]
    ) -> tuple[float, float, list[float]]: ...
    def mean_losses(
        self,
        x: _Matrix,
        y: NDArray[Any] | None,
        weights: _F32 | None,
        rows: _Rows | None,
        eps: _F32 | None,
        objectives: list[_Objective],
        corruption: tuple[str, float] | None,
        binarize: str | None,
        balanced: bool,
        threads: int | None,
        exchange: Any = None,
    ) -> tuple[float, float, list[float]]: ...
    def log_marginal(
        self, x: _Matrix, y: NDArray[Any] | None, samples: int, threads: int | None
    ) -> list[NDArray[np.float64]]: ...
    def conditional_mean(
        self, x: _Matrix, given: _Matrix, y: NDArray[Any] | None, samples: int, threads: int | None
    ) -> tuple[_F32, NDArray[np.float64]]: ...
    def conditional_sample(
        self,
        x: _Matrix,
        given: _Matrix,
        y: NDArray[Any] | None,
        samples: int,
        draws: int,
        seed: int,
        threads: int | None,
    ) -> tuple[_F32, NDArray[np.float64]]: ...
    def loss_and_gradients(
        self,
        x: _Matrix,
        y: NDArray[Any] | None,
        weights: _F32 | None,
        eps: _F32 | None,
        corrupted: _Matrix | None,
        objective: _Objective,
        corruption: tuple[str, float] | None,
        binarize: str | None,
        threads: int | None,
        prior: _Composite | None = None,
    ) -> tuple[float, float, float, list[_F32]]: ...
    def apply_gradients(self, gradients: list[_F32], learning_rate: float, threads: int | None) -> None: ...
    def prior(self, n: int, seed: int, first: int = 0) -> _F32: ...
    def sample(
        self,
        z: NDArray[Any],
        y: NDArray[Any] | None,
        lengths: NDArray[np.uint32] | None,
        seed: int,
        threads: int | None,
        first: int = 0,
    ) -> _F32: ...
    def posterior_sample(
        self, x: _Matrix, y: NDArray[Any] | None, n: int, seed: int, threads: int | None, first: int = 0
    ) -> _F32: ...
    def mean_code(
        self, x: _Matrix, y: NDArray[Any] | None, points: _F32, threads: int | None, out: _F32 | None = None
    ) -> _F32: ...
    def variable_log_prob(
        self, x: _Matrix, y: NDArray[Any] | None, n: int, seed: int, threads: int | None, first: int = 0
    ) -> _F32: ...
    def predictive(
        self, x: _Matrix, y: NDArray[Any] | None, n: int, seed: int, threads: int | None, first: int = 0
    ) -> list[_F32]: ...
    def dump(
        self, estimator: str, moments: bool, history: list[tuple[str, NDArray[np.float64]]] = ..., best: bool = ...
    ) -> bytes: ...
    def fingerprint(self, x: _Matrix, y: NDArray[Any] | None, weights: _F32 | None, rows: _Rows | None) -> int: ...

class FormatError(ValueError): ...

@final
class ExamAnswers:
    def __new__(
        cls,
        marks: _F32,
        n_tasks: int,
        weights: _F32 | None = None,
        groups: NDArray[np.uint32] | None = None,
        by_score: bool = False,
    ) -> ExamAnswers: ...
    def patterns(self) -> tuple[NDArray[np.uint32], NDArray[np.float64]]: ...
    def fit(
        self,
        settings: str,
        most_marks: list[int],
        start: list[float],
        groups: list[tuple[float, float]],
        n_threads: int | None,
    ) -> tuple[NDArray[np.float64], list[tuple[float, float]], NDArray[np.float64], float, int]: ...
    def gradient(
        self,
        settings: str,
        most_marks: list[int],
        parameters: list[float],
        groups: list[tuple[float, float]],
        n_threads: int | None,
    ) -> tuple[float, NDArray[np.float64]]: ...

@final
class ModelFile:
    def __new__(cls, source: str | bytes) -> ModelFile: ...
    @property
    def specification(self) -> str: ...
    @property
    def estimator(self) -> str: ...
    def read(self) -> tuple[Engine, list[tuple[str, NDArray[np.float64]]]]: ...

def complete_specification(specification: str) -> str: ...
def check_likelihood(json: str) -> None: ...
def likelihood_formula(json: str) -> str: ...
def write_atomically(path: str, data: bytes) -> None: ...
def reparameterize(mu: _F32, logvar: _F32, eps: _F32) -> _F32: ...
def gaussian_kl(mu: _F32, logvar: _F32, cols: int) -> _F32: ...
def layer_shapes(name: str, input: list[int], layers: str) -> list[list[int]]: ...
def log_prob(x: _F32, y: _F32, log_scale: _F32 | None, cols: int) -> _F32: ...
def corrupt(x: _F32, corruption: tuple[str, float], cols: int, seed: int) -> _F32: ...
def permutation(seed: int, epoch: int, block: int, n: int) -> NDArray[np.uint64]: ...
def standard_normal(n: int, cols: int, seed: int, stream: int) -> _F32: ...
def order_of_rank(seed: int, epoch: int, rank: int, n: int) -> list[int]: ...
def config() -> tuple[str, list[str], int, bool]: ...
def cpu_features() -> list[tuple[str, bool]]: ...
def unreadable_num_threads() -> tuple[str, int] | None: ...
