"""The shape of the code: who may import whom, what needs no torch, what is never loaded, how long things are."""

import ast
import importlib
import itertools
import statistics
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
ALLOWED: dict[str, set[str]] = {
    "clear_data": set(),
    "unlearn_core": set(),
    "unlearn_metrics": set(),
    "unlearn_train": {"clear_data", "unlearn_core", "unlearn_metrics"},
}
NEEDS_AN_EXTRA = ("torch", "transformers", "PIL", "matplotlib")
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}

each_package = pytest.mark.parametrize("package", ALLOWED)


def sources(package: str) -> list[Path]:
    found = sorted(ROOT.glob(f"packages/*/src/{package}/**/*.py"))
    assert found, f"{package} has no files"
    return found


def imported(tree: ast.AST) -> Iterator[str]:
    """The top-level names of all modules imported, at the top or inside functions, by statement or by name."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name.partition(".")[0] for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module.partition(".")[0]
            case ast.Call(func=ast.Attribute(attr="import_module"), args=[ast.Constant(value=str(module)), *_]):
                yield module.partition(".")[0]


def forbidden_imports(package: str, files: list[Path]) -> list[str]:
    return [
        f"{path.name} imports {name}"
        for path in files
        for name in imported(ast.parse(path.read_text(encoding="utf-8")))
        if name in ALLOWED.keys() - ALLOWED[package] - {package}
    ]


@each_package
def test_packages_import_along_the_arrows(package: str) -> None:
    assert forbidden_imports(package, sources(package)) == []


@pytest.mark.parametrize(
    "line", ["import clear_data.rows", "from clear_data import rows", "importlib.import_module('clear_data.rows')"]
)
def test_a_forbidden_import_is_found(tmp_path: Path, line: str) -> None:
    planted = tmp_path / "losses.py"
    planted.write_text(f"import importlib, torch\ndef load():\n    {line}\n")
    assert forbidden_imports("unlearn_core", [planted]) == ["losses.py imports clear_data"]
    assert forbidden_imports("unlearn_train", [planted]) == []


@each_package
def test_every_import_is_declared(package: str) -> None:
    project = tomllib.loads((ROOT / "packages" / package.replace("_", "-") / "pyproject.toml").read_text())["project"]
    required = [*project["dependencies"], *itertools.chain(*project.get("optional-dependencies", {}).values())]
    declared = {canonicalize_name(Requirement(text).name) for text in [package, *required]}
    providers = metadata.packages_distributions()
    for path in sources(package):
        # What is not installed has no known provider; the session `integration` has everything.
        for name in set(imported(ast.parse(path.read_text(encoding="utf-8")))) & providers.keys():
            found = {canonicalize_name(distribution) for distribution in providers[name]}
            assert found & declared, f"{path.relative_to(ROOT)} imports {name}, which {package} does not require"


def test_metrics_import_without_what_its_extras_bring() -> None:
    code = f"""
        import sys

        class Block:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in {NEEDS_AN_EXTRA}:
                    raise ImportError(f"{{name}} is blocked")

        sys.meta_path.insert(0, Block())
        import unlearn_metrics, unlearn_metrics.cli
        try:
            unlearn_metrics.cli.main(["--help"])
        except SystemExit as end:
            assert not end.code
        try:
            import torch
        except ImportError:
            print("blocked")
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.endswith("blocked\n")


@pytest.mark.parametrize("package", ["clear_data", "unlearn_metrics", "unlearn_train"])
def test_commands_start_without_heavy_imports(package: str) -> None:
    code = f"import sys, {package}.cli; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "diffusers", "datasets", "matplotlib"} & set(run.stdout.split())


@each_package
def test_what_is_public_is_listed(package: str) -> None:
    module = importlib.import_module(package)
    assert module.__all__
    assert [name for name in module.__all__ if not hasattr(module, name)] == []
    assert [name for name in module.__all__ if name.startswith("_")] == []


def dangers(tree: ast.AST) -> Iterator[str]:
    """What would run code from a file: pickles, and code that a checkpoint brings."""
    yield from (f"imports {name}" for name in imported(tree) if name in UNSAFE_MODULES)
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="torch"), attr="load"), keywords=keywords):
                if not any(word.arg == "weights_only" and _is_true(word.value) for word in keywords):
                    yield "calls torch.load without weights_only=True"
            case ast.keyword(arg="trust_remote_code" | "allow_pickle" as option, value=value) if _is_true(value):
                yield f"sets {option}=True"


def _is_true(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


@each_package
def test_no_file_can_run_code(package: str) -> None:
    for path in sources(package):
        assert list(dangers(ast.parse(path.read_text(encoding="utf-8")))) == [], path.relative_to(ROOT)


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "load(path, trust_remote_code=True)",
        "np.load(path, allow_pickle=True)",
    ],
)
def test_a_danger_is_found(line: str) -> None:
    assert len(list(dangers(ast.parse(line)))) == 1


def test_what_is_safe_is_no_danger() -> None:
    assert list(dangers(ast.parse("torch.load(path, weights_only=True); load(path, trust_remote_code=asked)"))) == []


@each_package
def test_files_are_short(package: str) -> None:
    lengths = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in sources(package)}
    assert {name: length for name, length in lengths.items() if length >= 300} == {}


@each_package
def test_functions_are_short(package: str) -> None:
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in sources(package)]
    lengths = sorted(length(node) for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    assert statistics.median(lengths) <= 10
    assert lengths[int(0.9 * len(lengths))] <= 35


def length(function: ast.FunctionDef) -> int:
    """The lines of a function less its decorators and docstring."""
    first = function.body[0]
    docstring = first.end_lineno - first.lineno + 1 if ast.get_docstring(function, clean=False) is not None else 0
    return function.end_lineno - function.lineno + 1 - docstring
