"""The fitted model, an engine with its specification, and functions of it on arrays."""
