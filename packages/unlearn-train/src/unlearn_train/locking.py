"""One process at a time."""

import errno
import fcntl
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from unlearn_train import launching

LOCK = ".lock"
LOCKLESS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
"""what file systems say that know no locks, as those of some clusters; nothing is held there"""


@contextmanager
def exclusive(
    folder: Path, *, wait: bool = False, quiet: bool = False, advice: str = "start again when it is done"
) -> Iterator[None]:
    """Hold a folder's lock, which the system takes back when the process ends, however it ends.

    Args:
        folder: made where it is not there yet. The lock's file stays in it, and says who held it last.
        wait: for whoever holds it now, instead of refusing.
        quiet: do not say that this waits.
        advice: what to do if another process holds it.

    Raises:
        RuntimeError: another process holds the lock, and `wait` is off.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+", encoding="utf-8") as file:
        try:
            _lock(file.fileno(), fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            if not wait:
                raise RuntimeError(f"{holder} is at work on {folder}; {advice}.") from None
            if not quiet:
                print(f"waiting for {holder} ...", file=sys.stderr, flush=True)
            _lock(file.fileno())
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield


def exclusive_to_all(folder: Path) -> AbstractContextManager[None]:
    """Hold a folder's lock for all processes of a training, of which the first takes it."""
    return exclusive(folder) if launching.rank() == 0 else nullcontext()


def _lock(handle: int, how: int = 0) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | how)
    except OSError as error:
        if error.errno not in LOCKLESS:
            raise
