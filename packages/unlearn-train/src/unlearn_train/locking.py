"""One process at a time."""

import errno
import fcntl
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

LOCKLESS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
"""what file systems say that know no locks, as those of some clusters; nothing is held there"""


@contextmanager
def exclusive(
    path: Path,
    on: Path,
    *,
    wait: bool = False,
    quiet: bool = False,
    passing: bool = False,
    advice: str = "start again when it is done",
) -> Iterator[None]:
    """Hold a lock that the system takes back when the process ends, however it ends.

    Args:
        path: of the lock's file, which says who held it last.
        on: what is worked on, for messages.
        wait: for whoever holds it now, instead of refusing.
        quiet: do not say that this waits.
        passing: remove the file in the end.
        advice: what to do if another process holds it.

    Raises:
        RuntimeError: another process holds the lock, and `wait` is off.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with path.open("a+", encoding="utf-8") as file:
            try:
                _lock(file, fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read().strip() or "another process"
                if not wait:
                    raise RuntimeError(f"{holder} is at work on {on}; {advice}.") from None
                if not quiet:
                    print(f"waiting for {holder} ...", file=sys.stderr, flush=True)
                _lock(file)
            if not _is_there(file, path):  # whoever held it has removed it meanwhile
                continue
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
            try:
                yield
            finally:
                if passing:
                    path.unlink(missing_ok=True)
            return


def _lock(file: IO[str], how: int = 0) -> None:
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | how)
    except OSError as error:
        if error.errno not in LOCKLESS:
            raise


def _is_there(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
