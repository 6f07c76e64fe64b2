"""Create fashion_mnist.npz, the balanced subset of the demo, from the four original IDX files.

    python examples/data/make_subset.py DIRECTORY [--out fashion_mnist.npz]

It holds the first 500 training and the first 100 test images of each of the ten classes, in their original order.
The arrays are the same on every machine.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvae.datasets import load_idx


def first_of_each_class(directory: Path, prefix: str, count: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Read images and labels; keep the first `count` of each class in their original order."""
    images = load_idx(directory / f"{prefix}-images-idx3-ubyte.gz")
    labels = load_idx(directory / f"{prefix}-labels-idx1-ubyte.gz")
    chosen = np.sort(np.concatenate([np.flatnonzero(labels == label)[:count] for label in np.unique(labels)]))
    return images[chosen], labels[chosen]


def main() -> None:
    """Read the four files, select images, write the subset."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="folder with train-images-idx3-ubyte.gz and the other three files")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("fashion_mnist.npz"))
    options = parser.parse_args()

    x_train, y_train = first_of_each_class(options.directory, "train", 500)
    x_test, y_test = first_of_each_class(options.directory, "t10k", 100)
    np.savez_compressed(options.out, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    print(f"{options.out}: {len(x_train)} training images, {len(x_test)} test images")


if __name__ == "__main__":
    main()
