"""Hashes of all results, compared with a record: a change of the code must not change the bits of any result.

Small models of every kind are trained and evaluated. ``data/bits.json`` has two hashes for each of their parameters and
results: "fma" for AVX2 and AVX-512, which agree, and "portable". The number of threads does not matter.

``python tests/test_bits.py`` rewrites the file. Do so only for an intended change of bits; the commit gives the reason.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import pickle
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fastvae
from fastvae import VAE, Autoencoder, ItemResponse, Recommender, TopicModel, functional, schedules
from fastvae.corruption import GaussianNoise, MaskingNoise, SaltAndPepper
from fastvae.layers import AvgPool2d, Conv2d, ConvTranspose2d, Dense, MaxPool2d, Upsample
from fastvae.likelihoods import Bernoulli, Gaussian, NegativeBinomial, Poisson
from fastvae.optimizers import SGD, Adagrad, Adam, AdamW
from fastvae.priors import ItemPrior

RECORD = Path(__file__).parent / "data" / "bits.json"
# The key in the record of what each instruction set computes.
KINDS = {"avx512": "fma", "avx2": "fma", "portable": "portable"}
THREADS = (1, 2)
# Ends the names of quantities that also depend on functions of numpy (exp, products of matrices in float64) and of the
# C library (exp and ln in float64). They are compared where `machine` says that those are the recorded ones. Most are
# there a second time, rounded to six digits behind the point, which hides the last bits of a float64.
MACHINE = " (machine)"

Bits = dict[str, str]


# ------------------------------------------------------------------------------------------------- hashes


def digest(*values: Any) -> str:
    """Return a hash of types, shapes and bits. All NaN are the same."""
    sha = hashlib.sha256()
    for value in values:
        if isinstance(value, str):
            sha.update(value.encode())
            continue
        array = np.asarray(value)
        if array.dtype.kind == "f":
            array = np.where(np.isnan(array), array.dtype.type(np.nan), array)
        sha.update(f"{array.dtype.str}{array.shape}".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()[:16]


def digest_of(named: dict[str, Any]) -> str:
    """Return a hash of names and arrays, in order."""
    return digest(*(part for pair in named.items() for part in pair))


def rounded(name: str, *values: Any) -> Bits:
    """Return a hash of numbers rounded to multiples of 2**-20, and one of all bits, which depend on the machine."""
    arrays = [np.asarray(value) for value in values]
    short = [np.rint(array * 2.0**20) + 0.0 if array.dtype.kind == "f" else array for array in arrays]  # no -0
    return {name: digest(*short), name + MACHINE: digest(*arrays)}


def machine() -> str:
    """Return a hash of what functions of numpy and of the C library give, that results may depend on."""
    x = (whole(24, 40, 4001) - 2000) / 257
    wide, positive = x.ravel(), np.abs(x).ravel() + 0.01
    long = [np.exp(wide), np.log(positive), np.cos(wide), np.sin(wide), np.logaddexp(0, wide), positive**0.3]
    library = [[f(v) for v in positive.tolist()] for f in (math.exp, math.log, math.cos, math.lgamma)]
    long.append(np.exp(wide.astype(np.float32)))
    # Products shaped as those of an exam: students, tasks, abilities.
    marks, logits = x.ravel()[: 45 * 11].reshape(45, 11), (whole(321, 11, 4001, 1) - 2000) / 257
    weights = np.exp((marks @ logits.T) / 99)
    products = [
        weights,
        weights.T @ marks,
        weights @ logits,
        weights @ logits[:, 0],
        np.einsum("gt,gt->t", logits, logits),
    ]
    return digest(*long, *library, *products, x.var(0), x.mean())


# --------------------------------------------------------------------------------------------------- data


def whole(rows: int, cols: int, below: int, salt: int = 0) -> NDArray[np.int64]:
    """Return integers in 0 .. below - 1, [rows, cols], by integer arithmetic alone: the finaliser of SplitMix64."""
    x = np.arange(rows * cols, dtype=np.uint64) + np.uint64(1 + 1_000_003 * salt)
    x *= np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return (x >> np.uint64(33)).astype(np.int64).reshape(rows, cols) % below


def real(rows: int, cols: int, salt: int = 0) -> NDArray[np.float32]:
    """Return multiples of 1/256 in -4 .. 4."""
    return ((whole(rows, cols, 2049, salt) - 1024) / 256).astype(np.float32)


def with_holes(X: NDArray[Any], one_of: int = 5) -> NDArray[np.float32]:
    """Return a copy with NaN in one of so many places, in all of row 3 and in none of row 4."""
    holes = whole(*X.shape, one_of, 50) == 0
    holes[3], holes[4] = True, False
    return np.where(holes, np.float32(np.nan), X.astype(np.float32))


@dataclass(frozen=True)
class Rows:
    """A sparse matrix as the library reads it of any other library: the arrays of CSR."""

    indptr: NDArray[Any]
    indices: NDArray[Any]
    data: NDArray[Any]
    shape: tuple[int, int]


def sparse(dense: NDArray[Any], *, mixed: bool = False) -> Rows:
    """Return the entries that are not zero; `mixed`, in descending order in each row, with wider types."""
    row, col = np.nonzero(dense)
    order = np.lexsort((-col, row)) if mixed else np.arange(len(row))
    data = dense[row, col][order].astype(np.float64 if mixed else np.float32)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(dense)))])
    return Rows(indptr, col[order].astype(np.int64 if mixed else np.int32), data, dense.shape)


N, WIDTH = 45, 37
BYTES = whole(N, WIDTH, 256).astype(np.uint8)
GREY = BYTES.astype(np.float32) / np.float32(255)
BINARY = (BYTES > 150).astype(np.float32)
REAL = real(N, WIDTH)
# Counts from 0 to 11, most of them small; every 7th is large in one column.
COUNTS = np.maximum(whole(N, WIDTH, 16, 1) - 9, 0) + np.maximum(whole(N, WIDTH, 9, 2) - 5, 0)
COUNTS[::7, 5] = 40 + whole(7, 1, 400, 3)[:, 0]
# Few words, some of which no document has, and a document without any.
FEW = np.where(whole(N, 71, 12, 4) == 0, 1 + whole(N, 71, 5, 5), 0)
FEW[9], FEW[:, 40] = 0, 0
# Pictures with a dead region and rare pixels, whose products with the first layer are left out.
PICTURES = whole(130, 150, 256, 6).astype(np.uint8)
PICTURES[:, 70:100] = 0
PICTURES[:, 100:][whole(130, 50, 20, 7) > 0] = 0
LABELS = whole(N, 1, 3, 8)[:, 0]
NAMES = np.array(["ash", "birch", "elm"])[LABELS]
COVARIATES = real(N, 2, 9)
# Students who know more solve more.
ANSWERS = (whole(N, 11, 30, 10) < 5 + 2 * np.arange(11) + whole(N, 1, 12, 11) - 6).astype(np.float32)
MOST = 1 + whole(1, 11, 5, 12)[0]
MARKS = (whole(N, 11, 1000, 13) % (MOST + 1)).astype(np.float32)


# ----------------------------------------------------------------------------------------- configurations


@dataclass(frozen=True)
class Case:
    """A model to fit, with what, and what else `fit` is told."""

    model: Any
    X: Any
    y: Any = None
    fit: dict[str, Any] = field(default_factory=dict)


SMALL: dict[str, Any] = {"hidden": (33,), "batch_size": 16, "epochs": 2, "random_state": 1, "progress": False}
SHORT: dict[str, Any] = SMALL | {"hidden": (13,)}


def vae(X: Any = GREY, y: Any = None, fit: dict[str, Any] | None = None, **parameters: Any) -> Case:
    """Return a small VAE of 37-33-3, with remainders in all directions."""
    return Case(VAE(**({"latent_dim": 3} | SMALL | parameters)), X, y, fit or {})


def plain(X: Any = REAL, fit: dict[str, Any] | None = None, **parameters: Any) -> Case:
    """Return a small autoencoder."""
    return Case(Autoencoder(**({"latent_dim": 3} | SMALL | parameters)), X, None, fit or {})


def topics(X: Any = FEW, **parameters: Any) -> Case:
    """Return a small topic model."""
    return Case(TopicModel(**({"n_topics": 5} | SMALL | {"hidden": (33, 20)} | parameters)), X)


def exam(model: str = "2pl", X: Any = ANSWERS, fit: dict[str, Any] | None = None, **parameters: Any) -> Case:
    """Return a small item response model by maximum likelihood."""
    likelihood: dict[str, Any] = {"n_importance_samples": 4, "prior": None}
    return Case(ItemResponse(model, **(SHORT | likelihood | parameters)), X, None, fit or {})


def likelihoods() -> dict[str, Case]:
    shared, each, decoder = Gaussian("shared"), Gaussian("per_feature"), Gaussian("decoder")
    return {
        "bernoulli": vae(),
        "bernoulli binary": vae(BINARY, likelihood=Bernoulli()),
        "gaussian": vae(REAL, likelihood="gaussian"),
        "gaussian 0.3": vae(REAL, likelihood=Gaussian(0.3)),
        "gaussian shared": vae(REAL, likelihood=shared, learning_rate=0.01),
        "gaussian per feature": vae(REAL, likelihood=each, learning_rate=0.01),
        "gaussian decoder": vae(REAL, likelihood=decoder),
        "gaussian floor": vae(GREY, likelihood=Gaussian("per_feature", floor=0.97), learning_rate=0.05),
        "gaussian sigmoid": vae(GREY, likelihood=Gaussian(0.3, mean="sigmoid")),
        "gaussian sigmoid decoder": vae(GREY, likelihood=Gaussian("decoder", floor=0.1, mean="sigmoid")),
        "poisson": vae(COUNTS, likelihood="poisson"),
        "negative binomial": vae(COUNTS, likelihood="negative_binomial", learning_rate=0.01),
        "negative binomial floor": vae(COUNTS, likelihood=NegativeBinomial(floor=0.97), learning_rate=0.05),
        "multinomial": vae(COUNTS, likelihood="multinomial"),
    }


def networks() -> dict[str, Case]:
    activations = ("tanh", "sigmoid", "softplus", "elu", "gelu", "silu", "identity")
    found = {f"activation {name}": vae(activation=name) for name in activations}
    return found | {
        "no hidden layer": vae(hidden=(), latent_dim=5),
        "deep": vae(hidden=(33, 40, 5), decoder_hidden=(7, 65), activation="tanh"),
        "decoder alone": vae(hidden=(), decoder_hidden=(34,)),
        "latent 20": vae(latent_dim=20, likelihood="gaussian"),
        "latent 40": vae(latent_dim=40, hidden=(70,)),
        "one feature": vae(REAL[:, :1], latent_dim=1, hidden=(2,), likelihood="gaussian"),
        "batch of one": vae(GREY[:5], batch_size=1),
        "pictures": vae(PICTURES, latent_dim=20, hidden=(70,), batch_size=64),
    }


def optimizers() -> dict[str, Case]:
    return {
        "adam": vae(optimizer=Adam(0.8, 0.99, 1e-6)),
        "adam decay": vae(optimizer="adam", weight_decay=0.1),
        "adamw": vae(optimizer="adamw"),
        "adamw decay": vae(REAL, optimizer=AdamW(0.7, 0.9), weight_decay=0.3, likelihood=Gaussian("shared")),
        "sgd": vae(optimizer="sgd", learning_rate=0.02),
        "sgd decay": vae(optimizer=SGD(weight_decay=0.1), learning_rate=0.02),
        "sgd momentum": vae(optimizer=SGD(momentum=0.9)),
        "sgd nesterov": vae(optimizer=SGD(momentum=0.9, nesterov=True, weight_decay=0.01)),
        "adagrad": vae(optimizer="adagrad", learning_rate=0.01),
        "adagrad decay": vae(optimizer=Adagrad(lr_decay=0.1, weight_decay=0.1), learning_rate=0.01),
    }


def objectives() -> dict[str, Case]:
    warm_up = schedules.linear(0.1, 1.0, epochs=1.5)
    return {
        "beta": vae(beta=4.0),
        "beta linear": vae(beta=warm_up, learning_rate=schedules.cosine(1e-2, 1e-4, epochs=3)),
        "beta cyclical": vae(beta=schedules.cyclical(0.0, 1.0, steps=4, ramp=0.7)),
        "beta function": vae(beta=lambda step: 1 / (1 + step)),
        "rate exponential": vae(learning_rate=schedules.exponential(1e-2, 1e-4, steps=7)),
        "free bits": vae(free_bits=0.004),
        "capacity": vae(capacity=1.5),
        "capacity schedule": vae(capacity=schedules.linear(0.0, 3.0, steps=9), free_bits=0.01, beta=2.0),
        "reconstruction alone": vae(objective="reconstruction"),
        "kl alone": vae(objective="kl"),
        "clipped": vae(clip_norm=0.05),
        "clipped scale": vae(REAL, clip_norm=0.5, likelihood=Gaussian("per_feature")),
        "clipped decoder": vae(REAL, clip_norm=0.5, likelihood=Gaussian("decoder"), optimizer="adamw"),
        "binarize bernoulli": vae(binarize="bernoulli", validation_fraction=0.2),
        "binarize threshold": vae(BYTES, binarize="threshold", corruption=MaskingNoise(0.3), validation_fraction=0.2),
        "early stopping": vae(early_stopping=True, epochs=25, n_iter_no_change=3, learning_rate=0.05),
        "validation": vae(
            REAL,
            fit={"validation_data": real(20, WIDTH, 77)},
            likelihood=Gaussian("decoder"),
            corruption=GaussianNoise(0.2),
            early_stopping=True,
            n_iter_no_change=2,
            free_bits=0.02,
            capacity=schedules.linear(0.0, 1.0, epochs=2),
            epochs=4,
        ),
    }


def inputs() -> dict[str, Case]:
    nb, shared, decoder = "negative_binomial", Gaussian("shared"), Gaussian("decoder")
    holes, counted = with_holes(REAL), with_holes(COUNTS)
    return {
        "gaussian noise": vae(REAL, likelihood="gaussian", corruption=GaussianNoise(0.3)),
        "masking": vae(BYTES, corruption=MaskingNoise(0.4)),
        "salt and pepper": vae(corruption=SaltAndPepper(0.4)),
        "log1p": vae(COUNTS, likelihood="poisson", input_transform="log1p", corruption=GaussianNoise(0.1)),
        "binary": vae(COUNTS, likelihood=nb, input_transform="binary"),
        "l1": vae(COUNTS, likelihood="multinomial", input_transform="l1"),
        "l2": vae(REAL, likelihood="gaussian", input_transform="l2", corruption=MaskingNoise(0.2)),
        "missing": vae(with_holes(GREY), missing="mask"),
        "missing told": vae(holes, likelihood=Gaussian("per_feature"), missing="mask", missing_indicator=True),
        "missing decoder": vae(holes, likelihood=decoder, missing="mask", validation_fraction=0.2, clip_norm=1.0),
        "missing counts": vae(counted, likelihood="poisson", missing="mask", input_transform="log1p"),
        "missing counts told": vae(counted, likelihood=nb, missing="mask", missing_indicator=True),
        "missing noise": vae(holes, likelihood=shared, missing="mask", corruption=GaussianNoise(0.2)),
        "missing masked": vae(
            with_holes(BYTES / 255),
            missing="mask",
            missing_indicator=True,
            binarize="bernoulli",
            corruption=MaskingNoise(0.3),
        ),
        "labels": vae(y=LABELS, conditional=True),
        "names": vae(
            REAL,
            NAMES,
            conditional=True,
            likelihood=Gaussian("decoder"),
            fit={"validation_data": (REAL[:20], NAMES[:20])},
        ),
        "covariates": vae(REAL, COVARIATES, conditional=True, likelihood=Gaussian("per_feature"), hidden=()),
        "labels missing": vae(
            holes, LABELS, conditional=True, likelihood="gaussian", missing="mask", missing_indicator=True
        ),
        "labels sparse": vae(sparse(FEW), LABELS, conditional=True, likelihood="poisson", input_transform="log1p"),
        "cells": vae(
            sparse(FEW),
            LABELS,
            conditional=True,
            likelihood=NegativeBinomial(size_factor="total", zero_inflation=True, dispersion="batch"),
            input_transform="log1p",
        ),
        "cells poisson": vae(FEW, likelihood=Poisson("total"), input_transform="log1p", validation_fraction=0.2),
        "sparse": vae(sparse(FEW > 0), corruption=MaskingNoise(0.3)),
        "sparse log1p": vae(sparse(FEW, mixed=True), likelihood="poisson", input_transform="log1p"),
        "sparse l2": vae(sparse(FEW), likelihood=nb, input_transform="l2", validation_fraction=0.2, clip_norm=0.5),
        "sparse l1": vae(sparse(FEW), likelihood="multinomial", input_transform="l1", corruption=MaskingNoise(0.3)),
        "sparse binary": vae(sparse(FEW), likelihood="gaussian", input_transform="binary"),
        "sparse noise": vae(sparse(FEW), likelihood=decoder, corruption=GaussianNoise(0.1)),
        "sparse missing": vae(
            sparse(with_holes(FEW, 30)), likelihood="poisson", missing="mask", missing_indicator=True
        ),
        "sparse no hidden layer": vae(sparse(FEW), likelihood="gaussian", hidden=(), optimizer="adagrad"),
        "not so sparse missing": vae(sparse(counted), likelihood=nb, missing="mask", input_transform="binary"),
        "not so sparse": vae(sparse(COUNTS), likelihood="poisson", input_transform="log1p"),
        "not so sparse masked": vae(sparse(COUNTS), likelihood="multinomial", corruption=MaskingNoise(0.3)),
    }


def importance() -> dict[str, Case]:
    holes, nb = with_holes(REAL), "negative_binomial"
    five, doubly = {"n_importance_samples": 5}, {"n_importance_samples": 4, "doubly_reparameterized": True}
    return {
        "importance": vae(**five, validation_fraction=0.2),
        "importance doubly": vae(**doubly, activation="tanh"),
        "importance noise": vae(REAL, **five, likelihood=Gaussian(0.5), corruption=GaussianNoise(0.3), clip_norm=0.5),
        "importance shared": vae(REAL, **doubly, likelihood=Gaussian("shared"), learning_rate=0.01),
        "importance per feature": vae(REAL, **five, likelihood=Gaussian("per_feature")),
        "importance decoder": vae(REAL, **doubly, likelihood=Gaussian("decoder")),
        "importance negative binomial": vae(COUNTS, **doubly, likelihood=nb, input_transform="log1p"),
        "importance multinomial": vae(COUNTS, **five, likelihood="multinomial"),
        "importance missing": vae(holes, **doubly, likelihood=Gaussian("shared"), missing="mask"),
        "importance missing told": vae(
            with_holes(COUNTS), **five, likelihood=nb, missing="mask", missing_indicator=True
        ),
        "importance labels": vae(y=LABELS, conditional=True, **five),
        "importance covariates": vae(REAL, COVARIATES, conditional=True, **doubly, likelihood=Gaussian("decoder")),
        "importance sparse": vae(sparse(FEW), **doubly, likelihood="poisson", input_transform="log1p"),
        "importance 19": vae(GREY[:33], n_importance_samples=19, latent_dim=33, hidden=(), batch_size=32),
    }


def other_models() -> dict[str, Case]:
    noise, told = SaltAndPepper(0.2), {"missing": "mask", "missing_indicator": True}
    unseen = with_holes(ANSWERS)
    return {
        "plain": plain(),
        "plain bernoulli": plain(BYTES, loss="bernoulli", corruption=noise, clip_norm=0.5),
        "plain deep": plain(GREY, hidden=(40, 9), latent_dim=33, loss="bernoulli", early_stopping=True, epochs=4),
        "plain linear": plain(
            hidden=(), optimizer=SGD(momentum=0.5), learning_rate=schedules.cosine(1e-3, 0, epochs=2)
        ),
        "plain missing": plain(with_holes(REAL), **told, corruption=GaussianNoise(0.2)),
        "plain sparse": plain(sparse(FEW), input_transform="l2", fit={"validation_data": sparse(FEW[:20])}),
        "topics mixture": topics(),
        "topics product": topics(decoder="product"),
        "topics mixture sparse": topics(sparse(FEW), input_transform="log1p", validation_fraction=0.2),
        "topics product sparse": topics(sparse(FEW), decoder="product", input_transform="l1", masking=0.0),
        "topics mixture clipped": topics(COUNTS, clip_norm=0.1, alpha=[0.1, 0.5, 1.0, 0.7, 2.0], masking=0.0),
        "topics product clipped": topics(COUNTS, decoder="product", clip_norm=0.1, optimizer="adamw"),
        "topics mixture 40": topics(
            n_topics=40,
            beta=schedules.linear(0, 1, epochs=2),
            hidden=(),
            epochs=9,
            learning_rate=0.05,
            early_stopping=True,
            n_iter_no_change=2,
        ),
        "topics product 40": topics(decoder="product", n_topics=40, batch_size=11, optimizer="sgd", alpha=0.3),
        "exam 2pl": exam(),
        "exam rasch": exam("rasch", unseen),
        "exam lecture": exam("lecture", unseen, clip_norm=0.1),
        "exam elbo": exam("2pl", unseen, n_importance_samples=1, clip_norm=0.5, validation_fraction=0.2),
        "exam observed": exam(
            "rasch",
            fit={"observed": whole(N, 11, 3, 14) > 0},
            epochs=20,
            learning_rate=0.2,
            early_stopping=True,
            n_iter_no_change=2,
        ),
        "exam marks": exam(
            "2pl", with_holes(MARKS), max_marks=MOST, learning_rate=schedules.linear(0.1, 0.01, steps=5)
        ),
        "exam marks rasch": exam("rasch", np.minimum(MARKS, 3), max_marks=3),
        "exam marks lecture": exam("lecture", MARKS, max_marks=MOST, optimizer="adagrad"),
        "exam two dimensions": exam("2pl", unseen, n_dims=2),
        "exam three dimensions": exam("2pl", with_holes(MARKS), n_dims=3, max_marks=MOST, clip_norm=0.1, hidden=()),
        "exam with prior": exam(prior="weak"),
        "exam with prior rasch": exam("rasch", unseen, prior="weak", clip_norm=0.1),
        "exam with prior through origin": exam("through_origin", MARKS, max_marks=MOST, prior="weak", optimizer="sgd"),
        "exam with prior two dimensions": exam("2pl", unseen, n_dims=2, prior="weak"),
        "exam with prior two panels": exam("2pl", np.tile(ANSWERS, 4), prior=ItemPrior(0.2, 0.3, None, 0.5)),
    }


def images() -> dict[str, Case]:
    """Return convolutional models."""
    conv, up = Conv2d(5, 3, stride=2, padding=1), ConvTranspose2d(2, 3, stride=2, padding=1, output_padding=(1, 0))
    colour = real(N, 6 * 9 * 2, 90)
    own = (12, Dense(3 * 5 * 33, batch_norm=True), Upsample(1), up)
    return {
        "convolutional": vae(
            whole(N, 7 * 5, 2, 91), image_shape=(7, 5, 1), hidden=(conv, Conv2d(33, 2, activation="tanh"), 9)
        ),
        "convolutional decoder": vae(colour, image_shape=(6, 9, 2), decoder_hidden=own, likelihood=Gaussian("decoder")),
        "convolutional norms": vae(
            colour.reshape(N, 6, 9, 2),
            NAMES,
            image_shape=(6, 9, 2),
            hidden=(Conv2d(34, (3, 2), batch_norm=True), MaxPool2d(2), Conv2d(4, (1, 2), batch_norm=True)),
            conditional=True,
            likelihood=Gaussian("per_feature"),
            clip_norm=0.5,
        ),
        "convolutional importance": vae(
            colour,
            image_shape=(6, 9, 2),
            hidden=(conv, AvgPool2d((3, 5))),
            n_importance_samples=3,
            likelihood="gaussian",
        ),
        "convolutional plain": plain(
            colour, image_shape=(6, 9, 2), hidden=(conv, 8), corruption=GaussianNoise(0.2), missing="mask"
        ),
    }


def short_operands() -> dict[str, Case]:
    """Return models that multiply bfloat16."""
    found = {
        "bf16": vae(),
        "bf16 tanh deep": vae(hidden=(33, 40, 5), decoder_hidden=(7, 65), activation="tanh"),
        "bf16 gaussian decoder": vae(REAL, likelihood=Gaussian("decoder"), clip_norm=0.5),
        "bf16 multinomial": vae(COUNTS, likelihood="multinomial"),
        "bf16 pictures": vae(PICTURES, latent_dim=20, hidden=(70,), batch_size=64),
        "bf16 importance": vae(n_importance_samples=3, activation="gelu"),
        "bf16 plain": plain(hidden=(33,), corruption=GaussianNoise(0.2), missing="mask"),
    }
    found |= {f"bf16 {name}": case for name, case in images().items()}
    for case in found.values():
        case.model.set_params(precision="bf16")
    return found


def cases() -> dict[str, Case]:
    """Return all that is fitted and asked in the same way, unfitted."""
    groups = (likelihoods, networks, optimizers, objectives, inputs, importance, other_models, images, short_operands)
    return {name: case for group in groups for name, case in group().items()}


# ------------------------------------------------------------------------------------------------- answers


def told(model: Any, case: Case) -> Bits:
    """Return hashes of all that a fitted model says."""
    found = {"parameters": digest_of(model.state_dict()), "history": digest_of(model.history_)}
    asked = {
        Autoencoder: (codes, values_filled_in),
        TopicModel: (codes, draws, topics_found, diagnosis),
        ItemResponse: (codes, draws, abilities, diagnosis),
        VAE: (codes, draws, marginal, diagnosis, values_filled_in),
    }
    for question in asked[type(model)]:
        found |= question(model, case)
    losses, gradients = model.loss_and_gradients(case.X, **given(case))
    return found | {"losses": digest_of(losses), "gradients": digest_of(gradients)}


def given(case: Case, rows: int | None = None) -> dict[str, Any]:
    """Return y as an argument, where the model is conditional."""
    return {} if case.y is None else {"y": case.y[:rows]}


def codes(model: Any, case: Case) -> Bits:
    X, y = case.X, given(case)
    z = model.transform(X, **y)
    encoded = model.encode(X, **y)
    # Those of one ability are means over a quadrature, in numpy.
    exact = isinstance(model, ItemResponse) and model.n_dims == 1
    return (rounded("codes", z) if exact else {"codes": digest(z)}) | {
        "encoded": digest(*(encoded if isinstance(encoded, tuple) else [encoded])),
        "means": digest(model.reconstruct(X, **y), model.inverse_transform(z, **y)),
        "scores": digest(model.score_samples(X, **y)),
        "evaluation": digest_of(model.evaluate(X, **y)),
    }


def draws(model: Any, case: Case) -> Bits:
    likelihood = getattr(model, "likelihood", None)
    counted = isinstance(model, TopicModel) or likelihood == "multinomial" or getattr(likelihood, "size_factor", None)
    lengths = {"lengths": 9} if counted else {}
    y = given(case)
    return {
        "samples": digest(*model.sample(6, return_latent=True, **given(case, 6))),
        "draws": digest(model.sample(6, draw=True, random_state=5, **lengths, **given(case, 6))),
        "posterior samples": digest(model.posterior_sample(case.X, 2, **y)),
        "predictive": digest(*model.predictive(case.X, 3, 4, **y)),
    }


def marginal(model: VAE, case: Case) -> Bits:
    X = case.X
    if model.likelihood == "bernoulli" and isinstance(X, np.ndarray):
        X = fastvae.binarize(X, "threshold")
    return rounded("log marginal", *model.log_marginal(X, 5, **given(case)))


def diagnosis(model: Any, case: Case) -> Bits:
    found = dict(vars(model.diagnose(case.X, **given(case))))
    words = (model.describe_objective(), *found.pop("messages"))
    return rounded("diagnosis", *found.values()) | {"words": digest(*words)}


def values_filled_in(model: Any, case: Case) -> Bits:
    if model.missing != "mask" or isinstance(case.X, Rows) or getattr(model, "likelihood", "") == "multinomial":
        return {}
    y = given(case)
    filled = [model.impute(case.X, **y), model.impute(case.X, n_iter=2, **y)]
    if isinstance(model, VAE):
        filled.append(model.impute(case.X, draws=2, n_iter=1, random_state=6, **y))
    return {"values filled in": digest(*filled)}


def topics_found(model: TopicModel, case: Case) -> Bits:
    drawn = model.sample_documents(5, 20, random_state=2)
    found = {
        "components": digest(model.components_),
        "documents": digest(drawn.indptr, drawn.indices, drawn.data),
        "similar documents": digest(model.similar_documents(case.X, case.X, 3)[0]),
    }
    return found | rounded("perplexity", model.perplexity(case.X), model.coherence(case.X, n=4))


def abilities(model: ItemResponse, case: Case) -> Bits:
    X = case.X
    found = {
        "tasks": digest(model.discrimination_, model.intercept_, model.difficulty_),
        "probabilities": digest(model.predict_proba(X)),
        "answers filled in": digest(model.impute(X), model.impute(X, draws=2, n_iter=1, random_state=3)),
        "intervals" + MACHINE: digest(model.ability_interval(X), model.ability_interval(X, 0.5)),
        "rotation" + MACHINE: digest(*model.loadings()),
    }
    # One dimension has a quadrature of its own.
    exact = rounded("log marginal", *model.log_marginal(X, None if model.n_dims == 1 else 20))
    return found | exact | rounded("few samples", *model.log_marginal(X, 3)) | rounded("fit", *model.item_fit(X))


def record(case: Case, folder: Path) -> Bits:
    """Fit, ask, save, load, go on in both, and return hashes of everything."""
    model = case.model
    model.fit(case.X, case.y, **case.fit)
    found = told(model, case)
    model.save(folder / "model.safetensors")
    loaded = fastvae.load(folder / "model.safetensors")
    loaded.set_params(n_jobs=model.n_jobs).partial_fit(case.X, case.y)
    found["after loading"] = digest(digest_of(loaded.state_dict()), digest_of(loaded.history_))
    model.apply_gradients(model.loss_and_gradients(case.X, **given(case))[1]).partial_fit(case.X, case.y)
    found["after a given step"] = digest(digest_of(model.state_dict()), digest_of(model.history_))
    return found


# --------------------------------------------------------------------------------- what is unlike the rest


def state_of(model: Any, X: Any, **more: Any) -> str:
    """Return a hash of a model's parameters and some answers."""
    return digest(digest_of(model.state_dict()), model.transform(X, **more), model.score_samples(X, **more))


def kinds_of_arrays(n_jobs: int, folder: Path) -> Bits:
    """Return what is learned of the same or other numbers in arrays of other types and strides."""
    wide = np.zeros((2 * N, 2 * WIDTH), np.float32)
    wide[::2, ::2] = GREY
    grey = {
        "uint8": BYTES,
        "uint8 fortran": np.asfortranarray(BYTES),
        "float64": GREY.astype(np.float64) / 3,
        "float16": GREY.astype(np.float16),
        "fortran": np.asfortranarray(GREY),
        "strided": wide[::2, ::2],
        "backwards": GREY[::-1, ::-1],
        "big-endian": GREY.astype(">f4"),
        "list": GREY.tolist(),
        "bool": BINARY.astype(bool),
        "int64": BINARY.astype(np.int64),
    }
    found = {name: state_of(vae(n_jobs=n_jobs).model.fit(X), X) for name, X in grey.items()}
    for name in ("uint8", "int16", "float64"):
        X, model = np.minimum(COUNTS, 200).astype(name), vae(likelihood="poisson", n_jobs=n_jobs).model
        found[f"counts {name}"] = state_of(model.fit(X), X)
    return found


def given_noise(n_jobs: int, folder: Path) -> Bits:
    """Return what is learned of noise and corrupted examples that the caller gives."""
    eps, five, seen = real(N, 3, 20), real(N * 5, 3, 21).reshape(N, 5, 3), whole(N, WIDTH, 256, 22) / 256
    model, several = (vae(n_importance_samples=k, n_jobs=n_jobs).model for k in (1, 5))
    denoising = plain(n_jobs=n_jobs).model
    found = {
        "eps": state_of(model.partial_fit(GREY, eps=eps), GREY),
        "eps and corrupted": state_of(model.partial_fit(GREY, eps=eps, corrupted=seen), GREY),
        "corrupted": state_of(model.partial_fit(BYTES, corrupted=BYTES[::-1]), GREY),
        "several eps": state_of(several.partial_fit(GREY, eps=five), GREY),
        "plain": state_of(denoising.partial_fit(REAL, corrupted=REAL[::-1]), REAL),
        "score": digest(model.score_samples(GREY, eps=eps), *model.evaluate(GREY, eps=eps).values()),
        "several scores": digest(several.score_samples(GREY, eps=five), *several.evaluate(GREY, eps=five).values()),
    }
    for name, part in {"": {"eps": eps}, " corrupted": {"eps": eps, "corrupted": seen}}.items():
        losses, gradients = model.loss_and_gradients(GREY, **part)
        found[f"gradients{name}"] = digest(digest_of(losses), digest_of(gradients))
    losses, gradients = several.loss_and_gradients(GREY, eps=five)
    found["several gradients"] = digest(digest_of(losses), digest_of(gradients))
    few = vae(likelihood="poisson", corruption=MaskingNoise(0.2), n_jobs=n_jobs).model
    found["sparse corrupted"] = state_of(few.partial_fit(sparse(FEW), corrupted=sparse(FEW[::-1])), sparse(FEW))
    return found


def seeds(n_jobs: int, folder: Path) -> Bits:
    """Return what is learned from seeds of all kinds."""
    given_seeds: dict[str, Any] = {
        "0": 0,
        "2**32 + 5": 2**32 + 5,
        "2**64 - 1": 2**64 - 1,
        "int32": np.int32(7),
        "generator": np.random.Generator(np.random.PCG64(3)),
        "state": np.random.RandomState(4),
    }
    return {
        name: state_of(vae(random_state=seed, epochs=1, n_jobs=n_jobs).model.fit(GREY), GREY)
        for name, seed in given_seeds.items()
    }


def given_weights(n_jobs: int, folder: Path) -> Bits:
    """Return what models say whose weights do not come from the generator."""
    found = {}
    for name, case in {
        "bernoulli": vae(n_jobs=n_jobs),
        "gaussian": vae(REAL, likelihood=Gaussian("decoder"), activation="gelu", n_jobs=n_jobs),
        "labels": vae(y=LABELS, conditional=True, n_jobs=n_jobs),
        "plain": plain(n_jobs=n_jobs),
        "topics": topics(n_jobs=n_jobs),
        "product": topics(decoder="product", n_jobs=n_jobs),
    }.items():
        state = case.model.partial_fit(case.X, case.y).state_dict()
        weights = {key: np.abs(real(1, a.size, 30)).reshape(a.shape) / 16 for key, a in state.items()}
        found[name] = state_of(case.model.load_state_dict(weights), case.X, **given(case))
        losses, gradients = case.model.loss_and_gradients(case.X, **given(case))
        found[f"{name} gradients"] = digest(digest_of(losses), digest_of(gradients))
        if case.y is None:
            fresh = case.model.__class__(**case.model.get_params()).load_state_dict(weights)
            found[f"{name} fresh"] = state_of(fresh.partial_fit(case.X), case.X)
    return found


def many_rows(n_jobs: int, folder: Path) -> Bits:
    """Return answers about more rows than a block has."""
    X = whole(1100, WIDTH, 256, 40).astype(np.uint8)
    model = vae(likelihood=Gaussian("per_feature"), n_jobs=n_jobs).model.fit(GREY)
    z = model.transform(X)
    found = {
        "codes": digest(z),
        "scores": digest(model.score_samples(X)),
        "means": digest(model.inverse_transform(z), model.sample(1000)),
        "draws": digest(model.sample(700, draw=True)),
        "predictive": digest(*model.predictive(X[:9], 300)),
    }
    return found | rounded("log marginal", *model.log_marginal(X[:3], 700))


def latent_space(n_jobs: int, folder: Path) -> Bits:
    """Return what functions of the latent space give."""
    model = vae(latent_dim=2, n_jobs=n_jobs).model.fit(GREY)
    direction = fastvae.latent.attribute_vector(model, GREY[LABELS == 0], GREY[LABELS == 1])
    return {
        "manifold": digest(model.manifold(5), model.manifold(4, 2.0)),
        "interpolate": digest(model.interpolate(GREY[0], GREY[1], 5), model.interpolate(GREY[2], GREY[3], 4, "slerp")),
        "traverse": digest(model.traverse(GREY[0], n=5)),
        "neighbours": digest(model.neighbours(GREY, GREY[:5], 3)[0]),
        "attribute": digest(direction, fastvae.latent.apply_attribute(model, GREY[:5], direction)),
    }


def formulas(n_jobs: int, folder: Path) -> Bits:
    """Return what functions without a model give."""
    mu, logvar, eps = (real(31, 19, salt) for salt in (60, 61, 62))
    x = whole(31, 19, 256, 63) / 255
    kinds = (GaussianNoise(0.3), MaskingNoise(0.3), SaltAndPepper(0.3))
    return {
        "noise": digest(functional.standard_normal((33, 35), 2**40 + 3), functional.standard_normal((2, 3), 1, 7)),
        "reparameterize": digest(functional.reparameterize(mu, 9 * logvar, eps)),
        "kl": digest(functional.gaussian_kl(mu, 9 * logvar)),
        "bernoulli": digest(functional.bernoulli_log_prob(x, 9 * mu)),
        "gaussian": digest(functional.gaussian_log_prob(x, mu), functional.gaussian_log_prob(x, mu, 0.3)),
        "corrupt": digest(*(kind.corrupt(BYTES, random_state=3) for kind in kinds)),
        "binarize": digest(*(fastvae.binarize(BYTES, way, random_state=4) for way in ("threshold", "bernoulli"))),
    }


class Stop:
    """Ends training after an epoch, and keeps what it was told."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.logs: list[str] = []

    def on_epoch_end(self, model: Any, logs: dict[str, float]) -> bool:
        self.logs.append(digest_of(logs))
        return len(self.logs) == self.epochs


def other_ways(n_jobs: int, folder: Path) -> Bits:
    """Return what is left of callbacks, changed parameters, copies, another fit, and training that diverged."""
    stop = Stop(2)
    model = vae(callbacks=[stop], epochs=5, n_jobs=n_jobs).model.fit(GREY)
    found = {"callbacks": digest(*stop.logs, state_of(model, GREY))}
    model.set_params(callbacks=(), batch_size=7, beta=0.5, learning_rate=0.01, clip_norm=1.0)
    found["changed parameters"] = state_of(model.partial_fit(GREY), GREY)
    copied = pickle.loads(pickle.dumps(model))
    found["pickle"] = state_of(copied.partial_fit(GREY), GREY)
    model.save(folder / "short.safetensors", optimizer=False)
    found["without optimizer"] = state_of(fastvae.load(folder / "short.safetensors").partial_fit(GREY), GREY)
    found["partial"] = state_of(vae(n_jobs=n_jobs).model.partial_fit(GREY[:20]).partial_fit(GREY[20:]), GREY)
    found["another fit"] = state_of(model.fit(BINARY), GREY)
    for optimizer in ("adam", "sgd"):
        diverging = vae(likelihood="gaussian", optimizer=optimizer, n_jobs=n_jobs).model.partial_fit(REAL)
        bad = REAL.copy()
        bad[:, [3, 33]] = 1e12
        try:
            diverging.partial_fit(bad)
        except FloatingPointError:
            found[f"diverged {optimizer}"] = digest_of(diverging.state_dict())
    return found


def recommenders(n_jobs: int, folder: Path) -> Bits:
    """Return what recommenders give, by the prior of z."""
    clicks = np.minimum(whole(60, 53, 9, 70), 3).astype(np.float32) * (real(60, 53, 71) > 0.5)
    clicks[:, 0] = 1
    found = {}
    for prior in ("standard", "composite"):
        model = Recommender(
            19, hidden=(33,), prior=prior, epochs=3, batch_size=13, validation_fraction=0, random_state=1, n_jobs=n_jobs
        ).fit(clicks)
        losses, gradients = model.loss_and_gradients(clicks)
        found[f"{prior} trained"] = digest_of(model.state_dict()) + digest_of(model.history_)
        found[f"{prior} losses"] = digest_of(losses) + digest_of(gradients)
        found[f"{prior} ranked"] = digest(*model.recommend(clicks, 7), *model.recommend(clicks, 60, exclude_seen=False))
        model.save(folder / "recommender.safetensors")
        loaded: Any = fastvae.load(folder / "recommender.safetensors")
        found[f"{prior} loaded"] = digest_of(loaded.partial_fit(clicks).state_dict())
    return found


def exams_by_em(n_jobs: int, folder: Path) -> Bits:
    """Return what exams by marginal maximum likelihood learn and say, before and after a file."""
    found: Bits = {}
    holes = with_holes(ANSWERS)
    for name, case in {
        "2pl": exam("2pl", holes, method="mml"),
        "prior": exam("2pl", holes, method="mml", prior="weak"),
        "rasch": exam("rasch", holes, method="mml"),
        "through origin": exam("through_origin", MARKS, method="mml", max_marks=MOST),
        "marks": exam("2pl", with_holes(MARKS), method="mml", max_marks=MOST),
        "guessing": exam("3pl", holes, prior="weak", guessing=0.2),
        "graded": exam("graded", whole(N, 11, 3, 14), prior="weak"),
    }.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ten iterations are not enough
            model = case.model.set_params(n_jobs=n_jobs, epochs=10).fit(case.X)
        model.save(folder / "exam.safetensors")
        for when, each in {"": model, " loaded": fastvae.load(folder / "exam.safetensors")}.items():
            tasks = [each.discrimination_, each.difficulty_, each.intercept_]
            tasks += [each.guessing_] if name == "guessing" else []
            found[f"{name}{when}"] = digest(*tasks, digest_of(each.history_))
            found |= rounded(f"{name}{when} abilities", each.transform(case.X), each.predict_proba(case.X))
        found |= rounded(f"{name} errors", *(part for part in model.standard_errors(case.X) if part is not None))
    return found


UNLIKE: tuple[Callable[[int, Path], Bits], ...] = (
    kinds_of_arrays,
    given_noise,
    seeds,
    given_weights,
    many_rows,
    latent_space,
    formulas,
    other_ways,
    recommenders,
    exams_by_em,
)


# ------------------------------------------------------------------------------------------------ the tests


def computed(n_jobs: int) -> dict[str, Bits]:
    """Return hashes by configuration and quantity, with this process's instruction set."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = {}
        for title, case in cases().items():
            case.model.set_params(n_jobs=n_jobs)
            found[title] = record(case, folder)
        return found | {function.__name__.replace("_", " "): function(n_jobs, folder) for function in UNLIKE}


def asked_for(isa: str, threads: int) -> dict[str, Any]:
    """Return what a process with an instruction set computes: "machine", "isa" and "bits"."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("FASTVAE_", "OMP_"))}
    process = subprocess.run(
        [sys.executable, __file__, str(threads)],
        env=inherited | {"FASTVAE_ISA": isa, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    found: dict[str, Any] = json.loads(process.stdout)
    assert found["isa"] == isa
    return found


def available() -> list[str]:
    names = fastvae.show_config()["isa_available"]
    assert isinstance(names, list)
    return names


def differences(found: dict[str, Any], wanted: dict[str, Any], kind: str) -> list[str]:
    """Return configurations and quantities that differ, and those that are in one of both alone."""
    same_machine = found["machine"] == wanted["machine"]
    bad = []
    for title in found["bits"] | wanted["bits"]:
        have, want = found["bits"].get(title, {}), wanted["bits"].get(title, {})
        for name in have | want:
            if name.endswith(MACHINE) and not same_machine:
                continue
            if name not in have or name not in want or have[name] != want[name][kind]:
                bad.append(f"{title}: {name}")
    return bad


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("isa", KINDS)
def test_no_bit_has_changed(isa: str, threads: int) -> None:
    if isa not in available():
        pytest.skip(f"this machine lacks {isa}; it has {available()}")
    wanted = json.loads(RECORD.read_text())
    bad = differences(asked_for(isa, threads), wanted, KINDS[isa])
    assert not bad, f"{len(bad)} quantities differ from {RECORD.name} ({isa}, {threads} threads):\n" + "\n".join(bad)


def test_all_quantities_are_compared() -> None:
    # Where numpy or the C library are others than when the record was made, some are left out: said aloud.
    if machine() != json.loads(RECORD.read_text())["machine"]:
        pytest.skip(f"numpy's functions have other bits here: those that end in '{MACHINE}' are not compared")


def rewrite() -> None:
    """Write the record, if all instruction sets that should agree do, with any number of threads."""
    found = {(isa, threads): asked_for(isa, threads) for isa in KINDS for threads in THREADS}
    first = {"fma": found["avx2", 1], "portable": found["portable", 1]}
    bits = {
        title: {name: {kind: run["bits"][title][name] for kind, run in first.items()} for name in quantities}
        for title, quantities in first["fma"]["bits"].items()
    }
    wanted = {"machine": first["fma"]["machine"], "bits": bits}
    bad = {key: differences(run, wanted, KINDS[key[0]]) for key, run in found.items()}
    assert not any(bad.values()), bad
    titles = []
    for title, quantities in bits.items():
        lines = ",\n".join(f"   {json.dumps(name)}: {json.dumps(pair)}" for name, pair in quantities.items())
        titles.append(f"  {json.dumps(title)}: {{\n{lines}\n  }}")
    body = ",\n".join(titles)
    RECORD.write_text(f'{{\n "machine": {json.dumps(wanted["machine"])},\n "bits": {{\n{body}\n }}\n}}\n')


if __name__ == "__main__":
    if len(sys.argv) == 1:
        rewrite()
    else:
        warnings.simplefilter("ignore")  # a file cannot keep a function as a schedule
        isa = fastvae.show_config()["isa"]
        print(json.dumps({"machine": machine(), "isa": isa, "bits": computed(int(sys.argv[1]))}))
