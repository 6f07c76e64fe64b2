"""Readers of data: each file reads one family of formats; `read` chooses by content and name."""

from fastvae._cli.read.choose import read
from fastvae._cli.read.data import Data

__all__ = ["Data", "read"]
