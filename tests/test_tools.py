"""The repository's own tools: tally, version bump, uv's settings, and the wheel check's findings."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"tools_{name}", ROOT / "tools" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def session(tmp_path: Path):
    """Runs the given test file as a session does; its results go to `tmp_path / "results"`."""

    def run(name: str, code: str, other: str = "") -> None:
        tests = tmp_path / "tests"
        tests.mkdir(exist_ok=True)
        (tests / "test_planted.py").write_text(code)
        (tests / "test_other.py").write_text(other)
        results = tmp_path / "results" / f"{name}.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, tests]
        environ = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        subprocess.run([*command, f"--junitxml={results}"], cwd=tmp_path, env=environ, capture_output=True, check=False)

    return run


PASSING = "def test_one(): pass\n"
SKIPPING = "import pytest\ndef test_one(): pytest.importorskip('no_such_module')\n"
MODULE_SKIPPING = "import pytest\npytest.importorskip('no_such_module')\ndef test_one(): pass\n"
EXTRA_SKIPPING = SKIPPING.replace("module'", "module', reason='needs the extra [score]'")
DATA_SKIPPING = "import pytest\ndef test_one(): pytest.skip('no data here')\n"
FAILING = "def test_one(): raise ValueError\n"


@pytest.mark.parametrize("first", [SKIPPING, MODULE_SKIPPING, DATA_SKIPPING, PASSING])
def test_a_test_passed_where_some_session_passed_it(session, tmp_path, capsys, first) -> None:
    session("tests", first)
    session("integration", PASSING)
    assert load("tally").main(tmp_path / "results") == 0
    assert capsys.readouterr().out == "1 passed, 0 failed, 0 skipped\n"


@pytest.mark.parametrize("code", [SKIPPING, MODULE_SKIPPING, EXTRA_SKIPPING])
def test_a_module_that_no_session_has_is_an_error(session, tmp_path, capsys, code) -> None:
    session("tests", code, PASSING)
    session("integration", code, PASSING)
    assert load("tally").main(tmp_path / "results") == 1
    assert "no session has the modules" in capsys.readouterr().out


def test_other_reasons_are_listed(session, tmp_path, capsys) -> None:
    session("integration", DATA_SKIPPING, PASSING)
    assert load("tally").main(tmp_path / "results") == 0
    assert capsys.readouterr().out.splitlines() == [
        "skipped everywhere: tests.test_planted.test_one: no data here",
        "1 passed, 0 failed, 1 skipped",
    ]


def test_a_failure_anywhere_is_a_failure(session, tmp_path, capsys) -> None:
    session("tests", PASSING)
    session("integration", FAILING)
    assert load("tally").main(tmp_path / "results") == 1
    assert capsys.readouterr().out == "0 passed, 1 failed, 0 skipped\n"


def test_no_tests_are_no_success(tmp_path, capsys) -> None:
    assert load("tally").main(tmp_path) == 1
    assert capsys.readouterr().out == "0 passed, 0 failed, 0 skipped\n"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for path in [
        *ROOT.glob("packages/*/pyproject.toml"),
        *ROOT.glob("packages/*/src/*/__init__.py"),
        ROOT / "CHANGELOG.md",
    ]:
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return tmp_path


def test_bumping_changes_all_versions_and_nothing_else(copy: Path, capsys) -> None:
    assert load("bump_version").main(["9.8.7"], root=copy) == 0
    changed = capsys.readouterr().out.splitlines()
    assert len(changed) == 9
    for name in changed:
        old, new = (ROOT / name).read_text().splitlines(), (copy / name).read_text().splitlines()
        added = [line for line in new if line not in old]
        assert added and all("9.8.7" in line for line in added)
    project = (copy / "packages/unlearn-train/pyproject.toml").read_text()
    assert project.count("9.8.7") == 1 + 3
    assert "0.1.0" not in project


@pytest.mark.parametrize("version", ["", "1", "1.2", "v1.2.3", "1.2.3-beta"])
def test_what_is_no_version_is_refused(copy: Path, capsys, version) -> None:
    assert load("bump_version").main([version], root=copy) == 2
    assert "is no version" in capsys.readouterr().err
    assert "0.1.0" in (copy / "packages/unlearn-train/pyproject.toml").read_text()


def test_a_missing_version_leaves_everything_as_it_was(copy: Path) -> None:
    (copy / "CHANGELOG.md").write_text("nothing")
    with pytest.raises(ValueError, match="should have one line"):
        load("bump_version").main(["9.8.7"], root=copy)
    assert "0.1.0" in (copy / "packages/unlearn-train/pyproject.toml").read_text()


def test_uv_is_told_what_pip_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    listing = "\n".join(
        [
            ":env:.find-links='/wheels /more'",
            "global.cert='/cert.pem'",
            "global.extra-index-url='file:///a file:///b'",
            "global.find-links='/other'",
            "install.no-color='true'",
        ]
    )
    dev = load("dev")
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\ncat <<'END'\n{listing}\nEND\n")
    python.chmod(0o755)
    monkeypatch.setattr(dev, "PYTHON", python)
    assert dev.uv_settings() == {
        "SSL_CERT_FILE": "/cert.pem",
        "UV_FIND_LINKS": "/wheels,/more",
        "UV_INDEX": "file:///a file:///b",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_SYSTEM_CERTS": "1",
    }


def test_an_old_python_is_told_so(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 0))
    assert load("dev").main(["demo"]) == 1
    assert capsys.readouterr().err.startswith("dev.py: Python 3.11 or newer is needed")


def test_what_pip_cannot_install_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys) -> None:
    dev = load("dev")
    monkeypatch.setattr(dev, "ENVIRONMENT", tmp_path / "environment")
    monkeypatch.setattr(dev, "ROOT", tmp_path)
    monkeypatch.setattr(dev, "PYTHON", Path("false"))
    (tmp_path / "constraints.txt").write_text("nox==1\nnumpy==2  # not a tool\n")
    monkeypatch.setattr(dev, "_make_environment", lambda: None)
    assert dev.main(["demo"]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("dev.py: pip could not install nox==1 (exit 1")


@pytest.mark.parametrize(("argv", "code"), [([], 2), (["--help"], 0)])
def test_usage(argv, code, capsys) -> None:
    assert load("dev").main(argv) == code
    assert "tools/dev.py demo" in capsys.readouterr().out
