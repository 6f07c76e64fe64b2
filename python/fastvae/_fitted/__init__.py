"""The fitted model: an engine with its specification, arrays in and arrays out, no estimator."""
