"""Training on several processes and machines, over MPI.

``VAE(..., communicator=MPI.COMM_WORLD).fit(own_rows)``, started by ``mpirun``, trains one model on the rows of all
processes: see the guide's page on distributed training. It needs ``pip install 'fastvae-cpu[mpi]'``.
"""

from __future__ import annotations

from typing import Any

from fastvae import _checks
from fastvae._distributed.communicator import Communicator, require_mpi, resolve

__all__ = ["Communicator", "share"]


def share(n: int, communicator: Any = None) -> slice:
    """Return the rows of an array of `n` rows that are this rank's: equal shares, in the order of the ranks.

    Parameters
    ----------
    n : int
        Rows of all ranks together.
    communicator : mpi4py.MPI.Comm, Communicator or None
        As for the estimator. None is ``MPI.COMM_WORLD``.

    Returns
    -------
    slice
        For example ``X = np.load("x.npy", mmap_mode="r")[share(n)]``. Lengths differ by at most one.

    Raises
    ------
    ValueError
        If there are fewer rows than ranks.
    TypeError
        If `communicator` is no communicator.
    ImportError
        If mpi4py or an MPI library is missing.
    """
    comm = None if communicator is None else resolve(communicator).comm
    if comm is None:
        comm = require_mpi().COMM_WORLD
    rank, size = comm.Get_rank(), comm.Get_size()
    n = _checks.integer(n, "n", least=size)
    return slice(n * rank // size, n * (rank + 1) // size)
