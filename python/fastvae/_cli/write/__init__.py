"""Writers of results: `Output` checks a destination before the work and writes it at the end."""

from fastvae._cli.write import files
from fastvae._cli.write.json_text import json_text
from fastvae._cli.write.output import Output, Result, draws_as_table

__all__ = ["Output", "Result", "draws_as_table", "files", "json_text"]
