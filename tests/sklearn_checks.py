"""scikit-learn's own checks of an estimator."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import pytest

# A row of weight 2 has one draw of noise, two rows have two; and batches depend on the number of rows.
WEIGHTS = {
    f"check_sample_weight_equivalence_on_{kind}_data": "wants the same codes after training: weights and repeated rows "
    "have the same loss in expectation, but not the same batches and noise"
    for kind in ("dense", "sparse")
}


def passes_all_checks(estimator: Any, exceptions: Mapping[str, str] = WEIGHTS) -> None:
    """Assert that an estimator passes all checks of ``check_estimator`` but for `exceptions`: names with reasons."""
    checks = pytest.importorskip(
        "sklearn.utils.estimator_checks", reason="scikit-learn, which this test needs, is not installed"
    )
    results = checks.check_estimator(estimator, expected_failed_checks=exceptions, on_fail=None, on_skip=None)
    failed = {result["check_name"]: result["exception"] for result in results if result["status"] == "failed"}
    assert not failed, failed
    assert {result["check_name"] for result in results if result["status"] == "xfail"} == set(exceptions)
    assert {result["check_name"] for result in results if result["status"] == "skipped"} <= {
        "check_array_api_input"  # needs the environment variable SCIPY_ARRAY_API
    }
    assert sum(result["status"] == "passed" for result in results) >= 40


def sklearn_version() -> tuple[int, ...]:
    """Major and minor version of scikit-learn."""
    return tuple(int(part) for part in version("scikit-learn").split(".")[:2])
