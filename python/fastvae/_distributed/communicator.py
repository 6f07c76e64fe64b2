"""The parameter ``communicator``: an MPI communicator, and how to use it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastvae import _checks

if TYPE_CHECKING:
    from types import ModuleType

    from typing_extensions import Self

GRADIENTS = ("float32", "bfloat16")


class Communicator:
    """An MPI communicator with options, as the parameter ``communicator`` of an estimator.

    A plain ``mpi4py.MPI.Comm`` stands for ``Communicator(comm)``.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm or None
        The ranks that train together. None is ``MPI.COMM_WORLD``: all processes that ``mpirun`` has started.
    timeout : float
        Seconds after which a rank that waits for the others gives up, with an error that names the silent ones. It must
        be longer than the longest work of a rank between two steps: a callback, a checkpoint, reading of data.
    gradients : {"float32", "bfloat16"}
        The format of gradients in messages. "bfloat16" halves them: each rank's gradient and the sum are rounded to 8
        bits of precision, the sum itself is in float32.

    Raises
    ------
    ValueError
        If ``timeout`` is not from 0.1 to below 1e6, or ``gradients`` is not known.

    Notes
    -----
    Copies (``copy.deepcopy``, scikit-learn's ``clone``) share the communicator. Pickles and files hold none.

    Examples
    --------
    >>> from fastvae.distributed import Communicator
    >>> Communicator(timeout=60, gradients="bfloat16")
    Communicator(timeout=60.0, gradients='bfloat16')
    """

    def __init__(self, comm: Any = None, *, timeout: float = 300.0, gradients: str = "float32") -> None:
        self.comm = comm
        self.timeout = _checks.number(timeout, "timeout", least=0.1, below=1e6)
        self.gradients = _checks.choice(gradients, "gradients", GRADIENTS)

    def __repr__(self) -> str:
        comm = "" if self.comm is None else "comm, "
        return f"Communicator({comm}timeout={self.timeout!r}, gradients={self.gradients!r})"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: Any) -> Self:
        return self

    def __reduce__(self) -> Any:
        raise TypeError(
            "a Communicator belongs to its process and cannot be pickled: leave it out, and pass communicator= there"
        )


def require_mpi() -> ModuleType:
    """Return ``mpi4py.MPI``, or raise ImportError."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # RuntimeError: mpi4py finds no MPI library
        raise ImportError(
            "communicator= needs mpi4py and an MPI library: pip install 'fastvae-cpu[mpi]', and for the library a "
            f"package of the system, such as openmpi-bin with libopenmpi-dev ({error})"
        ) from error
    module: ModuleType = MPI
    return module


def resolve(given: Any) -> Communicator:
    """Return the parameter ``communicator`` with its options, or raise TypeError."""
    if isinstance(given, Communicator):
        return given
    kind = type(given)
    if any(base.__module__.split(".")[0] == "mpi4py" and base.__name__ == "Comm" for base in kind.__mro__):
        return Communicator(given)
    raise TypeError(
        f"communicator={given!r} must be a communicator of mpi4py, such as MPI.COMM_WORLD, or a "
        "fastvae.distributed.Communicator"
    )
