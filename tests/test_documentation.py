"""What the documentation tells people to type exists, and what it links to is there."""

import argparse
import importlib
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("packages/*/README.md")]
COMMANDS = {"clear-data": "clear_data.cli", "unlearn": "unlearn_train.cli", "unlearn-metrics": "unlearn_metrics.cli"}
BLOCK = re.compile(r"^```\w*\n(.*?)^```|((?:^    [^\n]*\n)+)", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
COMMAND = re.compile(rf"^\s*(?:\$ )?((?:{'|'.join(COMMANDS)}) [^#\n]+)", re.MULTILINE)
DEV = re.compile(r"python3 tools/dev\.py ([\w-]+)")
FILE = re.compile(r"(?:packages|tests|tools)/[a-z][\w./-]+")
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
Complaint = Callable[[str], str]


class Parsed(BaseException):
    """The command line was understood."""


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def in_blocks() -> list[str]:
    blocks = [block for page in PAGES for parts in BLOCK.findall(text_of(page)) for block in parts]
    return sorted({command.strip() for block in blocks for command in COMMAND.findall(block)})


def in_sentences() -> list[str]:
    inline = [code for page in PAGES for code in INLINE.findall(BLOCK.sub("", text_of(page)))]
    return sorted({command.strip() for code in inline for command in COMMAND.findall(code)})


@pytest.fixture
def complaint(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Complaint:
    """Has a command line parsed and nothing done; gives what the parser says against it."""
    parse = argparse.ArgumentParser.parse_args

    def parse_and_stop(self: argparse.ArgumentParser, *args: object) -> None:
        parse(self, *args)
        raise Parsed

    def complain(line: str) -> str:
        program, *words = shlex.split(line)
        capsys.readouterr()
        try:
            exit_code = importlib.import_module(COMMANDS[program]).main(words)
        except SystemExit as end:
            exit_code = end.code
        except Parsed:
            return ""
        return capsys.readouterr().err.strip() if exit_code else ""

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
    return complain


@pytest.mark.parametrize("line", in_blocks())
def test_commands_are_understood(line: str, complaint: Complaint) -> None:
    assert complaint(line) == ""


@pytest.mark.parametrize("line", in_sentences())
def test_commands_in_sentences_lack_arguments_at_most(line: str, complaint: Complaint) -> None:
    assert re.sub(r"(?s).*the following arguments are required:.*", "", complaint(line)) == ""


@pytest.mark.parametrize("line", ["unlearn runn clear", "unlearn run clear --no-such-option 3", "unlearn forget"])
def test_a_wrong_command_is_found(line: str, complaint: Complaint) -> None:
    assert "error" in complaint(line)


def test_sessions_exist() -> None:
    sessions = {"tests", *re.findall(r"^def (\w+)\(session", text_of(ROOT / "noxfile.py"), flags=re.MULTILINE)}
    named = {name for page in PAGES for name in DEV.findall(text_of(page))}
    assert {"demo", "tests"} <= named
    assert named - {"SESSION"} <= sessions


@each_page
def test_files_are_there(page: Path) -> None:
    named = {code for code in INLINE.findall(text_of(page)) if FILE.fullmatch(code)}
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    links = LINK.findall(text_of(page))
    assert [link for link in links if not (page.parent / link).exists()] == []
