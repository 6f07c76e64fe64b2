"""scikit-learn's own checks of an estimator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest


def passes_all_checks(estimator: Any, exceptions: Mapping[str, str] | None = None) -> None:
    """Assert that an estimator passes all checks of ``check_estimator`` but for `exceptions`: names with reasons."""
    checks = pytest.importorskip(
        "sklearn.utils.estimator_checks", reason="scikit-learn, which this test needs, is not installed"
    )
    results = checks.check_estimator(estimator, expected_failed_checks=exceptions, on_fail=None, on_skip=None)
    failed = {result["check_name"]: result["exception"] for result in results if result["status"] == "failed"}
    assert not failed
    assert {result["check_name"] for result in results if result["status"] == "xfail"} == set(exceptions or ())
    assert {result["check_name"] for result in results if result["status"] == "skipped"} <= {
        "check_array_api_input"  # needs the environment variable SCIPY_ARRAY_API
    }
    assert sum(result["status"] == "passed" for result in results) >= 40
