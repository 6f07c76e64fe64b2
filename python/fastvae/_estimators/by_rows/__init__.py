"""Methods whose result has a row for each row of X: in blocks of a source, and lazily of a Dask array."""
