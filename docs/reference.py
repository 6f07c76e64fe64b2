"""The pages of the API reference: one for each public name, from `fastvae.__all__` and the `__all__` of its modules.

`make docs` writes them to docs/api/. `tests/test_docstrings.py` uses the same list of names.
"""

from __future__ import annotations

import inspect
import pkgutil
import textwrap
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import fastvae

# Sections of the index. An object belongs to the first section whose test it passes.
SECTIONS = {
    "Estimators": lambda found: inspect.isclass(found) and hasattr(found, "fit"),
    "Functions": inspect.isroutine,
    "Exceptions and warnings": lambda found: inspect.isclass(found) and issubclass(found, Exception),
    "Classes": inspect.isclass,
    "Modules": inspect.ismodule,
}


@dataclass(frozen=True)
class Public:
    """A public object and its full name, such as fastvae.latent.manifold."""

    name: str
    found: Any

    @property
    def members(self) -> list[Public]:
        """The public objects of a module, of other objects none."""
        if not inspect.ismodule(self.found):
            return []
        return [Public(f"{self.name}.{name}", getattr(self.found, name)) for name in self.found.__all__]


def top() -> list[Public]:
    """Return the public names of fastvae itself: those of `__all__`, and modules without an underscore."""
    modules = [module.name for module in pkgutil.iter_modules(fastvae.__path__) if not module.name.startswith("_")]
    names = dict.fromkeys([*sorted(fastvae.__all__, key=str.lower), *modules])
    found = {}
    for name in names:
        if name not in fastvae.__all__:
            __import__(f"fastvae.{name}")
        found[name] = getattr(fastvae, name)
    return [Public(f"fastvae.{name}", each) for name, each in found.items() if not isinstance(each, str)]


def everything() -> list[Public]:
    """Return all public objects: those of fastvae, followed by the members of its modules."""
    first = top()
    return first + [member for public in first for member in public.members]


def write(folder: Path) -> None:
    """Write the index and a page for each public object to `folder`; remove pages of other names."""
    pages = {"index": _index()} | {public.name: _page(public) for public in everything()}
    folder.mkdir(exist_ok=True)
    for path in folder.glob("*.rst"):
        if path.stem not in pages:
            path.unlink()
    for name, text in pages.items():
        path = folder / f"{name}.rst"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def _index() -> str:
    parts = [_title("API reference")]
    rest = top()
    for section, belongs in SECTIONS.items():
        chosen = [public for public in rest if belongs(public.found)]
        rest = [public for public in rest if public not in chosen]
        if chosen:
            names = [f"~{public.name}" for public in chosen]
            parts.append(_title(section, "-") + _table(names) + _contents(chosen))
    return "\n".join(parts)


def _page(public: Public) -> str:
    module, _, short = public.name.rpartition(".")
    if isinstance(public.found, ModuleType):
        tables = ""
        for section, belongs in (("Classes", inspect.isclass), ("Functions", inspect.isroutine)):
            if chosen := [member for member in public.members if belongs(member.found)]:
                names = [member.name.rpartition(".")[2] for member in chosen]
                tables += _title(section, "-") + _table(names)
        return (
            _title(public.name)
            + f".. automodule:: {public.name}\n   :no-members:\n\n"
            + tables
            + _contents(public.members)
        )
    head = _title(short) + f".. currentmodule:: {module}\n\n"
    if not inspect.isclass(public.found):
        return head + f".. autofunction:: {public.name}\n\n" + _examples(public)
    options = "" if issubclass(public.found, Exception) else "   :members:\n   :inherited-members:\n"
    if "__call__" in vars(public.found):
        options += "   :special-members: __call__\n"
    return head + f".. autoclass:: {public.name}\n{options}\n" + _examples(public)


def _examples(public: Public) -> str:
    return f".. minigallery:: {public.name}\n   :add-heading: In the gallery\n   :heading-level: -\n"


def _table(names: list[str]) -> str:
    return ".. autosummary::\n   :nosignatures:\n\n" + _lines(names) + "\n"


def _contents(chosen: list[Public]) -> str:
    lines = _lines(f"{public.name.rpartition('.')[2]} <{public.name}>" for public in chosen)
    return ".. toctree::\n   :hidden:\n\n" + lines + "\n"


def _lines(names: Any) -> str:
    return textwrap.indent("\n".join(names), "   ") + "\n"


def _title(text: str, underline: str = "=") -> str:
    return f"{text}\n{underline * len(text)}\n\n"
