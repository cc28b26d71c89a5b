"""How much a model reads at once: a budget of tokens that finds its own size, and work that is split to fit memory."""

import gc
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, Self, TypeVar

import torch

# Where larger batches cease to be faster: on a CPU, the caches are full; on a GPU, the multipliers are. Of the room for
# answers that are still to be generated, a part is never used.
START, START_GENERATING, LARGEST = 2**12, 2**13, 2**17
# What a GPU may be filled to: batches of one size do not all take the same.
_FILLED = 0.7


class Splittable(Protocol):
    """Work on some rows of a model's input, of which a half can be done without the other."""

    def tokens(self) -> int:
        """Return how many tokens the model reads, padding included."""

    def halves(self) -> tuple[Self, Self] | None:
        """Return two parts, or None where there is nothing left to split."""

    def row(self) -> str:
        """Return the id of the first row."""


Work = TypeVar("Work", bound=Splittable)
Result = TypeVar("Result")


class TokenBudget:
    """How many tokens a batch may hold.

    Args:
        tokens: The size to keep to; None finds it: it suits a CPU, and grows on a GPU by what the batches so far have
            taken.
        device: Where the model is.
        start: The size to begin with where it is to be found.

    Raises:
        ValueError: If `tokens` is not positive.
    """

    def __init__(self, tokens: int | None, device: torch.device, start: int = START) -> None:
        if tokens is not None and tokens < 1:
            raise ValueError(f"`token_budget` must be positive, got {tokens}.")
        self.tokens = start if tokens is None else tokens
        self._grows = tokens is None and device.type == "cuda"
        self._device = device

    def fitted(self, tokens: int) -> None:
        """Take note that a batch of that size fitted, and grow if much was left."""
        if not self._grows:
            return
        free, _ = torch.cuda.mem_get_info(self._device)
        reserved, allocated = torch.cuda.memory_reserved(self._device), torch.cuda.memory_allocated(self._device)
        taken = torch.cuda.max_memory_allocated(self._device) - allocated
        self.grow(tokens, taken, free + reserved - allocated)

    def grow(self, tokens: int, taken: int, available: int) -> None:
        """Grow to what is `available`, where `tokens` have `taken` so many bytes; at most twofold at a time."""
        fitting = int(_FILLED * available * tokens / max(taken, 1))
        self.tokens = max(self.tokens, min(fitting, 2 * self.tokens, LARGEST))

    def halve(self, tokens: int) -> None:
        """Take note that a batch of that size did not fit: from here on they are half as large, and stay so."""
        self.tokens, self._grows = max(1, min(self.tokens, tokens) // 2), False


def within_memory(work: Callable[[Work], Result], batch: Work, budget: TokenBudget) -> Iterator[tuple[Work, Result]]:
    """Do `work` on `batch`, split in halves as often as memory asks for; yields each part that is done.

    Raises:
        torch.OutOfMemoryError: If memory does not suffice for a part that cannot be split; the message names its row.
    """
    try:
        result = work(batch)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    else:
        budget.fitted(batch.tokens())
        yield batch, result
        return
    # Outside of the handler, which would keep the failed pass's tensors alive.
    _release()
    budget.halve(batch.tokens())
    halves = batch.halves()
    if halves is None:
        raise torch.OutOfMemoryError(
            f"row {batch.row()}: memory does not suffice for its {batch.tokens():,} tokens by themselves. "
            "Use a larger device or a smaller dtype, or leave the row out; rows done before it are kept."
        )
    for half in halves:
        yield from within_memory(work, half, budget)


def keep_freed_memory(device: torch.device) -> None:
    """Let a CPU's batches use the memory of those before them, without asking the kernel for it again.

    glibc returns what is freed until it has seen blocks of such a size come and go, of up to 32 MiB; every page of it
    is cleared when it is needed again, which takes up to a tenth of the time. So it is shown one. Elsewhere this does
    nothing.
    """
    if device.type == "cpu":
        torch.empty(2**24, dtype=torch.uint8)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a GPU or on the CPU, whose errors have no type of their own."""
    said = str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and ("not enough memory" in said or "can't allocate memory" in said)
    )


def peak_memory() -> dict[str, int]:
    """Peak bytes: of the process so far, and of the accelerator since `reset_peak_memory`."""
    peak = {"process": _peak_of_process()}
    return peak | ({"cuda": torch.cuda.max_memory_allocated()} if torch.cuda.is_available() else {})


def _peak_of_process() -> int:
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8", errors="replace").splitlines() if status.exists() else []
    # What `ru_maxrss` tells includes, on Linux, what the process held that started this one.
    for line in lines:
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    # Linux counts in KiB, macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def reset_peak_memory() -> None:
    """Begin to watch the accelerator's peak anew."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def _release() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
