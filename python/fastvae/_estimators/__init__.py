"""The estimators: parameters, checks and names as scikit-learn has them, around a fitted model."""
