"""Training on several processes, over MPI."""
