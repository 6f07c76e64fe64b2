"""Docstrings of everything public: they describe each parameter and the result, and their examples run."""

from __future__ import annotations

import doctest
import inspect
import pkgutil
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from helpers import module_of

import fastvae

# docs/reference.py, which writes the pages of the reference; tests/reference.py is another module.
_FILE = Path(__file__).parent.parent / "docs" / "reference.py"
if not _FILE.exists():
    pytest.skip("needs the folder docs of a checkout", allow_module_level=True)
reference = module_of(_FILE, "docs_reference")

SECTION = re.compile(r"^(Parameters|Attributes|Returns|Raises|Warns|Notes|Examples|References)\n-+$", re.M)
PUBLIC = {public.name: public.found for public in reference.everything()}


def sections(doc: str) -> dict[str, str]:
    """Return the sections of a numpydoc docstring by their titles."""
    titles = [(match[1], match.start(), match.end()) for match in SECTION.finditer(doc)]
    ends = [start for _, start, _ in titles[1:]] + [len(doc)] * bool(titles)
    return {title: doc[end:stop] for (title, _, end), stop in zip(titles, ends, strict=True)}


def described(section: str) -> set[str]:
    """Return the names that a section describes: "a, b : int" describes a and b."""
    heads = re.findall(r"^(\S.*?)(?: : .*)?$", section, re.M)
    return {name.lstrip("*") for head in heads for name in re.split(r",\s*", head)}


def callables() -> dict[str, Any]:
    """Return the public functions, classes and methods by their full names, without exceptions."""
    found = {}
    for name, each in PUBLIC.items():
        if inspect.isroutine(each):
            found[name] = each
        elif inspect.isclass(each) and not issubclass(each, Exception):
            found[name] = each
            methods = inspect.getmembers(each, inspect.isroutine)
            found |= {f"{name}.{method}": call for method, call in methods if not method.startswith("_")}
    return found


CALLABLES = callables()


def overrides_a_public_method(name: str) -> bool:
    """Whether a base class that is public has this method, and describes its parameters."""
    owner, _, method = name.rpartition(".")
    bases = inspect.getmro(PUBLIC[owner])[1:] if inspect.isclass(PUBLIC.get(owner)) else ()
    return any(base in PUBLIC.values() and method in vars(base) for base in bases)


@pytest.mark.parametrize("name", CALLABLES)
def test_a_docstring_describes_every_parameter_and_the_result(name: str) -> None:
    call = CALLABLES[name]
    doc = inspect.getdoc(call)
    assert doc, f"{name} has no docstring"
    if overrides_a_public_method(name):
        return
    found, signature = sections(doc), inspect.signature(call)
    wanted = set(signature.parameters) - {"self", "cls"}
    known = described(found.get("Parameters", ""))
    missing = wanted - known - described(found.get("Attributes", ""))  # a dataclass may describe its fields there
    assert not missing, f"{name}: the section Parameters lacks {sorted(missing)}"
    unknown = known - wanted - {""}
    assert not unknown, f"{name}: the section Parameters describes {sorted(unknown)}, which are no parameters"
    returns = not inspect.isclass(call) and signature.return_annotation not in (None, "None")
    if wanted and returns and not doc.startswith("Raise "):
        assert "Returns" in found, f"{name} has no section Returns"


def test_every_public_name_has_a_docstring_and_a_page(tmp_path: Path) -> None:
    reference.write(tmp_path)
    for name, found in PUBLIC.items():
        assert (inspect.getdoc(found) or "").strip(), f"{name} has no docstring"
        page = (tmp_path / f"{name}.rst").read_text(encoding="utf-8")
        assert re.search(rf"^\.\. auto(class|function|module):: {re.escape(name)}$", page, re.M)
    index = (tmp_path / "index.rst").read_text(encoding="utf-8")
    for name in set(fastvae.__all__) - {"__version__"}:
        assert re.search(rf"^   {name} <fastvae\.{name}>$", index, re.M), f"{name} is not in the index"


def test_pages_of_names_that_are_gone_are_removed(tmp_path: Path) -> None:
    (tmp_path / "fastvae.gone.rst").write_text("gone")
    reference.write(tmp_path)
    assert not (tmp_path / "fastvae.gone.rst").exists()


def modules_with_examples() -> list[str]:
    """Return the names of all modules of the package whose source has an example."""
    root = Path(fastvae.__file__).parent
    names = [module.name for module in pkgutil.walk_packages([str(root)], "fastvae.")] + ["fastvae"]
    sources = {name: root.joinpath(*name.split(".")[1:]) for name in names}
    found = []
    for name, path in sources.items():
        source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if source.exists() and ">>> " in source.read_text(encoding="utf-8"):
            found.append(name)
    return found


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_in_docstrings_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = import_module(name)
    monkeypatch.chdir(tmp_path)
    examples = doctest.DocTestFinder(exclude_empty=True).find(module)
    assert any(each.examples for each in examples), f"doctest finds no example in {name}"
    failed = []
    for each in examples:
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE, verbose=False)
        if runner.run(each, out=failed.append).failed:
            failed.append(f"in {each.name}")
    assert not failed, "".join(failed)
