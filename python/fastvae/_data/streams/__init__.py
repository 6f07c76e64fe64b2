"""Training data that are not in memory as a whole: `blocks` of a source's rows, or `batches` of an iterator."""
