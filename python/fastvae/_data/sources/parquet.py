"""Parquet files, read by pyarrow one row group at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastvae._data.sources.source import Source

if TYPE_CHECKING:
    from numpy.typing import NDArray


def is_parquet(X: Any) -> bool:
    """Whether `X` is an open file of pyarrow.parquet."""
    return hasattr(X, "read_row_group") and hasattr(X, "schema_arrow")


class Parquet(Source):
    """A Parquet file: a column for each feature, or one column of lists of a fixed size.

    A missing value is NaN. Columns of integers with missing values are float64.

    Parameters
    ----------
    file : pyarrow.parquet.ParquetFile or str
        The file, or its path.
    """

    def __init__(self, file: Any) -> None:
        self.name = f"the file {file!r}" if isinstance(file, str) else "the pyarrow.parquet.ParquetFile"
        if isinstance(file, str):
            file = _module(self.name).ParquetFile(file)
        self._file, schema, metadata = file, file.schema_arrow, file.metadata
        groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
        self.edges = np.cumsum([0, *(group.num_rows for group in groups)]).astype(np.int64)
        kinds = [field.type for field in schema]
        self._lists = len(kinds) == 1 and hasattr(kinds[0], "list_size")
        if self._lists:
            self.shape = (int(self.edges[-1]), int(kinds[0].list_size))
            self.dtype = self._type(schema[0], kinds[0].value_type)
            return
        self.columns, self.shape = list(schema.names), (int(self.edges[-1]), len(kinds))
        types = [self._type(field, kind) for field, kind in zip(schema, kinds, strict=True)]
        dtype = np.result_type(*types) if types else np.dtype(np.float64)
        if dtype.kind != "f" and any(_may_be_null(groups, column) for column in range(len(kinds))):
            dtype = np.dtype(np.float64)
        self.dtype = dtype

    def _type(self, field: Any, kind: Any) -> np.dtype[Any]:
        try:
            dtype: np.dtype[Any] = np.dtype(kind.to_pandas_dtype())
        except (NotImplementedError, TypeError):
            dtype = np.dtype(object)
        if dtype.kind not in "fiub":
            raise TypeError(
                f"column {field.name!r} of {self.name} holds {kind}; a file that is read in blocks must hold numbers: "
                "encode the column, leave it out, or read the file into a frame (TabularVAE takes mixed columns)"
            )
        return dtype

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Return rows of the row groups that hold them."""
        assert self.edges is not None, "set by the constructor"
        first, last = np.searchsorted(self.edges, [start, stop - 1], side="right") - 1
        table = self._file.read_row_groups(list(range(int(first), int(last) + 1)))
        table = table.slice(start - int(self.edges[first]), stop - start)
        if self._lists:
            column = table.column(0).combine_chunks()
            if column.null_count:
                raise ValueError(f"{self.name} has a row without a list of values")
            values: NDArray[Any] = column.flatten().to_numpy(zero_copy_only=False)
            return values.reshape(-1, self.shape[1])
        found = np.empty((stop - start, self.shape[1]), self.dtype)
        for j in range(self.shape[1]):
            found[:, j] = table.column(j).to_numpy()
        return found


def _may_be_null(groups: list[Any], column: int) -> bool:
    """Whether a column may have missing values, by the statistics of the file."""
    found = [group.column(column).statistics for group in groups]
    return any(each is None or each.null_count is None or each.null_count > 0 for each in found)


def _module(name: str) -> Any:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(f"{name} needs the package pyarrow: pip install pyarrow") from error
    return pyarrow.parquet
