"""``fastvae reconstruct``."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvae._cli import models, tables
from fastvae._cli.options import add_data, add_embeddings, add_model, add_output
from fastvae._cli.parser import DATA
from fastvae._cli.write import Result

USAGE = "fastvae reconstruct MODEL DATA [-o FILE] [options]"
EPILOG = f"""\
examples:
  fastvae reconstruct digits.safetensors mnist.npz:x_test --rows 0:64 -o reconstructed.png
  fastvae reconstruct photos.safetensors photos/ -o decoded/
  fastvae reconstruct table.safetensors table.csv --id name > decoded.csv

{DATA}"""


def add(parser: Any) -> None:
    """Add the options."""
    add_model(parser)
    add_data(parser)
    add_embeddings(parser)
    add_output(parser, "the decoder's means", images=True)
    tables.add_unknown(parser)


def run(options: Any) -> int:
    """Reconstruct."""
    model = models.load(options.model, options.threads)
    output = tables.output(options, model)
    data = models.read_for(model, options, options.model)
    if data.mixed:
        output.write(tables.result(model.reconstruct(data.X), models.row_columns(data)))
        return 0
    found = np.asarray(model.reconstruct(data.X, **models.condition(model, data)))
    names = models.value_names(model, found[0].size, data)
    output.write(
        Result(
            found,
            names,
            models.row_columns(data),
            ids=data.ids if data.id_name == "file" else None,
            **models.image_layout(model, data),
        )
    )
    return 0
