"""What a model says of rows, computed once and kept: in memory, or in files that know what they are of."""

import json
import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from hashlib import blake2b
from itertools import accumulate, chain
from pathlib import Path
from typing import NamedTuple

import torch
import torch.distributed as dist
from accelerate.utils import convert_outputs_to_fp32
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel
from unlearn_core import Batch, ModelForward

from unlearn_train import launching
from unlearn_train.answers import answers_alone
from unlearn_train.collation import Collator, EncodedRows
from unlearn_train.encoding import IGNORED, Encoded

FORMAT = "2"
"""of the files: those of another are made anew"""

Say = Callable[[ModelForward, Batch], Tensor]
"""says something of every answer token of a batch, row after row: [answer tokens, ...]"""

_LOG = logging.getLogger(__name__)


class KeptRows:
    """What a model said of some rows.

    Args:
        values: of every answer token, row after row: [answer tokens, ...].
        places: of each row in `values`.
    """

    def __init__(self, values: Tensor, places: Mapping[int, slice]) -> None:
        self.values, self.places = values, places

    def __getitem__(self, row: int) -> Tensor:
        return self.values[self.places[row]]


class _Chosen(NamedTuple):
    row: int
    length: int
    answers: int
    digest: str


class Keeper:
    """Computes what a model says of rows, or reads it where that was written before.

    A file is found again by a digest of the model's weights and configuration, and of the rows as the model reads them:
    after template, truncation and image processing. Several processes share the work.

    Args:
        model: must not change while this is used.
        collate: makes batches of rows.
        batch_size: rows at a time.
        folder: where to write; None: nowhere.
        precision: see `resting`.
        digest: of `model_digest`, where it is known, the same on all processes.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        collate: Collator,
        *,
        batch_size: int,
        folder: Path | None = None,
        precision: str = "fp32",
        digest: str | None = None,
    ) -> None:
        self.model, self.collate, self.batch_size, self.folder = model, collate, batch_size, folder
        self.precision = precision
        if digest is not None:
            self._model_digest = digest

    def keep(self, rows: EncodedRows, chosen: Collection[int], name: str, say: Say) -> KeptRows:
        """Return what `say` says of the chosen rows; rows of like length are run together.

        Args:
            rows: of which some are chosen.
            chosen: their numbers.
            name: of what is said, for the file; it means the same whenever it is used.
            say: see `Say`.

        Raises:
            ValueError: no row is chosen, or one cannot be encoded.
        """
        if not chosen:
            raise ValueError("there are no rows to compute a reference of; give at least one.")
        found = sorted((self._met(n, rows[n]) for n in sorted(chosen)), key=lambda each: each.length)
        ends = list(accumulate((each.answers for each in found), initial=0))
        path, key = self._place(found, name)
        places = {each.row: slice(*ends[n : n + 2]) for n, each in enumerate(found)}
        values = _read(path, key, ends[-1])
        if _agreed(values is not None) and values is not None:
            return KeptRows(values, places)
        values = self._compute(rows, found, ends, say)
        _write(path, key, values)
        # read again, the file is mapped: it takes no main memory, and processes have it in common
        written = _read(path, key, ends[-1])
        return KeptRows(values if written is None else written, places)

    def _compute(self, rows: EncodedRows, found: Sequence[_Chosen], ends: Sequence[int], say: Say) -> Tensor:
        """This process runs some of the batches; the others say the rest."""
        rank, ranks = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        starts = range(0, len(found), self.batch_size)
        rounds = -(-len(starts) // ranks)
        values: Tensor | None = None
        with resting(self.model, self.precision):
            forward = ModelForward(self.model)
            # Where processes have but shares of the weights, they must all run as often.
            for number in range(rank, rounds * ranks, ranks):
                start = starts[number] if number < len(starts) else 0
                end = min(start + self.batch_size, len(found))
                batch = self.batch([rows[each.row] for each in found[start:end]])
                said = say(forward, batch).cpu()
                values = said.new_zeros(ends[-1], *said.shape[1:]) if values is None else values
                if number < len(starts):
                    values[ends[start] : ends[end]] = said
        assert values is not None  # there is a batch: `starts` is not empty
        return _greatest(values)

    def batch(self, rows: Sequence[Encoded]) -> Batch:
        """Return rows as one batch on the model's device."""
        return answers_alone({name: value.to(self.model.device) for name, value in self.collate(rows).items()})

    def _met(self, number: int, row: Encoded) -> _Chosen:
        digest = "" if self.folder is None else _row_digest(row)
        return _Chosen(number, len(row.input_ids), int((row.labels[1:] != IGNORED).sum()), digest)

    def _place(self, found: Sequence[_Chosen], name: str) -> tuple[Path | None, str]:
        """The file, and the digest of all that its contents depend on."""
        if self.folder is None:
            return None, ""
        what = [FORMAT, name, self.precision, self._model_digest, [each.digest for each in found]]
        key = blake2b(json.dumps(what).encode(), digest_size=16).hexdigest()
        return self.folder / f"{name}-{key[:16]}.safetensors", key

    @cached_property
    def _model_digest(self) -> str:
        return launching.agree(model_digest(self.model) if launching.rank() == 0 else "")


def model_digest(model: PreTrainedModel) -> str:
    """Return a digest of a model's weights and configuration, wherever it is saved."""
    config = {**model.config.to_dict(), "_name_or_path": None, "transformers_version": None}
    named = sorted(chain(model.named_parameters(), model.named_buffers()))
    digest = blake2b(json.dumps([type(model).__name__, config], sort_keys=True, default=str).encode())
    for name, tensor in named:
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


@contextmanager
def resting(model: PreTrainedModel, precision: str = "fp32") -> Iterator[None]:
    """Have the model neither drop anything out nor keep anything for a gradient, while the context lasts.

    Args:
        model: be it trained at the time or not.
        precision: of a training, which the model computes in: `fp32`, or `bf16` by autocast, as a trainer has it.
    """
    training, own = model.training, vars(model).get("forward")
    model.train(False)
    if precision == "bf16":
        cast = torch.autocast(model.device.type, torch.bfloat16)(model.forward)
        model.forward = convert_outputs_to_fp32(cast)
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)
        if own is not None:
            model.forward = own
        else:
            vars(model).pop("forward", None)


def _read(path: Path | None, key: str, entries: int) -> Tensor | None:
    """What a file holds, read as it is used; None, with a word about it, where it is not what it must be."""
    if path is None or not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            record = file.metadata() or {}
            values: Tensor = file.get_tensor("values")
    except (OSError, SafetensorError) as error:
        _LOG.warning("%s cannot be read (%s); the reference is computed anew.", path, error)
        return None
    if record.get("key") != key:
        _LOG.warning("%s is of another model or of other rows; the reference is computed anew.", path)
    elif len(values) != entries or record.get("digest") != blake2b(_bytes(values)).hexdigest():
        _LOG.warning("%s is corrupt; the reference is computed anew.", path)
    else:
        return values
    return None


def _write(path: Path | None, key: str, values: Tensor) -> None:
    """Beside its place, then renamed, by the first process; the others wait."""
    if path is not None and (not dist.is_initialized() or dist.get_rank() == 0):
        _save(path, key, values)
    if path is not None and dist.is_initialized():
        dist.barrier()


def _save(path: Path, key: str, values: Tensor) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    record = {"key": key, "digest": blake2b(_bytes(values)).hexdigest()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"values": values}, partial, metadata=record)
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        _LOG.warning("%s cannot be written (%s); a run that is resumed computes the reference anew.", path, error)


def _row_digest(row: Encoded) -> str:
    digest = blake2b(digest_size=16)
    parts = {"input_ids": row.input_ids, "labels": row.labels, **row.sequence_inputs, **row.image_inputs}
    for name, tensor in sorted(parts.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data


def _agreed(found: bool) -> bool:
    """Whether every process found what it looked for: one that did not needs the others to compute it."""
    if not dist.is_initialized():
        return found
    return not _greatest(torch.tensor([not found]))


def _greatest(values: Tensor) -> Tensor:
    """The greatest of every byte over the processes: what the one says that has more than zeros there."""
    if dist.is_initialized() and dist.get_world_size() > 1:
        group = dist.new_group(backend="gloo")
        dist.all_reduce(values.view(torch.uint8), dist.ReduceOp.MAX, group=group)
        dist.destroy_process_group(group)
    return values
