"""``fastvae resume``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastvae._cli import messages, models, tables, training
from fastvae._cli.errors import UsageError
from fastvae._cli.options import add_data, add_embeddings
from fastvae._cli.parser import DATA
from fastvae._cli.read.grey import grey_values_of
from fastvae._cli.write import files

USAGE = "fastvae resume CHECKPOINT DATA [-o MODEL] [options]"
EPILOG = f"""\
examples:
  fastvae train x.npy -o m.safetensors --checkpoint m.ckpt --checkpoint-every 5
  fastvae resume m.ckpt x.npy -o m.safetensors

DATA and the options of reading must be those of the fit; the checkpoint knows all other parameters. The model is that
of a fit that was never interrupted, bit for bit. The checkpoint is updated as training goes on.

{DATA}"""


def add(parser: Any) -> None:
    """Add the options."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="file written by train --checkpoint")
    add_data(parser)
    add_embeddings(parser)
    group = parser.add_argument_group("training")
    group.add_argument("-o", "--output", metavar="MODEL", help="model file to write")
    group.add_argument("--force", action="store_true", help="replace an existing model file")
    group.add_argument("--validation", metavar="DATA", help="validation data, if the fit had some")
    training.add_log(group)
    group.add_argument("--threads", metavar="N", type=int, help="number of threads; -1 uses all cores")
    group.add_argument("--json", action="store_true", help="print a summary as JSON on standard output")


def run(options: Any) -> int:
    """Resume."""
    import fastvae

    checkpoint = Path(options.checkpoint)
    if options.output is not None:
        files.check(Path(options.output), options.force)
        if Path(options.output).absolute() == checkpoint.absolute():
            raise UsageError("-o and CHECKPOINT are the same file")
    template = models.load(options.checkpoint)
    options.checkpoint_every = None
    fit = training.Fit(options, resumes=True)
    data = models.read_for(template, options, str(checkpoint))
    messages.note(f"read {data.describe()}; the checkpoint has {template.n_iter_} epochs")
    if not data.mixed and grey_values_of(template, data):
        messages.note("integers 0 to 255 are read as grey values, divided by 255")
    types = tables.types_of(template) if data.mixed else None
    validation = training.read_validation(options, data, None, lambda documents: data.tokenizer, types)
    arguments: dict[str, Any] = {
        "progress": False if options.quiet else None,
        "callbacks": fit.loggers,
        **models.condition(template, data),
    }
    if options.threads is not None:
        arguments["n_jobs"] = options.threads
    if validation is not None:
        held_out = validation.X
        if models.is_conditional(template):
            held_out = (validation.X, validation.y)
        arguments["validation_data"] = held_out
    try:
        model = fit.guard(None, lambda: fastvae.resume(checkpoint, data.X, **arguments), data.tokenizer)
    except ValueError as error:
        if "is no checkpoint" in str(error):
            raise UsageError(f"{checkpoint} is a model, not a checkpoint: train --checkpoint FILE writes one") from None
        raise
    if fit.path is None:
        messages.note(f"the model is in {checkpoint}, which fastvae reads as a model file too")
    fit.summarise(model)
    if options.json:
        fit.print_json(model, data)
    return 0
