"""Counts the tests over all sessions, each once: `python tools/tally.py FOLDER`, a folder of JUnit XML files.

Most tests run in several environments, and skip themselves in one that lacks what they need. So a test counts as failed
if it failed anywhere, as passed if it passed somewhere, and as skipped only if nobody ran it, not even the session with
everything installed. If that was for want of a module, no environment has that module: such a test protects nothing,
and is an error. Other reasons (no GPU, no data) depend on the machine, and are listed.
"""

import re
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

COMPLETE = "integration"  # the session with everything installed
WANTS_MODULE = re.compile(r"\b(import|extra)\b")


class Result(NamedTuple):
    """One test in one session."""

    session: str
    test: str
    outcome: str
    reason: str


def main(folder: Path) -> int:
    """Prints what was skipped everywhere and the closing line; returns 1 for failures and for imports found nowhere."""
    results = [result for path in sorted(folder.glob("*.xml")) for result in read(path)]
    failed = {result.test for result in results if result.outcome == "failed"}
    passed = {result.test for result in results if result.outcome == "passed"} - failed
    skipped = skipped_everywhere(results, ran=passed | failed)
    for test, reason in sorted(skipped.items()):
        print(f"skipped everywhere: {test}: {reason}")
    missing = sorted(test for test, reason in skipped.items() if WANTS_MODULE.search(reason))
    if missing:
        print(f"error: no session has the modules that these need: {', '.join(missing)}")
    print(f"{len(passed)} passed, {len(failed)} failed, {len(skipped)} skipped")
    return 1 if failed or missing or not passed else 0


def read(path: Path) -> Iterator[Result]:
    """Yields the results of one session."""
    for case in ET.parse(path).iter("testcase"):
        test = ".".join(filter(None, [case.get("classname"), case.get("name")]))
        if case.find("failure") is not None or case.find("error") is not None:
            yield Result(path.stem, test, "failed", "")
        elif (skip := case.find("skipped")) is not None and skip.get("type") != "pytest.xfail":
            yield Result(path.stem, test, "skipped", _reason(skip))
        else:
            yield Result(path.stem, test, "passed", "")


def skipped_everywhere(results: list[Result], *, ran: set[str]) -> dict[str, str]:
    """The tests that no session ran, with the reason. A skipped module ran where any of its tests did."""
    skipped = {each.test: each.reason for each in results if each.outcome == "skipped" and each.session == COMPLETE}
    return {
        test: reason
        for test, reason in skipped.items()
        if test not in ran and not any(name.startswith(f"{test}.") for name in ran)
    }


def _reason(skip: ET.Element) -> str:
    text = skip.text if skip.get("message") == "collection skipped" else skip.get("message")
    return " ".join((text or "no reason given").split())


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
