"""What the documentation tells people to type exists, and what it links to is there."""

import argparse
import doctest
import importlib
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docs/[!_]*/*.md"), *ROOT.glob("packages/*/README.md")]
COMMANDS = {"clear-data": "clear_data.cli", "unlearn": "unlearn_train.cli", "unlearn-metrics": "unlearn_metrics.cli"}
BLOCK = re.compile(r"^```\w*\n(.*?)^```|((?:^    [^\n]*\n)+)", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
COMMAND = re.compile(rf"^\s*(?:\$ )?((?:{'|'.join(COMMANDS)}) [^#\n]+)", re.MULTILINE)
DEV = re.compile(r"python3 tools/dev\.py ([\w-]+)")
FILE = re.compile(r"(?:packages|tests|tools)/[a-z][\w./-]+")
EXAMPLES = re.compile(r"^```python\n(?=>>>)(.*?)^```", re.MULTILINE | re.DOTALL)
IMPORTED = re.compile(r"^>>> (?:from|import) (\w+)", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")

METRIC_PAGES = sorted(set(ROOT.glob("docs/metrics/*.md")) - {ROOT / "docs" / "metrics" / "index.md"})

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


@pytest.mark.parametrize("page", [page for page in PAGES if EXAMPLES.search(text_of(page))], ids=lambda page: page.stem)
def test_examples_give_what_they_show(page: Path) -> None:
    """Blocks of `>>>` run, one after the other, in one namespace a page."""
    text = text_of(page)
    for package in sorted({name for block in EXAMPLES.findall(text) for name in IMPORTED.findall(block)}):
        pytest.importorskip(package)
    # Everything else is blanked, so that a failure names the line of the page.
    kept = {line for block in EXAMPLES.finditer(text) for line in lines_of(text, *block.span(1))}
    lines = [line if number in kept else "" for number, line in enumerate(text.splitlines())]
    test = doctest.DocTestParser().get_doctest("\n".join(lines) + "\n", {}, page.name, str(page), 0)
    said: list[str] = []
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert runner.run(test, out=said.append).failed == 0, "".join(said)


@each_page
def test_no_example_is_overlooked(page: Path) -> None:
    assert text_of(page).count(">>> ") == "".join(EXAMPLES.findall(text_of(page))).count(">>> ")


def lines_of(text: str, start: int, end: int) -> range:
    """The numbers, from 0, of the lines of a part of the text."""
    return range(text.count("\n", 0, start), text.count("\n", 0, end))


def described(page: Path) -> list[str]:
    """The names in a page's headings of metrics."""
    headings = re.findall(r"^## (`.*)$", text_of(page), flags=re.MULTILINE)
    return [name for heading in headings for name in INLINE.findall(heading)]


def test_every_metric_has_a_section_with_an_example() -> None:
    public = pytest.importorskip("unlearn_metrics.functional").__all__
    assert sorted(name for page in METRIC_PAGES for name in described(page)) == sorted(public)
    for page in METRIC_PAGES:
        examples = "".join(EXAMPLES.findall(text_of(page)))
        assert [name for name in described(page) if not re.search(rf"\b{name}\b", examples)] == []


def test_the_table_of_metrics_leads_to_each() -> None:
    index = ROOT / "docs" / "metrics" / "index.md"
    rows = re.findall(r"^\| (`[^|]*) \|.*\(([\w-]+\.md)#(\w+)\) \|$", text_of(index), flags=re.MULTILINE)
    listed = {name: page for names, page, _ in rows for name in INLINE.findall(names)}
    assert listed == {name: page.name for page in METRIC_PAGES for name in described(page)}
    assert [anchor for names, _, anchor in rows if anchor not in names.lower()] == []
