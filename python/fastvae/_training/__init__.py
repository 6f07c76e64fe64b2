"""Training: what is minimised, the passes over the data, and when they end."""
