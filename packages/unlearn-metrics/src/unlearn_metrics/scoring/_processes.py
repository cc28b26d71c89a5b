"""Several processes that measure one model, each its share of the rows."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """This process among those that work together."""

    rank: int = 0
    count: int = 1

    def share(self, work: Sequence[T]) -> Sequence[T]:
        """Return what this process does of `work`; neighbors, which are alike, go to different processes."""
        return work[self.rank :: self.count]

    def wait(self) -> None:
        """Wait for the others."""
        if self.count > 1:
            _state().wait_for_everyone()

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes, in their order."""
        if self.count == 1:
            return [value]
        from accelerate.utils import gather_object

        _state()
        gathered: list[T] = gather_object([value])
        return gathered


def launched() -> Processes:
    """Return this process among those that `accelerate launch` or `torchrun` started; the only one where neither did.

    Raises:
        ImportError: If there are several and accelerate is not installed.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes()
    state = _state()
    return Processes(state.process_index, state.num_processes)


def local_device() -> str:
    """Return the device that is this process's own: its GPU, or else the CPU."""
    import torch

    return f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"


def _state() -> Any:
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available())
