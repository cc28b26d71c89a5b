"""An append-only log in SQLite, in which the hash of each entry covers the one before it.

Whoever alters, removes or inserts an entry breaks the chain from there on. Whoever kept the last hash (an export shows
it) can tell if entries were cut off at the end.
"""

import errno
import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

Content = Mapping[str, Any]
SECONDS_TO_WAIT = 30.0
"""for another process's transaction, which takes milliseconds"""

_SCHEMA = """
CREATE TABLE entries (number INTEGER PRIMARY KEY, entry TEXT NOT NULL, hash TEXT NOT NULL) STRICT;
CREATE TRIGGER no_update BEFORE UPDATE ON entries BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER no_delete BEFORE DELETE ON entries BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
"""


@dataclass(frozen=True)
class Entry:
    """What happened, when, and what ties it to all that happened before."""

    number: int
    """from 1, without gaps"""
    time: str
    """UTC, ISO 8601"""
    kind: str
    content: Content
    hash: str
    """see `chained`"""


@dataclass(frozen=True)
class Log:
    """A log in a file."""

    path: Path

    def read(self) -> list[Entry]:
        """Return all entries, in order; none where the file is not there.

        Nothing is written, so that the file may be where nothing can be.

        Raises:
            ValueError: the file is no log, or its chain is broken.
        """
        if not self.path.exists():
            return []
        with _reading(self.path) as connection:
            return _entries(connection, self.path)

    def append(self, decide: Callable[[list[Entry]], Sequence[Content]]) -> list[Entry]:
        """Append what `decide` makes of the entries that are there: all of it or, where something fails, none.

        No other process can append between the reading and the writing, so that what was decided still holds.

        Args:
            decide: from all entries to the contents of new ones, each with its `kind`.

        Returns:
            All entries, the new ones included.

        Raises:
            OSError: the disk is full.
            RuntimeError: another process holds the file for too long.
            ValueError: the file is no log, its chain is broken, or `decide` refuses.
        """
        with _connected(self.path) as connection:
            connection.execute("BEGIN IMMEDIATE")
            if not connection.execute("SELECT name FROM sqlite_schema WHERE name = 'entries'").fetchall():
                for statement in _SCHEMA.strip().splitlines():
                    connection.execute(statement)
            entries = _entries(connection, self.path)
            for content in decide(entries):
                entry, text = _next(entries, content)
                connection.execute("INSERT INTO entries VALUES (?, ?, ?)", (entry.number, text, entry.hash))
                entries.append(entry)
            connection.execute("COMMIT")
        return entries


def chained(previous: str, text: str) -> str:
    """Return the hash of an entry: SHA-256 of the hash before it (empty for the first), a newline, and its text.

    The text is the entry as JSON with sorted keys and no spaces, in UTF-8.

    Example:
        >>> chained("", '{"kind":"opened","number":1}')[:16]
        'f853f10e09a73f19'
    """
    return sha256(f"{previous}\n{text}".encode()).hexdigest()


def canonical(value: Any) -> str:
    """Return a value as JSON with sorted keys and no spaces.

    Raises:
        ValueError: a number is not finite.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _next(entries: Sequence[Entry], content: Content) -> tuple[Entry, str]:
    time = datetime.now(UTC).isoformat(timespec="seconds")
    number, previous = len(entries) + 1, entries[-1].hash if entries else ""
    text = canonical({**content, "number": number, "time": time})
    return _parsed(text, chained(previous, text)), text


def _parsed(text: str, digest: str) -> Entry:
    content = json.loads(text)
    return Entry(content.pop("number"), content.pop("time"), content.pop("kind"), content, digest)


def _entries(connection: sqlite3.Connection, path: Path) -> list[Entry]:
    try:
        stored = connection.execute("SELECT number, entry, hash FROM entries ORDER BY number").fetchall()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return []
        raise
    previous = ""
    for position, (number, text, digest) in enumerate(stored, 1):
        if number != position or digest != chained(previous, text):
            raise ValueError(
                f"{path} was altered: entry {position} of {len(stored)} does not follow from those before it; restore "
                "the file from a backup."
            )
        previous = digest
    return [_parsed(text, digest) for _, text, digest in stored]


@contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that is rolled back unless all went well; its errors say what to do."""
    try:
        with closing(sqlite3.connect(path, timeout=SECONDS_TO_WAIT, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            yield connection
    except sqlite3.DatabaseError as error:
        raise _explained(error, path) from error


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that changes nothing, so that it needs no right to."""
    try:
        with closing(
            sqlite3.connect(_uri(path), uri=True, timeout=SECONDS_TO_WAIT, isolation_level=None)
        ) as connection:
            yield connection
    except sqlite3.DatabaseError as error:
        raise _explained(error, path) from error


def _uri(path: Path) -> str:
    """Where SQLite may write, it keeps files beside the log while it reads, and removes them."""
    effective = os.access in os.supports_effective_ids
    if all(os.access(each, os.W_OK, effective_ids=effective) for each in (path, path.parent)):
        return f"{path.resolve().as_uri()}?mode=rw"
    is_written = path.with_name(f"{path.name}-wal").exists()
    return f"{path.resolve().as_uri()}?mode=ro{'' if is_written else '&immutable=1'}"


def _explained(error: sqlite3.DatabaseError, path: Path) -> Exception:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the rest says more of the same
    if code == sqlite3.SQLITE_FULL:
        return OSError(errno.ENOSPC, "No space left on device", str(path))
    if code == sqlite3.SQLITE_BUSY:
        return RuntimeError(f"another process has been writing to {path} for {SECONDS_TO_WAIT:.0f} s; try again.")
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return ValueError(f"{path} is no ledger or was damaged ({error}); restore it from a backup.")
    return RuntimeError(f"{path}: {error}.")
