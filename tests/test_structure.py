"""The structure of the Python package: strata in one direction, no circles, no private attributes of other objects."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import fastvae

ROOT = Path(fastvae.__file__).parent

# A module imports modules of its own stratum and of lower ones. The longest prefix of a module's name decides.
STRATA = {
    "fastvae._core": 0,
    "fastvae._checks": 1,
    "fastvae._config": 1,
    "fastvae._html": 1,
    "fastvae._neighbours": 1,
    "fastvae._png": 1,
    "fastvae.datasets": 1,
    "fastvae._data": 2,
    "fastvae._distributed": 2,
    "fastvae.likelihoods": 3,
    "fastvae.layers": 3,
    "fastvae.optimizers": 3,
    "fastvae.priors": 3,
    "fastvae.schedules": 3,
    "fastvae.corruption": 3,
    "fastvae.functional": 3,
    "fastvae.latent": 3,
    "fastvae._fitted": 4,
    "fastvae._training": 5,
    "fastvae.callbacks": 6,
    "fastvae._tables": 6,
    "fastvae._topics": 6,
    "fastvae._irt": 6,
    "fastvae._recommender": 6,
    "fastvae._export": 6,
    "fastvae._estimators": 7,
    "fastvae.plots": 8,
    "fastvae._explorer": 8,
    "fastvae.dask": 8,
    "fastvae.torch": 8,
    "fastvae.distributed": 8,
    "fastvae": 9,
    "fastvae._cli": 10,
    "fastvae.__main__": 11,
}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): ast.parse(path.read_text()) for path in sorted(ROOT.rglob("*.py"))} | {
    "fastvae._core": ast.parse("")
}


def stratum(module: str) -> int:
    prefixes = [prefix for prefix in STRATA if module == prefix or module.startswith(f"{prefix}.")]
    found = max(prefixes, key=len)
    assert found != "fastvae" or module == "fastvae", f"{module} has no stratum"
    return STRATA[found]


def imports(module: str) -> Iterator[str]:
    """Modules of the package that a module imports: anywhere, in functions and for type checkers too."""
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative imports are not used here"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                if full in MODULES:
                    yield full
                elif node.module in MODULES:
                    yield node.module


def test_there_are_the_modules_that_this_test_is_about() -> None:
    assert len(MODULES) > 50
    assert "fastvae._fitted.model" in set(imports("fastvae._estimators.network"))
    assert all(any(module == prefix or module.startswith(f"{prefix}.") for module in MODULES) for prefix in STRATA)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_to_the_same_or_a_lower_stratum(module: str) -> None:
    above = [other for other in imports(module) if stratum(other) > stratum(module)]
    assert not above, f"{module}, of stratum {stratum(module)}, imports {above}"


def test_no_modules_import_each_other_in_a_circle() -> None:
    TopologicalSorter({module: set(imports(module)) for module in MODULES}).prepare()  # raises CycleError


@pytest.mark.parametrize("module", MODULES)
def test_private_attributes_belong_to_their_own_object_or_package(module: str) -> None:
    """Private attributes are used on self and cls only; within the estimators, also on models."""
    foreign = []
    for node in ast.walk(MODULES[module]):
        if not isinstance(node, ast.Attribute) or not node.attr.startswith("_") or node.attr.startswith("__"):
            continue
        owner = node.value
        if isinstance(owner, ast.Name) and owner.id in ("self", "cls"):
            continue
        if isinstance(owner, ast.Call) and isinstance(owner.func, ast.Name) and owner.func.id == "super":
            continue
        if module.startswith("fastvae._estimators."):
            continue
        foreign.append(f"line {node.lineno}: {ast.unparse(node)}")
    assert not foreign, f"{module}: {foreign}"


def test_private_names_of_a_module_are_not_imported() -> None:
    found = [
        f"{module}: from {node.module} import {alias.name}"
        for module, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "fastvae"
        for alias in node.names
        if alias.name.startswith("_") and f"{node.module}.{alias.name}" not in MODULES
    ]
    assert found == ["fastvae: from fastvae._core import __version__"]
