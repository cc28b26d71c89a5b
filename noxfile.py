"""The checks and runs of this repository. CONTRIBUTING.md tells more.

Environments are cheap: uv unpacks a package once and links it into each. So a session installs exactly what it needs,
and what it must do without (torch in unlearn-metrics, siblings outside the closure) is not there.
"""

import sys
from pathlib import Path
from typing import Any

import nox
from packaging.requirements import Requirement

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = True
nox.options.sessions = ["lint", "types", "tests", "integration", "wheel", "docs", "cover"]

ROOT = Path(__file__).resolve().parent
RESULTS = ROOT / ".nox" / ".results"
COVERAGE = {"COVERAGE_FILE": str(RESULTS / "coverage")}
# Small models gain nothing from a second thread, and lose much where the other core is busy.
TESTING = {**COVERAGE, "OMP_NUM_THREADS": "1"}
# A file's tests stay together: they share what is slow to make.
WORKERS = ("--numprocesses=logical", "--maxprocesses=4", "--dist=loadfile")
PROJECTS = {path.parent.name: path.parent for path in sorted(ROOT.glob("packages/*/pyproject.toml"))}
METADATA: dict[str, dict[str, Any]] = {
    name: nox.project.load_toml(folder / "pyproject.toml")["project"] for name, folder in PROJECTS.items()
}
GROUPS = nox.project.load_toml(ROOT / "pyproject.toml")
# It needs a GPU; everything else runs anywhere.
LEFT_OUT = {"vllm"}

# A package is named by its distribution: `nox -s "tests(unlearn-core)"`.
each_package = nox.parametrize("package", [nox.param(name, id=name) for name in PROJECTS])


@nox.session
def lint(session: nox.Session) -> None:
    """Style and format."""
    _install(session, *_group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Types, strictly."""
    _install(session, *_everything(), *_group("lint"), *_group("test"), "nox")
    session.run("mypy", *(str(folder / "src") for folder in PROJECTS.values()), "tools", "noxfile.py")


@nox.session
@each_package
def tests(session: nox.Session, package: str) -> None:
    """A package's tests, where only what it requires is installed."""
    _install(session, *_editables({name: set() for name in closure(package)}), *_group("test"))
    _pytest(session, f"tests-{package}", "--doctest-ignore-import-errors", *_tested(package))


@nox.session
def integration(session: nox.Session) -> None:
    """All tests, with every package and every extra installed."""
    _install(session, *_everything(), *_group("integration"))
    paths = [path for package in PROJECTS for path in _tested(package)]
    _pytest(session, "integration", *paths, "tests", "--ignore=tests/benchmarks")


@nox.session
@each_package
def wheel(session: nox.Session, package: str) -> None:
    """A package's wheel, alone but for what it requires."""
    folder = Path(session.create_tmp()).resolve()
    wheels = [_build(session, name, folder / name) for name in sorted(closure(package))]
    _install(session, *wheels)
    with session.chdir(folder):
        session.run("python", "-I", str(ROOT / "tools" / "check_wheel.py"), package, *session.posargs)


@nox.session(reuse_venv=True)
def docs(session: nox.Session) -> None:
    """The documentation; a warning is an error."""
    _install(session, *_everything(), *_group("docs"))
    session.run("sphinx-build", "-W", "--keep-going", "-E", "-q", "docs", "docs/_build/html")
    session.log("The documentation is in docs/_build/html/index.html")


@nox.session(reuse_venv=True)
def cover(session: nox.Session) -> None:
    """The coverage of all sessions, joined."""
    _install(session, "coverage")
    session.run("coverage", "combine", env=COVERAGE)
    session.run("coverage", "report", "--skip-covered", "--fail-under=90", env=COVERAGE)


@nox.session(reuse_venv=True)
def demo(session: nox.Session) -> None:
    """The main job, end to end: fictitious people are learnt, forgotten, and looked for again."""
    _install(session, *_everything())
    session.run("unlearn", "run", "clear", "--name", "demo", *session.posargs)


@nox.session(reuse_venv=True)
def benchmarks(session: nox.Session) -> None:
    """What is measured: speed, memory, and numbers against published ones."""
    _install(session, *_everything(), *_group("test"))
    session.run("pytest", "tests/benchmarks", "-s", *session.posargs)


def closure(package: str) -> set[str]:
    """The packages of this repository that `package` requires without extras, itself included, however indirectly."""
    required = {Requirement(text).name for text in METADATA[package]["dependencies"]} & PROJECTS.keys()
    return {package}.union(*(closure(name) for name in required))


def _everything() -> list[str]:
    """Every package with its extras."""
    return _editables({name: METADATA[name].get("optional-dependencies", {}).keys() - LEFT_OUT for name in PROJECTS})


def _editables(extras: dict[str, set[str]]) -> list[str]:
    """Packages for one install command: siblings in several would be looked for on the index."""
    paths = [f"{PROJECTS[name]}[{','.join(sorted(chosen))}]" for name, chosen in extras.items()]
    return [argument for path in paths for argument in ("-e", path.removesuffix("[]"))]


def _tested(package: str) -> list[str]:
    """Where a package's tests and examples are."""
    return [str(PROJECTS[package] / part) for part in ("README.md", "src", "tests")]


def _group(name: str) -> tuple[str, ...]:
    return nox.project.dependency_groups(GROUPS, name)


def _install(session: nox.Session, *requirements: str) -> None:
    """Installs with the pinned versions, those of the build tool included."""
    constraints = str(ROOT / "constraints.txt")
    build = {
        "PIP_CONSTRAINT": constraints,
        "UV_BUILD_CONSTRAINT": constraints,
        "DS_BUILD_OPS": "0",  # DeepSpeed comes as source; its kernels are compiled when they are first used, if ever
    }
    session.install("-c", constraints, *requirements, env=build)


def _pytest(session: nox.Session, name: str, *args: str) -> None:
    """Runs tests under coverage; `tools/tally.py` counts the results over all sessions."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    options = ("--doctest-modules", "--doctest-glob=*.md", f"--junitxml={RESULTS / name}.xml")
    session.run("coverage", "run", "-m", "pytest", *options, *WORKERS, *args, *session.posargs, env=TESTING)


def _build(session: nox.Session, package: str, folder: Path) -> str:
    """Builds a package's wheel from its source distribution; returns the wheel's path."""
    build = (sys.executable, "-m", "hatchling", "build", "--clean", "-d", str(folder))
    with session.chdir(PROJECTS[package]):
        session.run(*build, external=True, silent=True)
    return str(next(folder.glob("*.whl")))
