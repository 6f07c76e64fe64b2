"""``fastvae explorer``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastvae._cli import messages, models
from fastvae._cli.errors import UsageError
from fastvae._cli.options import add_data, add_force, add_model
from fastvae._cli.parser import DATA
from fastvae._cli.write import files

USAGE = "fastvae explorer MODEL DATA -o FILE.html [--label COLUMN] [options]"
EPILOG = f"""\
examples:
  fastvae explorer digits.safetensors mnist.npz:x_test --labels mnist.npz:y_test -o digits.html
  fastvae explorer iris.safetensors iris.csv --id name --label species -o iris.html

The page is one file that needs no network and no server. It shows at most --points examples; without --no-originals it
holds them, so do not publish the page of private data.

{DATA}"""


def add(parser: Any) -> None:
    """Add the options."""
    add_model(parser)
    add_data(parser, labels="column of colours, left out of X")
    group = parser.add_argument_group("output")
    group.add_argument("-o", "--output", metavar="FILE", required=True, help="page to write: .html")
    group.add_argument("--title", metavar="TEXT", help="heading of the page")
    group.add_argument("--points", metavar="N", type=int, default=2000, help="most examples on the page")
    group.add_argument("--no-originals", action="store_true", help="leave the examples out of the page")
    add_force(group)


def run(options: Any) -> int:
    """Write the page."""
    import fastvae

    path = Path(options.output)
    if path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"-o {options.output}: name a file .html")
    files.check(path, options.force)
    model = models.load(options.model, options.threads)
    data = models.read_for(model, options, options.model)
    y = models.condition(model, data).get("y", data.y)
    fastvae.explorer(
        model, data.X, y, path, title=options.title, max_points=options.points, originals=not options.no_originals
    )
    messages.note(f"wrote {path} ({files.size(path)})")
    return 0
