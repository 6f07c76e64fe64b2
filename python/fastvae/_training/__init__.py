"""Training: objective, passes over the data, validation, early stopping, callbacks."""
