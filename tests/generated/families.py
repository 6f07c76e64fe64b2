"""The families of set-ups, and the share of each."""

from __future__ import annotations

from generated import counts, documents, exams, frames, groups, tables, unit

SETUPS = {
    "reals": tables.setup,
    "counts": counts.setup,
    "unit": unit.table,
    "images": unit.images,
    "exams": exams.setup,
    "documents": documents.setup,
    "frames": frames.setup,
    "groups": groups.setup,
}
SHARE = {
    "reals": 0.3,
    "counts": 0.2,
    "unit": 0.15,
    "images": 0.1,
    "exams": 0.15,
    "documents": 0.1,
    "frames": 0.1,
    "groups": 0.1,
}
