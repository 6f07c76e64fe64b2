"""Data that are read in ranges of rows, an adapter in each file; `opening` chooses it."""
