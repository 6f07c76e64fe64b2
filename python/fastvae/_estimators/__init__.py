"""The estimators: scikit-learn's interface to a fitted model."""
