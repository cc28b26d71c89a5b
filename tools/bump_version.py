"""Sets the version of all packages: `python tools/bump_version.py 0.2.0`.

The four packages are released together. The version stands in each pyproject.toml, in what it requires of its siblings
and in each `__version__`; what was unreleased in the changelog becomes that version's.
"""

import argparse
import datetime
import re
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSION = re.compile(r"\d+\.\d+\.\d+((a|b|rc)\d+)?")
SIBLING = re.compile(r'((?:clear-data|unlearn-\w+)(?:\[[\w,]+\])?==)[^"]+')


def main(argv: Sequence[str] | None = None, *, root: Path = ROOT) -> int:
    """Rewrites the files and says which; returns 2 for a version that is none."""
    parser = argparse.ArgumentParser(description="Sets the version of all packages.")
    parser.add_argument("version", help="such as 0.2.0 or 0.2.0rc1")
    version = parser.parse_args(argv).version
    if not VERSION.fullmatch(version):
        print(f"bump_version: {version!r} is no version; give one such as 0.2.0 or 0.2.0rc1.", file=sys.stderr)
        return 2
    for path, text in new_texts(root, version).items():
        _replace(path, text)
        print(path.relative_to(root))
    return 0


def new_texts(root: Path, version: str) -> dict[Path, str]:
    """The files that hold a version, with their new text. All are worked out before any is written.

    Raises:
        ValueError: A file does not hold its version once.
    """
    release = f"## [Unreleased]\n\n## [{version}] - {datetime.date.today().isoformat()}"
    projects = {path: _set(path, "version = ", version) for path in sorted(root.glob("packages/*/pyproject.toml"))}
    modules = sorted(root.glob("packages/*/src/*/__init__.py"))
    changelog = root / "CHANGELOG.md"
    return {
        **{path: SIBLING.sub(rf"\g<1>{version}", text) for path, text in projects.items()},
        **{path: _set(path, "__version__ = ", version) for path in modules},
        changelog: _substitute(changelog, r"^## \[Unreleased\]$", release),
    }


def _set(path: Path, name: str, version: str) -> str:
    return _substitute(path, f'^{name}".*"$', f'{name}"{version}"')


def _substitute(path: Path, pattern: str, new: str) -> str:
    text, count = re.subn(pattern, new, path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    if count != 1:
        raise ValueError(f"{path} should have one line like {pattern}, it has {count}.")
    return text


def _replace(path: Path, text: str) -> None:
    beside = path.with_name(f"{path.name}.new")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


if __name__ == "__main__":
    sys.exit(main())
