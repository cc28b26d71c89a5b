"""What keeps the repository in one piece: versions, licenses, names of tests, nothing that one machine alone has."""

import os
import re
import subprocess
import tomllib
from collections import Counter
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECTS = {
    path.parent.name: tomllib.loads(path.read_text()) for path in sorted(ROOT.glob("packages/*/pyproject.toml"))
}
# Brought by builds of torch for other machines, or by Python's own installation.
NOT_PINNED = re.compile(r"(nvidia|cuda)-.*|triton|pip|setuptools|wheel|.*unlearn-.*|clear-data")


def requirements(project: dict) -> list[Requirement]:
    extras = project["project"].get("optional-dependencies", {}).values()
    return [Requirement(text) for texts in [project["project"]["dependencies"], *extras] for text in texts]


def tracked(*patterns: str) -> list[Path]:
    run = subprocess.run(
        ["git", "ls-files", "-z", "--", *patterns], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if run.returncode:
        pytest.skip("this is no git checkout")
    return [ROOT / name for name in run.stdout.split("\0") if name and (ROOT / name).is_file()]


def text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def test_there_are_four_packages() -> None:
    assert list(PROJECTS) == ["clear-data", "unlearn-core", "unlearn-metrics", "unlearn-train"]


def test_versions_are_equal() -> None:
    assert len({project["project"]["version"] for project in PROJECTS.values()}) == 1


@pytest.mark.parametrize("name", PROJECTS)
def test_siblings_are_pinned(name: str) -> None:
    version = PROJECTS[name]["project"]["version"]
    siblings = [requirement for requirement in requirements(PROJECTS[name]) if requirement.name in PROJECTS]
    assert {str(sibling.specifier) for sibling in siblings} <= {f"=={version}"}


@pytest.mark.parametrize("name", PROJECTS)
def test_changelog_has_the_version(name: str) -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{PROJECTS[name]['project']['version']}]" in changelog or "## [Unreleased]" in changelog
    assert f"[{name}]" in changelog


@pytest.mark.parametrize("name", PROJECTS)
def test_each_package_is_complete(name: str) -> None:
    folder = ROOT / "packages" / name
    assert (folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert (folder / "README.md").stat().st_size > 0
    assert (folder / "src" / name.replace("-", "_") / "py.typed").is_file()
    assert PROJECTS[name]["project"]["license"] == "Apache-2.0"


def test_test_files_are_found_once() -> None:
    folders = [*ROOT.glob("packages/*/tests"), ROOT / "tests"]
    assert [path for folder in folders for path in folder.rglob("__init__.py")] == []
    counts = Counter(path.name for folder in folders for path in folder.rglob("test_*.py"))
    assert [name for name, count in counts.items() if count > 1] == []


@pytest.mark.skipif("NOX_CURRENT_SESSION" not in os.environ, reason="not in an environment that nox made")
def test_whatever_is_installed_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {canonicalize_name(line.partition("==")[0]) for line in lines if "==" in line}
    installed = {canonicalize_name(distribution.name) for distribution in metadata.distributions()}
    assert sorted(name for name in installed - pins if not NOT_PINNED.fullmatch(name)) == []


def test_every_requirement_admits_its_pinned_version() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {
        canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines) if version
    }
    wanted = [requirement for project in PROJECTS.values() for requirement in requirements(project)]
    third_party = [requirement for requirement in wanted if requirement.name not in PROJECTS]
    assert [str(each) for each in third_party if pins[canonicalize_name(each.name)] not in each.specifier] == []


def test_nothing_names_one_machine_or_registry() -> None:
    folders = "root|home|work|opt|Users"
    hosts = "|".join(["pypi", "pythonhosted", "download.pytorch"])
    pattern = re.compile(rf"(?<![\w.:/])/(?:{folders})/\w|\b(?:{hosts})\.org\b")
    found = [f"{path.relative_to(ROOT)}: {hit[0]}" for path in tracked() for hit in pattern.finditer(text_of(path))]
    assert found == []


def test_what_is_public_mentions_no_data_beside_the_repository() -> None:
    pattern = re.compile(r"\bshared/(?:data|tools)")
    files = [path for path in tracked("*.py", "*.md", "*.toml", "*.txt") if "tests" not in path.parts]
    assert [str(path.relative_to(ROOT)) for path in files if pattern.search(text_of(path))] == []
