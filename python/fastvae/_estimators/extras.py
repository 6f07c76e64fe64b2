"""What some fitted models keep beside their network, in files and pickles: see the attributes of `FittedModel`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastvae._fitted.model import FittedModel

KEYS = {
    "_table",  # the columns of a table: TabularVAE and Imputer
    "_items",  # parameters of exams with guessing or graded tasks
    "_popularity",  # users of each item, of a Recommender
}


def dump(fitted: FittedModel) -> dict[str, Any]:
    """Return what a fitted model keeps, as JSON."""
    kept: dict[str, Any] = {}
    if fitted.table is not None:
        kept["_table"] = fitted.table.to_json()
    if fitted.item_parameters is not None:
        from fastvae._irt import categorical  # here and below only, so that `import fastvae` stays cheap

        kept["_items"] = categorical.to_json(fitted.item_parameters)
    if fitted.popularity is not None:
        kept["_popularity"] = fitted.popularity.tolist()
    return kept


def restore(fitted: FittedModel, kept: Mapping[str, Any]) -> None:
    """Set what `dump` has returned, or raise ValueError, TypeError or alike."""
    if "_table" in kept:
        from fastvae._tables.schema import Schema

        fitted.table = Schema.from_json(kept["_table"])
        if fitted.table.width != fitted.n_features:
            raise ValueError("the columns of the table do not fit the model")
    if "_items" in kept:
        from fastvae._irt import categorical
        from fastvae._irt.items import max_marks

        fitted.item_parameters = categorical.from_json(kept["_items"], max_marks(fitted.specification))
    if "_popularity" in kept:
        fitted.set_popularity(kept["_popularity"])
