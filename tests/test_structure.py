"""Rules about the tree: who may import whom, what stays light, and what every public surface promises."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("schemas", "qexplorer", "worker")
HEAVY = ("torch", "transformers", "faust", "sklearn", "matplotlib", "opensearchpy", "trl", "datasets", "pyarrow")
# Who may import what at all, lazily or not: the fewer places know a library, the easier it is to replace.
ONLY_IN = {
    "faust": {"worker/app.py", "worker/batches.py"},
    "torch": {"qexplorer/llm", "qexplorer/learn"},
    "transformers": {"qexplorer/llm", "qexplorer/learn"},
    "opensearchpy": {"qexplorer/search/client.py"},
    "trl": {"qexplorer/learn"},
}


def sources() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def imports(path: Path) -> set[str]:
    """Return the top-level names that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            found.add((node.module or "").split(".")[0])
    return found


def test_imports_point_one_way() -> None:
    """Worker → qexplorer → schemas, and never back."""
    for path in sources():
        package = path.relative_to(ROOT).parts[0]
        forbidden = set(PACKAGES[PACKAGES.index(package) + 1 :])
        assert not imports(path) & forbidden, path


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_known_in_few_places(library: str) -> None:
    """Faust stays in the worker's two files, torch behind the engines, OpenSearch's client in ours."""
    for path in sources():
        where = path.relative_to(ROOT).as_posix()
        if library in imports(path):
            assert any(where.startswith(place) for place in ONLY_IN[library]), where


@pytest.mark.parametrize("module", ["qexplorer", "schemas", "worker", "qexplorer.cli.app", "worker.__main__"])
def test_importing_stays_light(module: str) -> None:
    """Neither a package nor a command line pulls in a heavy library before it is used."""
    code = f"import sys, {module}; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603 - ours
    assert ran.stdout.strip() == ""


def test_any_module_can_be_imported_first() -> None:
    """No order of imports is needed: a circle would break whoever begins in its middle."""
    code = f"""
import importlib, sys
for name in sys.stdin.read().split():
    for known in [known for known in sys.modules if known.split(".")[0] in {PACKAGES!r}]:
        del sys.modules[known]
    importlib.import_module(name)
"""
    places = [path.relative_to(ROOT).with_suffix("").parts for path in sources() if path.stem != "__main__"]
    names = "\n".join(".".join(parts).removesuffix(".__init__") for parts in places)
    ran = subprocess.run([sys.executable, "-c", code], input=names, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("package", [path.parent for path in sources() if path.name == "__init__.py"], ids=str)
def test_an_export_list_names_what_is_there(package: Path) -> None:
    """Every name in `__all__` can be imported; their order is the linter's."""
    module = importlib.import_module(".".join(package.relative_to(ROOT).parts))
    assert all(hasattr(module, name) for name in getattr(module, "__all__", ()))
