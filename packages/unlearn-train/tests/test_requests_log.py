import contextlib
import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest
from unlearn_train.requests import log as log_module
from unlearn_train.requests.log import Log, canonical, chained


@pytest.fixture
def log(tmp_path):
    return Log(tmp_path / "ledger.sqlite")


def note(*names):
    return lambda _: [{"kind": "noted", "name": name} for name in names]


def test_what_is_appended_is_read(log):
    assert log.read() == []
    log.append(note("a"))
    assert log.append(note("b", "é")) == log.read()
    assert [(each.number, each.kind, dict(each.content)) for each in log.read()] == [
        (1, "noted", {"name": "a"}),
        (2, "noted", {"name": "b"}),
        (3, "noted", {"name": "é"}),
    ]
    assert sqlite3.connect(log.path).execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_the_chain_is_what_its_description_says(log):
    previous = ""
    for entry in log.append(note("a", "b", "c")):
        text = json.dumps(
            {**entry.content, "kind": entry.kind, "number": entry.number, "time": entry.time},
            sort_keys=True,
            separators=(",", ":"),
            ensure_ascii=False,
        )
        assert entry.hash == hashlib.sha256((previous + "\n" + text).encode()).hexdigest()
        previous = entry.hash


def test_decisions_are_taken_on_what_is_there(log):
    log.append(note("a"))
    seen = []
    log.append(lambda entries: seen.append(len(entries)) or [])
    assert seen == [1]


def refuse(entries):
    raise ValueError("no")


@pytest.mark.parametrize(
    "decide",
    [refuse, lambda _: [{"kind": "noted"}, {"kind": "noted", "value": float("nan")}], lambda _: [{"no kind": 1}]],
    ids=["refused", "the second entry cannot be written", "no kind"],
)
def test_what_fails_leaves_nothing(log, decide):
    log.append(note("a"))
    with pytest.raises((ValueError, KeyError)):
        log.append(decide)
    assert len(log.read()) == 1


def tamper(log, *statements):
    with sqlite3.connect(log.path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


@pytest.mark.parametrize("statement", ["UPDATE entries SET hash = ''", "DELETE FROM entries WHERE number = 3"])
def test_nothing_can_be_changed_by_mistake(log, statement):
    log.append(note("a", "b", "c"))
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        tamper(log, statement)


@pytest.mark.parametrize(
    ("statement", "place"),
    [
        ("UPDATE entries SET entry = replace(entry, '\"b\"', '\"x\"') WHERE number = 2", 2),
        ("UPDATE entries SET hash = 'x' WHERE number = 3", 3),
        ("DELETE FROM entries WHERE number = 2", 2),
        ("DELETE FROM entries WHERE number = 1", 1),
    ],
)
def test_what_is_altered_is_noticed(log, statement, place):
    log.append(note("a", "b", "c"))
    tamper(log, "DROP TRIGGER no_update", "DROP TRIGGER no_delete", statement)
    for use in (log.read, lambda: log.append(note("d"))):
        with pytest.raises(ValueError, match=f"ledger.sqlite was altered: entry {place} of "):
            use()


@pytest.mark.parametrize("content", [b"no database, but long enough to be taken for one" * 99, None])
def test_a_file_that_is_no_log_is_refused(log, content):
    log.append(note("a"))
    whole = log.path.read_bytes()
    log.path.write_bytes(whole[:100] + b"\0" * (len(whole) - 100) if content is None else content)
    with pytest.raises(ValueError, match="is no ledger or was damaged"):
        log.read()


def test_a_full_disk_is_an_os_error_and_leaves_what_was_there(log, monkeypatch):
    log.append(note("a"))
    connect = sqlite3.connect

    def small(*args, **options):
        connection = connect(*args, **options)
        connection.execute("PRAGMA max_page_count = 1")
        return connection

    monkeypatch.setattr(log_module.sqlite3, "connect", small)
    with pytest.raises(OSError, match="No space left on device"):
        log.append(note("b" * 100_000))
    monkeypatch.undo()
    assert len(log.read()) == 1


def test_a_log_that_another_holds_is_waited_for_and_then_refused(log, monkeypatch):
    log.append(note("a"))
    monkeypatch.setattr(log_module, "SECONDS_TO_WAIT", 0.05)
    other = sqlite3.connect(log.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(RuntimeError, match="another process has been writing"):
        log.append(note("b"))
    assert len(log.read()) == 1
    other.close()


PROGRAM = """
    import sys
    from pathlib import Path
    from unlearn_train.requests.log import Log
    for n in range(25):
        Log(Path(sys.argv[1])).append(lambda entries: [{"kind": "noted", "seen": len(entries)}])
"""


def test_processes_take_turns(log):
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(log.path)]
    processes = [subprocess.Popen(command, env={**os.environ, "PYTHONWARNINGS": "error"}) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert [entry.content["seen"] for entry in log.read()] == list(range(75))


@contextlib.contextmanager
def without_rights():
    """As somebody whom rights hold for; root may do all."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("others", [False, True], ids=["nobody else", "a writer beside"])
def test_a_log_is_read_where_nothing_can_be_written(others):
    with tempfile.TemporaryDirectory() as name:  # not in pytest's folder, which is closed to others
        folder = Path(name, "read only #1")
        folder.mkdir()
        log = Log(folder / "ledger.sqlite")
        log.append(note("a"))
        writer = sqlite3.connect(log.path)
        if others:
            assert writer.execute("SELECT count(*) FROM entries").fetchone() == (1,)
        Path(name).chmod(0o755)
        before = sorted(folder.iterdir())
        for path in before:
            path.chmod(0o444)
        folder.chmod(0o555)
        with without_rights():
            assert len(log.read()) == 1
            with pytest.raises(RuntimeError):
                log.append(note("b"))
        assert sorted(folder.iterdir()) == before
        folder.chmod(0o755)
        writer.close()


def test_reading_writes_nothing(log):
    log.append(note("a"))
    before = log.path.read_bytes()
    assert len(log.read()) == 1
    assert (log.path.read_bytes(), sorted(log.path.parent.iterdir())) == (before, [log.path])


@pytest.mark.parametrize(
    ("code", "kind"),
    [("SQLITE_BUSY_SNAPSHOT", RuntimeError), ("SQLITE_CORRUPT_VTAB", ValueError), ("SQLITE_FULL", OSError)],
)
def test_extended_codes_are_told_like_plain_ones(log, code, kind):
    error = sqlite3.OperationalError("so")
    error.sqlite_errorcode = getattr(sqlite3, code)
    found = log_module._explained(error, log.path)
    assert type(found) is kind
    assert "so." not in str(found).removesuffix("backup.")


def test_text_is_the_same_whatever_the_order():
    assert canonical({"b": 1, "a": [True, None]}) == '{"a":[true,null],"b":1}'
    assert chained("", "a") != chained("a", "")
