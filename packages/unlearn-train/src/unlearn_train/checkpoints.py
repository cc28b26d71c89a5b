"""Checkpoints of a training: written by the trainer, marked once they are whole, and gone on from after a kill.

A checkpoint is a folder with the trained weights (safetensors), the optimizer, the schedule, the random numbers and the
trainer's state, all as `transformers.Trainer` writes them, and a mark with the checksum of each file and what a method
carries from step to step. The mark comes last and appears at once: a checkpoint without one is not whole.
"""

import errno
import json
import logging
import os
import shutil
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.serialization import safe_globals
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import TrainerControl, TrainerState

from unlearn_train import launching, options
from unlearn_train.data import Row
from unlearn_train.encoding import Processor, tokenizer_of
from unlearn_train.extras import installed_version
from unlearn_train.keeping import model_digest
from unlearn_train.settings import TrainOptions
from unlearn_train.stages import VERSIONED

if TYPE_CHECKING:
    from unlearn_train.trainers import AnswerTrainer, UnlearnTrainer

ABOUT, MARK, WEIGHTS, MORE = "about.json", "whole.json", "trained.safetensors", "carried.safetensors"
KEPT = 2
"""checkpoints at a time: where the last one is not whole, there is the one before"""
DATA_ALONE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
"""torch's own switch, which no argument overrides"""
ROOM = 2**20
"""bytes; a disk with less is full"""

_LOG = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of one training in a folder.

    Args:
        folder: for them alone. Those of another training are removed, with a word.
        about: what the training depends on, by names that a message can use.
        quiet: do not say where the training goes on.
    """

    def __init__(self, folder: Path, about: Mapping[str, str], *, quiet: bool = False) -> None:
        self.folder, self.about, self.quiet = folder, dict(about), quiet

    def last(self) -> "Checkpoint | None":
        """Return the last checkpoint that is whole, the same in every process; those that are not are removed."""
        found = launching.agree(self._last() if launching.rank() == 0 else None)
        return None if found is None else Checkpoint(found)

    def _last(self) -> Path | None:
        self._begin()
        for path in sorted(self.folder.glob("checkpoint-*"), key=_step, reverse=True):
            fault = Checkpoint(path).fault
            if fault is None:
                if not self.quiet:
                    print(f"unlearn: going on from step {_step(path)}, as {path} has it", file=sys.stderr)
                return path
            _LOG.warning("%s is not whole (%s) and is passed over.", path, fault)
            shutil.rmtree(path)
        return None

    def _begin(self) -> None:
        """Have the folder hold nothing but this training's checkpoints."""
        try:
            known = json.loads((self.folder / ABOUT).read_text(encoding="utf-8"))
            differ = [name for name in {*known, *self.about} if known.get(name) != self.about.get(name)]
        except FileNotFoundError:
            differ = ["record"] if any(self.folder.glob("checkpoint-*")) else []
        except (ValueError, AttributeError, TypeError):
            differ = ["record"]
        if differ:
            _LOG.warning(
                "%s holds the checkpoints of another training, whose %s %s not the same; they are removed and this one "
                "begins anew.",
                self.folder,
                " and ".join(sorted(differ)),
                "is" if len(differ) == 1 else "are",
            )
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        _write(self.folder / ABOUT, self.about)


class Checkpoint:
    """One checkpoint, written by a `Trainer`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def carried(self) -> dict[str, Any]:
        """What the trainer had beside its weights and the optimizer."""
        found: dict[str, Any] = self._mark["carried"]
        return found

    @property
    def fault(self) -> str | None:
        """Why the checkpoint cannot be used; None where it can."""
        try:
            sums = self._mark["sums"]
            missing = sums.keys() - {str(path.relative_to(self.folder)) for path in _files(self.folder)}
            if missing:
                return f"{min(missing)} is missing"
            return next((f"{name} is corrupt" for name, want in sums.items() if _sum(self.folder / name) != want), None)
        except FileNotFoundError:
            return "it was cut off while it was written"
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            return f"{MARK} cannot be read: {error}"

    def mark(self, carried: Mapping[str, Any]) -> None:
        """Say that the checkpoint is whole."""
        sums = {str(path.relative_to(self.folder)): _sum(path) for path in _files(self.folder)}
        _write(self.folder / MARK, {"carried": carried, "sums": sums})

    @cached_property
    def _mark(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / MARK).read_text(encoding="utf-8"))
        return found


class MarkedCheckpoints(TrainerCallback):
    """Marks each checkpoint of a trainer once every process has written its part."""

    def __init__(self, trainer: "AnswerTrainer | UnlearnTrainer") -> None:
        self.trainer = trainer

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any) -> None:
        """Mark the checkpoint that was just written."""
        carried = self.trainer.carried()
        self.trainer.accelerator.wait_for_everyone()
        if state.is_world_process_zero:
            Checkpoint(Path(str(args.output_dir)) / f"checkpoint-{state.global_step}").mark(carried)


@contextmanager
def full_disk_named(folder: Path) -> Iterator[None]:
    """Have a disk that fills up while the context lasts reported as what it is; libraries call it many things.

    Raises:
        OSError: the disk is full.
    """
    try:
        yield
    except (RuntimeError, SafetensorError) as error:
        if shutil.disk_usage(folder).free > ROOM:
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error


@contextmanager
def data_alone(*known: Any) -> Iterator[None]:
    """Have torch unpickle data alone while the context lasts, whoever asks; by itself DeepSpeed lets a file run code.

    Args:
        *known: classes that may be made as well.
    """
    before = os.environ.get(DATA_ALONE)
    os.environ[DATA_ALONE] = "1"
    try:
        with safe_globals(list(known)):
            yield
    finally:
        if before is None:
            del os.environ[DATA_ALONE]
        else:
            os.environ[DATA_ALONE] = before


def deepspeed_classes() -> list[Any]:
    """Return the classes in DeepSpeed's checkpoints that are no plain data."""
    from deepspeed.runtime.fp16.loss_scaler import LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    return [LossScaler, ZeroStageEnum, fragment_address]


def save_checkpoint(trainer: Trainer, folder: Path, more: Mapping[str, Tensor]) -> None:
    """Write the weights that are trained, the buffers that are saved with a model, and `more`.

    Of what DeepSpeed trains there is but the folder: it writes the weights with its optimizer, afterwards. A trainer
    takes note of its best state where that has a folder already.
    """
    if not trainer.args.should_save:
        return
    folder.mkdir(parents=True, exist_ok=True)
    if trainer.is_deepspeed_enabled:
        return
    model: Any = trainer.model
    kept = model.state_dict().keys()
    tensors = {name: weight.detach() for name, weight in model.named_parameters() if weight.requires_grad}
    tensors |= {name: buffer.clone() for name, buffer in model.named_buffers() if name in kept}
    for name, written in {WEIGHTS: tensors, MORE: more}.items():
        save_file({key: tensor.contiguous() for key, tensor in written.items()}, folder / name)


def load_checkpoint(trainer: Trainer, folder: Path) -> dict[str, Tensor]:
    """Read the weights that `save_checkpoint` wrote into the model, and return what was written with them."""
    model: Any = trainer.model
    model.load_state_dict(load_file(folder / WEIGHTS), strict=False)
    # Not by its own `device`, which knows no cpu:0.
    return {name: value.to(trainer.args.device) for name, value in load_file(folder / MORE).items()}


def describe_training(
    model: PreTrainedModel,
    processor: Processor,
    chosen: TrainOptions,
    rows: Mapping[str, Iterable[Row]],
    method: object = None,
) -> dict[str, str]:
    """Return what a training's result depends on.

    Args:
        model: before it is trained, or an adapter is put on it.
        processor: of the model.
        chosen: the options.
        rows: by side.
        method: the loss, with all that goes with it.
    """
    return {
        **{f"`{name}`": json.dumps(value, sort_keys=True) for name, value in options.decisive(chosen).items()},
        "number of processes": str(launching.processes()),
        "method": _digest(repr(method)),
        "model": launching.agree(model_digest(model) if launching.rank() == 0 else ""),
        "processor": _processor_digest(processor),
        **{f"{side} rows": _rows_digest(side_rows) for side, side_rows in rows.items()},
        **{f"version of {name}": str(installed_version(name)) for name in VERSIONED},
    }


def _processor_digest(processor: Processor) -> str:
    tokenizer: Any = tokenizer_of(processor)
    images = getattr(processor, "image_processor", None)
    return _digest(
        [
            type(processor).__name__,
            str(processor.chat_template),
            tokenizer.get_vocab(),
            str(tokenizer.special_tokens_map),
            None if images is None else images.to_dict(),
        ]
    )


def _rows_digest(rows: Iterable[Row]) -> str:
    digest = blake2b()
    for row in rows:
        digest.update(json.dumps([row["id"], row["question"], row["answer"]]).encode())
        if row["image"] is not None:
            digest.update(f"{row['image'].mode} {row['image'].size}".encode() + row["image"].tobytes())
    return digest.hexdigest()


def _digest(what: Any) -> str:
    return blake2b(json.dumps(what, sort_keys=True, default=str).encode(), digest_size=16).hexdigest()


def _write(path: Path, what: Any) -> None:
    partial = path.with_name(f".{path.name}")
    partial.write_text(json.dumps(what, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.name not in (MARK, f".{MARK}")]


def _sum(path: Path) -> list[int]:
    """Size and checksum: made to find a file that was cut short or overwritten, not one that was forged."""
    check = size = 0
    with path.open("rb") as file:
        while piece := file.read(2**24):
            check, size = zlib.crc32(piece, check), size + len(piece)
    return [size, check]


def _step(path: Path) -> int:
    number = path.name.rpartition("-")[-1]
    return int(number) if number.isdigit() else -1
