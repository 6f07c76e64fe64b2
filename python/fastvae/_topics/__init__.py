"""Topic models on arrays: prior, initial weights, measures, sampled documents, diagnosis."""
