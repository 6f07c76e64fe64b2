"""Train one model on several processes.

    mpirun -n 2 python -m mpi4py examples/distributed/digits.py

Each process, a rank, reads its share of the rows and passes it to ``fit``. All have the same model: rank 0 shows the
result. ``python -m mpi4py`` ends all ranks if one raises an error outside of ``fit``. After a crash ``--resume`` goes
on from the checkpoint, on any number of ranks.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mpi4py import MPI

import fastvae
from fastvae.distributed import Communicator, share


def main() -> None:
    """Train, and print the losses on rank 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--checkpoint", type=Path, help="a file that all ranks can read")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    arguments = parser.parse_args()

    rank = MPI.COMM_WORLD.Get_rank()
    X, _ = fastvae.datasets.load_digits()
    own = X[share(len(X))]  # with np.load(..., mmap_mode="r") a rank reads its rows only
    communicator = Communicator(MPI.COMM_WORLD, timeout=120)
    if arguments.resume:
        model = fastvae.resume(arguments.checkpoint, own, communicator=communicator)
    else:
        model = fastvae.VAE(
            latent_dim=8,
            hidden=(128,),
            batch_size=256,
            epochs=arguments.epochs,
            random_state=0,
            communicator=communicator,
        )
        model.fit(own, checkpoint=arguments.checkpoint)
    if rank == 0:
        print(f"{MPI.COMM_WORLD.Get_size()} ranks, {len(X)} rows, {model.n_iter_} epochs in {model.elapsed_:.2f} s")
        print(f"loss of the first and the last epoch: {model.loss_curve_[0]:.3f}, {model.loss_curve_[-1]:.3f} nats")


if __name__ == "__main__":
    main()
