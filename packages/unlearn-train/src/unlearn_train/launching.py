"""Several processes: how they are started, which of them speaks, and what they agree on.

Any launcher that sets `RANK`, `LOCAL_RANK` and `WORLD_SIZE` will do: torchrun, deepspeed, accelerate launch, `start`.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")

LINES = "UNLEARN_LINES"
"""names the folder into which a process that was started by `start` writes its last line"""

_FIRST = "first"
"""a link in that folder, to the line of the process that wrote one before all others; times are too coarse to tell"""

PATIENCE = timedelta(days=7)
"""one process may do for long what needs but one, such as drawing faces"""


def processes() -> int:
    """Return how many processes work together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Return this process's number among them; 0 writes, prints and reports."""
    return int(os.environ.get("RANK", "0"))


def join(*, alone: bool = False) -> None:
    """Meet the other processes; nothing where there is but one.

    Args:
        alone: one process makes up a group too, as DeepSpeed wants it.

    Raises:
        ValueError: there are more processes than GPUs.
    """
    if processes() == 1 and not alone:
        return
    import torch
    from torch import distributed

    if distributed.is_initialized():
        return
    if processes() == 1:
        os.environ.update({"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", **_meeting_place()})
    place = int(os.environ.get("LOCAL_RANK", "0"))
    if not torch.cuda.is_available():
        distributed.init_process_group("gloo", timeout=PATIENCE)
        return
    if place >= torch.cuda.device_count():
        raise ValueError(
            f"there are more processes than the {torch.cuda.device_count()} GPUs of this machine; start one for each."
        )
    torch.cuda.set_device(place)
    distributed.init_process_group("cpu:gloo,cuda:nccl", timeout=PATIENCE, device_id=torch.device("cuda", place))


def agree(value: T) -> T:
    """Return what the first process says, when it says it; every process must ask."""
    if processes() == 1:
        return value
    import torch
    from torch import distributed

    join()
    said = [value]
    distributed.broadcast_object_list(said, device=torch.device("cpu"))
    return said[0]


def share(value: "Tensor") -> "Tensor":
    """Return the first process's tensor; every process must ask, with one of the same form."""
    if processes() == 1:
        return value
    from torch import distributed

    join()
    shared = value.contiguous()
    distributed.broadcast(shared, 0)
    return shared


def leave(code: int = 0) -> int:
    """Part from the other processes, and return the exit code.

    After an error this process ends at once: the others may be waiting for it, and parting would wait for them.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.distributed.is_initialized():
        return code
    if code and processes() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    torch.distributed.destroy_process_group()
    return code


def start(count: int, argv: Sequence[str]) -> int:
    """Run one `unlearn` command line in several processes on this machine.

    Returns:
        0, or the exit code of the first process that failed; the others are then ended, and its line is shown.

    Raises:
        ValueError: a launcher has started several already.
    """
    if processes() > 1:
        raise ValueError(f"a launcher has started {processes()} processes already; leave out `--nproc`.")
    with TemporaryDirectory() as folder:
        shared = {**_meeting_place(), LINES: folder}
        children = [_child(number, count, argv, shared) for number in range(count)]
        try:
            failed = _first_failed(children, Path(folder))
        finally:
            _end(children)
        if failed is None:
            return 0
        code = children[failed].returncode
        print(_last_line(Path(folder), failed, code), file=sys.stderr)
        return code if code > 0 else 1


def is_started() -> bool:
    """Return whether `start` has started this process."""
    return LINES in os.environ


def say_last(line: str) -> None:
    """Say why this command ends: to stderr, or to the process that started this one and shows it once."""
    if not is_started():
        print(line, file=sys.stderr)
        return
    folder = Path(os.environ[LINES])
    with suppress(FileExistsError):
        (folder / _FIRST).symlink_to(str(rank()))
    (folder / str(rank())).write_text(line, encoding="utf-8")


def end_with_parent() -> None:
    """End this process once that which started it is gone, however it went: nobody would wait for it any more."""
    if is_started():
        threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()


def _meeting_place() -> dict[str, str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _child(number: int, count: int, argv: Sequence[str], shared: dict[str, str]) -> "subprocess.Popen[bytes]":
    own = {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count))}
    command = [sys.executable, "-m", "unlearn_train", *argv]
    environment = {**threads, **os.environ, **own, **shared}
    if number == 0:
        return subprocess.Popen(command, env=environment)
    with (Path(shared[LINES]) / f"{number}.log").open("wb") as log:
        return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def _first_failed(children: Sequence["subprocess.Popen[bytes]"], folder: Path) -> int | None:
    while True:
        codes = [child.poll() for child in children]
        failed = [number for number, code in enumerate(codes) if code]
        if failed:
            return _cause(children, failed, folder)
        if None not in codes:
            return None
        time.sleep(0.05)


def _cause(children: Sequence["subprocess.Popen[bytes]"], failed: Sequence[int], folder: Path) -> int:
    """Which of the processes failed first: others fail for the want of it, and may even be gone before it is."""
    killed = [number for number in failed if children[number].returncode == -signal.SIGKILL]
    if killed or not (folder / _FIRST).is_symlink():
        return [*killed, *failed][0]
    first = int((folder / _FIRST).readlink().name)
    with suppress(subprocess.TimeoutExpired):
        children[first].wait(timeout=10)
    return first


def _end(children: Sequence["subprocess.Popen[bytes]"]) -> None:
    for child in children:
        child.terminate()
    for child in children:
        with suppress(subprocess.TimeoutExpired):
            child.wait(timeout=10)
            continue
        child.kill()
        child.wait()


def _last_line(folder: Path, number: int, code: int) -> str:
    """What a process said last; where it was ended from outside, how, with the end of what it wrote."""
    if (folder / str(number)).is_file():
        return (folder / str(number)).read_text(encoding="utf-8")
    log = folder / f"{number}.log"
    said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:] if log.is_file() else []
    how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    why = ["memory may not have sufficed."] if code == -signal.SIGKILL else []
    return "; ".join([f"unlearn: process {number} {how}", *said, *why])
