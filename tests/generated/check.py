"""Trains the models of a set-up, two, and checks what must hold."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from generated import inference, twins
from generated.families import SETUPS
from generated.frames import Frames
from generated.setup import Setup

MODELS = 2  # trained by each set-up


def failure(family: str, seed: int) -> str | None:
    """Return what fails, with the set-up as a command, or None."""
    setup = SETUPS[family](seed)
    try:
        check(setup)
    except Exception as error:
        return f"{setup}\n    {type(error).__name__}: {error}"
    return None


def check(setup: Setup | Frames) -> None:
    """Raise AssertionError unless everything holds."""
    if isinstance(setup, Frames):
        setup.check()
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        np.seterr(all="warn", under="ignore")
        try:
            model = setup.fit()
            found = inference.answers(setup, model)
            others = inference.others(setup, model)
        except FloatingPointError:
            if not may_overflow(setup):
                raise
            return
        inference.check_finite(setup, found | others)
        inference.check_far(setup, model)
        inference.check_support(setup, found | others)
        inference.check_fit(setup, model, found["scores"])
        inference.check_rows(setup, model, found)
        inference.check_loaded(setup, model, found)
        if "image_shape" not in setup.options and setup.family not in ("exams", "documents", "groups"):
            inference.check_columns(setup, model)
        twins.CHECKS[setup.seed % len(twins.CHECKS)](setup, model)
    check_warnings(caught)


def may_overflow(setup: Setup) -> bool:
    """Whether a FloatingPointError is right, since the options do not suit the data."""
    options = setup.options
    sgd = options.get("optimizer") == "sgd"  # its step does not adapt to the data
    held_out = "validation_fraction" in options  # outliers that training has not seen
    far_outlier = {"outlier", "lognormal", "t"} & {*setup.facts} and inference.has_fixed_unit(
        setup
    )  # squares beyond float32
    return sgd or held_out or bool(far_outlier)


def check_warnings(caught: list[Any]) -> None:
    """Warnings are sentences of the library, none of numpy."""
    for warning in caught:
        assert issubclass(warning.category, UserWarning), f"{warning.category.__name__}: {warning.message}"
