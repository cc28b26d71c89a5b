"""One process at a time."""

import fcntl
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def exclusive(path: Path, *, wait: bool = False, quiet: bool = False) -> Iterator[None]:
    """Hold a lock that the system takes back when the process ends, however it ends.

    Args:
        path: of the lock's file, which stays and says who held it last.
        wait: for whoever holds it now, instead of refusing.
        quiet: do not say that this waits.

    Raises:
        RuntimeError: another process holds the lock, and `wait` is off.
    """
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            if not wait:
                raise RuntimeError(
                    f"{holder} is at work on {path.parent}; wait for it with `--wait`, or start again later."
                ) from None
            if not quiet:
                print(f"waiting for {holder} ...", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield
