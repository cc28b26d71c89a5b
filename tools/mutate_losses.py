"""Breaks the losses and methods of unlearn-core one place at a time, and says which breaks its tests do not see.

    nice python tools/mutate_losses.py [--only graddiff] [--list]

A mutant has one sign, scale, mask, shift, reduction, comparison or held-back gradient changed. Each is tested in a fork
of a process that has torch loaded already, on a copy of the package.
"""

import argparse
import ast
import copy
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

CORE = Path(__file__).parents[1] / "packages" / "unlearn-core"
PLACES = ("losses", "methods", "lora.py", "forward.py", "joint.py", "batch.py")
TESTS = (
    "test_methods.py",
    "test_method_limits.py",
    "test_method_batch.py",
    "test_token_losses.py",
    "test_losses.py",
    "test_linear_logps.py",
    "test_forward.py",
    "test_lora.py",
    "test_joint.py",
)
SECONDS = 120  # of computing: a mutant that takes longer hangs, and counts as seen
OPERATORS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.MatMult: ast.Mult}
COMPARISONS = {
    ast.NotEq: ast.Eq,
    ast.Eq: ast.NotEq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
NAMES = {
    "mean": "sum",
    "sum": "mean",
    "amax": "amin",
    "logsigmoid": "sigmoid",
    "token_share": "sequence_share",
    "sequence_share": "token_share",
    "labels": "attention",
    "step": "steps",
    "random": "shuffled",
    "shuffled": "random",
    "idk": "alternate",
    "alternate": "idk",
}


class Mutant(NamedTuple):
    """One change of one file."""

    path: Path
    line: int
    change: str
    source: str


def main(argv: Sequence[str] | None = None) -> int:
    """Run the mutants; 0 where the tests see all of them, 1 otherwise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="mutate files whose path holds this")
    parser.add_argument("--list", action="store_true", help="list the mutants, run none")
    args = parser.parse_args(argv)
    package = CORE / "src" / "unlearn_core"
    files = [file for place in PLACES for file in _sources(package / place) if args.only in file.as_posix()]
    mutants = [mutant for file in files for mutant in mutants_of(file)]
    if args.list:
        for mutant in mutants:
            print(f"{mutant.path.relative_to(package)}:{mutant.line}: {mutant.change}")
        return 0
    survivors = _run(mutants, package)
    print(f"{len(mutants) - len(survivors)} of {len(mutants)} mutants killed")
    return 1 if survivors else 0


def mutants_of(path: Path) -> Iterator[Mutant]:
    """Yield every mutant of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for number, node in enumerate(_expressions(tree)):
        for variant in range(len(_changes(node))):
            changed = copy.deepcopy(tree)
            target = list(_expressions(changed))[number]
            before = ast.unparse(target)
            _changes(target)[variant]()
            yield Mutant(path, node.lineno, f"{before}  ->  {ast.unparse(target)}", ast.unparse(changed))


def _expressions(node: ast.AST) -> Iterator[ast.expr]:
    """All expressions that compute: no annotations, docstrings, defaults, error messages or class attributes."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "bases", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            skipped = isinstance(child, ast.Raise | ast.Import | ast.ImportFrom | ast.AnnAssign | ast.JoinedStr)
            if isinstance(child, ast.AST) and not skipped:
                if isinstance(child, ast.expr):
                    yield child
                yield from _expressions(child)


def _changes(node: ast.expr) -> list[Callable[[], None]]:
    """What can be broken about one expression: functions that change it where it stands."""
    match node:
        case ast.BinOp(op=op) if type(op) in OPERATORS:
            return [lambda: setattr(node, "op", OPERATORS[type(op)]())]
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=1)):
            return []  # mostly the last of two axes, which is the same from both ends
        case ast.UnaryOp(op=ast.USub()):
            return [lambda: setattr(node, "op", ast.UAdd())]
        case ast.UnaryOp(op=ast.Invert() | ast.Not()):
            return [lambda: setattr(node, "op", ast.UAdd())]
        case ast.Compare(ops=[op]) if type(op) in COMPARISONS:
            return [lambda: setattr(node, "ops", [COMPARISONS[type(op)]()])]
        case ast.BoolOp(op=op):
            return [lambda: setattr(node, "op", ast.And() if isinstance(op, ast.Or) else ast.Or())]
        case ast.Constant(value=bool()):
            return [lambda: setattr(node, "value", not node.value)]
        case ast.Constant(value=int() | float() as number):
            return [lambda: setattr(node, "value", number + 1)]
        case ast.Attribute(attr=name) if name in NAMES:
            return [lambda: setattr(node, "attr", NAMES[name])]
        case ast.Call(func=ast.Attribute(attr="detach" | "relu" | "exp" | "square", value=value)):
            return [lambda: _become(node, value)]
        case ast.IfExp(body=body, orelse=orelse):
            return [lambda: _become(node, body), lambda: _become(node, orelse)]
        case _:
            return []


def _become(node: ast.expr, other: ast.expr) -> None:
    """Put another expression in the place of one."""
    replacement = copy.deepcopy(other)
    node.__class__ = replacement.__class__
    node.__dict__.clear()
    node.__dict__.update(replacement.__dict__)


def _run(mutants: Sequence[Mutant], package: Path) -> list[Mutant]:
    import hypothesis  # noqa: F401  # loaded once, for all forks
    import jaxtyping  # noqa: F401
    import pytest  # noqa: F401
    import torch

    torch.testing.assert_close(torch.ones(1), torch.ones(1))  # loads more
    sys.dont_write_bytecode = True
    survivors: list[Mutant] = []
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder) / "unlearn-core"
        shutil.copytree(CORE, copied, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        _unchecked(copied / "conftest.py")
        if _fails(copied):
            raise SystemExit("the tests fail as they are; mend them first")
        for number, mutant in enumerate(mutants, 1):
            place = copied / "src" / "unlearn_core" / mutant.path.relative_to(package)
            original = place.read_text(encoding="utf-8")
            place.write_text(mutant.source, encoding="utf-8")
            if not _fails(copied):
                survivors.append(mutant)
                print(f"SURVIVED {mutant.path.relative_to(package)}:{mutant.line}: {mutant.change}", flush=True)
            place.write_text(original, encoding="utf-8")
            if number % 50 == 0:
                print(f"{number} of {len(mutants)}, {time.monotonic() - start:.0f} s", flush=True)
    return survivors


def _unchecked(conftest: Path) -> None:
    """Leave out the checks of signatures, which take longer than all that is run."""
    lines = conftest.read_text(encoding="utf-8").splitlines()
    kept = ["if True:" if line.startswith("with jaxtyping.install_import_hook") else line for line in lines]
    conftest.write_text("\n".join(kept), encoding="utf-8")


def _fails(folder: Path) -> bool:
    """Whether the tests fail, in forks that import the copy: the table first, which sees most."""
    return _fork(folder, TESTS[:1]) or _fork(folder, TESTS[1:])


def _fork(folder: Path, names: Sequence[str]) -> bool:
    child = os.fork()
    if child == 0:
        import pytest

        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        sys.path.insert(0, str(folder / "src"))
        os.chdir(folder)
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        tests = [str(folder / "tests" / name) for name in names]
        options = [
            "-x",
            "--assert=plain",
            "-q",
            "--import-mode=importlib",
            "-p",
            "no:cacheprovider",
            "-k",
            "not signatures_are_enforced",
            f"--rootdir={folder}",
        ]
        os._exit(int(pytest.main([*options, *tests])))
    return os.waitpid(child, 0)[1] != 0


def _sources(place: Path) -> list[Path]:
    return [place] if place.is_file() else sorted(place.glob("*.py"))


if __name__ == "__main__":
    raise SystemExit(main())
