"""Sets up the development tools and hands over to nox; needs Python 3.11 and pip alone."""

from __future__ import annotations  # so that an old Python gets as far as being told so

import ast
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

USAGE = """\
python3 tools/dev.py demo            install what it needs, run the main job, say where the report is
python3 tools/dev.py tests           install what it needs, run every check: what CI runs
python3 tools/dev.py SESSION [ARGS]  run one nox session; ARGS go to what it runs
python3 tools/dev.py --list          say which sessions there are"""
ROOT = Path(__file__).resolve().parent.parent
TOOLS = ("hatch", "nox", "uv")
ENVIRONMENT = ROOT / ".nox" / ".dev"
RESULTS = ROOT / ".nox" / ".results"
PYTHON = ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
# uv does not read pip's configuration. What pip is told of mirrors and local wheels is handed on.
UV_NAMES = {
    "cert": "SSL_CERT_FILE",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "index-url": "UV_DEFAULT_INDEX",
}


class SetupError(Exception):
    """The tools could not be installed."""


def main(argv: list[str]) -> int:
    """Runs what is asked for; returns the exit code."""
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if argv else 2
    try:
        if sys.version_info < (3, 11):  # noqa: UP036
            raise SetupError(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}.")
        install_tools()
        return run(argv)
    except SetupError as error:
        print(f"dev.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("dev.py: interrupted.", file=sys.stderr)
        return 130


def run(argv: list[str]) -> int:
    """Hands over to nox; for all the checks, closes with the tests counted over the sessions."""
    if argv[0] != "tests":
        return nox(["--list"] if argv == ["--list"] else ["-s", argv[0], "--", *_without_dashes(argv[1:])])
    shutil.rmtree(RESULTS, ignore_errors=True)
    failed = nox(["--", *_without_dashes(argv[1:])])
    return subprocess.call([PYTHON, ROOT / "tools" / "tally.py", RESULTS]) or failed


def nox(args: list[str]) -> int:
    """Calls nox with `args`; returns its exit code."""
    command: list[str | Path] = [PYTHON, "-m", "nox", "-f", ROOT / "noxfile.py", *args]
    return subprocess.call(command, cwd=ROOT, env={**uv_settings(), **os.environ})


def install_tools() -> None:
    """Makes the environment of nox, hatch and uv, unless it is there with the pinned versions.

    Raises:
        SetupError: The environment cannot be made, or pip cannot install.
    """
    pins = [line for line in _lines(ROOT / "constraints.txt") if line.partition("==")[0] in TOOLS]
    stamp = ENVIRONMENT / "installed"
    key = hashlib.sha256("\n".join([sys.version, *pins]).encode()).hexdigest()
    if stamp.is_file() and stamp.read_text() == key:
        return
    print(f"dev.py: installing {', '.join(pins)} in {ENVIRONMENT.relative_to(ROOT)}", file=sys.stderr)
    _make_environment()
    _pip_install(pins)
    stamp.write_text(key)


def uv_settings() -> dict[str, str]:
    """What pip is configured with, as the environment variables that uv reads.

    `UV_INDEX_STRATEGY` gives uv pip's view of several indexes: all count, the best version wins.
    """
    listing = subprocess.run([PYTHON, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    settings = {"UV_SYSTEM_CERTS": "1", "UV_PYTHON_DOWNLOADS": "never", "UV_INDEX_STRATEGY": "unsafe-best-match"}
    lines = [line.partition("=") for line in listing.stdout.splitlines()]
    # `:env:` comes last, for the environment is above the files.
    for name, _, value in sorted(lines, key=lambda line: line[0].startswith(":env:")):
        option = name.rpartition(".")[2]
        if option in UV_NAMES:
            separator = "," if option == "find-links" else " "
            settings[UV_NAMES[option]] = separator.join(ast.literal_eval(value).split())
    return settings


def _make_environment() -> None:
    try:
        venv.create(ENVIRONMENT, clear=True, with_pip=True)
    except (OSError, subprocess.CalledProcessError) as error:
        hint = "On Debian and Ubuntu, `apt install python3-venv` supplies what is missing."
        raise SetupError(f"cannot make an environment in {ENVIRONMENT}: {error}. {hint}") from error


def _pip_install(requirements: list[str]) -> None:
    code = subprocess.call([PYTHON, "-m", "pip", "install", "-qq", "-c", ROOT / "constraints.txt", *requirements])
    if code:
        names = ", ".join(requirements)
        raise SetupError(f"pip could not install {names} (exit {code}, its words are above). Is there a network?")


def _lines(path: Path) -> list[str]:
    return [line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]


def _without_dashes(args: list[str]) -> list[str]:
    return args[1:] if args[:1] == ["--"] else args


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
