"""How several processes share a training, so that their number changes no result.

A batch is the same rows whatever the number of processes; each takes its part of them. A loss is a share of the whole
step's, so the parts add up, whoever computes them.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import TrainerControl, TrainerState

from unlearn_train import launching
from unlearn_train.collation import EncodedRows
from unlearn_train.pairs import Pairs

IDLE = "idle"
"""marks a batch that is computed and counts for nothing: others had rows left in the last batch of an epoch"""

UNCOUNTED = 10**30
"""tokens or rows of which such a batch's are a share that vanishes"""


def rows_each(batch_size: int, rows: int) -> int:
    """Return how many of a batch's rows each process takes.

    Args:
        batch_size: rows of a batch, over all processes.
        rows: that there are.

    Raises:
        ValueError: the processes cannot share a batch alike, or are more than the rows.
    """
    count = launching.processes()
    if rows < count:
        raise ValueError(f"{count} processes cannot share {rows} rows; start at most {rows}.")
    if batch_size % count:
        down, up = batch_size // count * count, -(-batch_size // count) * count
        raise ValueError(
            f"`batch_size` is that of all {count} processes together and must be a multiple of {count}, got "
            f"{batch_size}; set it to {' or '.join(str(size) for size in (down, up) if size)}."
        )
    return batch_size // count


def share_batches(
    rows: Dataset[Any], order: Sampler[int], batch_size: int, collate: Callable[..., Any]
) -> DataLoader[Any]:
    """Return this process's part of every batch.

    Args:
        rows: of all processes.
        order: of the rows, the same on all processes.
        batch_size: rows of a batch, over all processes.
        collate: makes a batch of some rows.
    """
    mine = _Mine(rows, launching.rank(), launching.processes(), collate)
    return DataLoader(mine, batch_sampler=_Batches(order, batch_size), collate_fn=_only)


class _Batches(Sampler[list[int]]):
    """Batches of rows in a given order."""

    def __init__(self, order: Sampler[int], batch_size: int) -> None:
        self.order, self.batch_size = order, batch_size

    @property
    def batch_sampler(self) -> "_Batches":
        """Where a trainer looks for what to tell the epoch."""
        return self

    def set_epoch(self, epoch: int) -> None:
        if hasattr(self.order, "set_epoch"):
            self.order.set_epoch(epoch)

    def __len__(self) -> int:
        return -(-len(self.order) // self.batch_size)  # type: ignore[arg-type]  # all of ours have a length

    def __iter__(self) -> Iterator[list[int]]:
        order = list(self.order)
        return iter([order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)])


class _Mine(Dataset[Any]):
    """The collated part of a batch that one of several processes takes."""

    def __init__(self, rows: Dataset[Any], rank: int, count: int, collate: Callable[..., Any]) -> None:
        self.rows, self.rank, self.count, self.collate = rows, rank, count, collate

    def __len__(self) -> int:
        return len(self.rows)  # type: ignore[arg-type]  # all of ours have a length

    def __getitems__(self, indices: list[int]) -> list[dict[str, Any]]:
        """A loader asks for all rows of a batch at once; every count-th is a part with rows as long as the others'."""
        mine = indices[self.rank :: self.count]
        batch = self.collate([self.rows[index] for index in mine or indices[:1]])
        return [batch if mine else {**batch, IDLE: True}]


def _only(batches: list[dict[str, Any]]) -> dict[str, Any]:
    return batches[0]


class EveryWeightMoves(TrainerCallback):
    """Has AdamW treat weights that no row of a step reaches, such as a vision tower without an image, as any others.

    Several processes share one flat gradient, which is 0 there: such weights move by momentum and decay, and their
    steps are counted from the first. So it must be in one process too. Yet what is never reached needs no memory.
    """

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any
    ) -> None:
        """Give them a gradient of 0, and when they are first reached, the steps that they would have had by now."""
        optimizer = parts["optimizer"]
        for group in optimizer.param_groups:
            for weight in group["params"]:
                if weight.grad is None and (weight in optimizer.state or group["weight_decay"]):
                    weight.grad = torch.zeros_like(weight)
                elif weight.grad is not None and weight not in optimizer.state:
                    optimizer.state[weight] = {
                        "step": torch.tensor(float(state.global_step), device=weight.device),
                        "exp_avg": torch.zeros_like(weight),
                        "exp_avg_sq": torch.zeros_like(weight),
                    }


def averaged(trainer: Trainer, model: Module, loss: Tensor) -> Tensor:
    """Return a loss whose gradients, averaged over the processes, are those of the sum of all processes' shares.

    Args:
        trainer: whose processes average.
        model: as the trainer runs it.
        loss: this process's share of a step's.
    """
    whole: Tensor = loss * trainer.accelerator.num_processes
    return whole + _zero(model) if isinstance(model, DistributedDataParallel) else whole


def _zero(model: Module) -> Tensor:
    """A 0 that depends on every weight, so that gradients of all of them are averaged, whatever a batch reaches.

    `DistributedDataParallel` waits for the gradient of every weight, and cannot find out by itself which will have none
    where a model is run several times before its gradients are computed.
    """
    sums = [weight.float().sum() for weight in model.parameters() if weight.requires_grad]
    return 0.0 * torch.stack(sums).sum()


@contextmanager
def sharing(trainer: Trainer) -> Iterator[None]:
    """Have all processes use the same weights in the same order while the context lasts, where that matters."""
    with warnings.catch_warnings():
        # accelerate hands an option to `DistributedDataParallel` that has a new name by now.
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        with _always_seeing(trainer):
            yield


@contextmanager
def _always_seeing(trainer: Trainer) -> Iterator[None]:
    must = trainer.is_deepspeed_enabled and hasattr(trainer.model, "get_image_features")
    image = _first_image(trainer.train_dataset) if must else None  # type: ignore[arg-type]
    if image is None:
        yield
        return
    seeing = _AlwaysSeeing(trainer.model, image)  # type: ignore[arg-type]  # a Trainer's may be anything
    try:
        yield
    finally:
        seeing.remove()


def _first_image(rows: EncodedRows | Pairs) -> Mapping[str, Tensor] | None:
    """What the vision tower takes of the first row with an image; None where no row has one."""
    sides = [rows.forget, rows.retain, *rows.others.values()] if isinstance(rows, Pairs) else [rows]
    for side in sides:
        for index, row in enumerate(side.rows):
            if row["image"] is not None:
                return side[index].image_inputs
    return None


class _AlwaysSeeing:
    """Has a model run its vision tower whether or not a batch has an image.

    ZeRO gathers and reduces weights in the order in which they are used, so all processes must use the same; and its
    third stage takes the last step's gradient of a weight that none has used. So where there is no image, the tower is
    run on any, between embedding and decoder as it is else, and 0 times the result is added.

    Args:
        model: of images and language.
        image: what its vision tower takes of some image.
    """

    def __init__(self, model: PreTrainedModel, image: Mapping[str, Tensor]) -> None:
        self.model, self.image = model, image
        self.is_blind = False
        with torch.no_grad():
            self._features()  # what the tower installs when it first runs must come before DeepSpeed's, or nowhere
        find: Any = model.get_decoder
        decoder = find()
        self.hooks = [
            model.register_forward_pre_hook(self._ask, with_kwargs=True),
            decoder.register_forward_pre_hook(self._look, with_kwargs=True),
        ]

    def remove(self) -> None:
        """Take the hooks off."""
        for hook in self.hooks:
            hook.remove()

    def _ask(self, module: Module, args: Any, inputs: Mapping[str, Any]) -> None:
        self.is_blind = not any(name in inputs for name in self.image)

    def _look(self, module: Module, args: Any, inputs: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
        if not self.is_blind:
            return None
        embeds = inputs["inputs_embeds"]
        nothing = 0.0 * torch.stack([each.sum() for each in self._features()]).sum()
        return args, {**inputs, "inputs_embeds": embeds + nothing.to(embeds.dtype)}

    def _features(self) -> Sequence[Tensor]:
        seen: Any = self.model.get_image_features(  # type: ignore[operator]  # a module's attribute may be anything
            **{name: self._placed(value) for name, value in self.image.items()}
        )
        # The second is what Qwen3-VL and others add in the decoder's first layers.
        named = [getattr(seen, name, None) for name in ("pooler_output", "deepstack_features")]
        found = [part for part in named if part is not None] or [seen]
        return [each for part in found for each in (part if isinstance(part, list | tuple) else [part])]

    def _placed(self, value: Tensor) -> Tensor:
        return value.to(self.model.device, self.model.dtype if value.is_floating_point() else value.dtype)


def summed(terms: Mapping[str, float], trainer: Trainer) -> dict[str, float]:
    """Return the sums of the terms of all processes; every process must ask, for terms of the same names."""
    if trainer.accelerator.num_processes == 1 or not terms:
        return dict(terms)
    values = torch.tensor(list(terms.values()), device=trainer.args.device)
    return dict(zip(terms, trainer.accelerator.reduce(values, "sum").tolist(), strict=True))
