"""Gradient transforms inside of a trainer: they see the gradients of whole optimizer steps, not those of batches."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import Module
from unlearn_core import LossParts, Material, ModelForward, Transform
from unlearn_core.gradients import Gradients, Grads, split_gradients, weight_in, zeros
from unlearn_core.material import language_parameters
from unlearn_core.transform import transformed

from unlearn_train import launching
from unlearn_train.settings import TrainOptions

if TYPE_CHECKING:
    from unlearn_train.trainers import UnlearnTrainer


class TransformedSteps:
    """Takes the place of a trainer's backward: the batches of a step are kept until its last, then differentiated.

    Args:
        transforms: the first comes first after the loss.
        model: before the first step.
        material: what masks are made from.
        options: of the training.

    Raises:
        ValueError: a transform cannot be made for this model, or an option of the training would move frozen weights.
    """

    def __init__(
        self, transforms: Sequence[Transform], model: Module, material: Material, options: TrainOptions
    ) -> None:
        freezing = [transform for transform in transforms if transform.freezes]
        if freezing and options.weight_decay:
            raise ValueError(
                f"`weight_decay` is {options.weight_decay} and would move the weights that {freezing[0]} freezes; set "
                "it to 0."
            )
        parameters, language = trained(model), language_parameters(model)
        training = model.training
        model.train(False)
        forward = ModelForward(model)
        self.transforms = [(each, each.start(forward, parameters, language, material)) for each in transforms]
        for _, state in self.transforms:  # unlike GPUs would leave out unlike weights
            state.update({name: launching.share(value) for name, value in state.items()})
        model.train(training)
        self.needs_kept = any("kept" in transform.needs for transform in transforms)
        self.batches: list[Any] = []

    def kept(self) -> dict[str, Tensor]:
        """Return what the transforms carry from step to step, for a checkpoint."""
        return {
            f"{number}/{name}": value
            for number, (_, state) in enumerate(self.transforms)
            for name, value in state.items()
        }

    def restore(self, kept: Mapping[str, Tensor]) -> None:
        """Go on with what a checkpoint kept."""
        for place, value in kept.items():
            number, _, name = place.partition("/")
            self.transforms[int(number)][1][name] = value

    def training_step(self, trainer: "UnlearnTrainer", model: Module, inputs: Any, totals: Any) -> Tensor:
        """Keep one batch; after the last of the step, set the gradient of every weight.

        Returns:
            The loss of the whole step with its last batch, 0 before.

        Raises:
            ValueError: the weights or their gradients are spread over devices.
        """
        if trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled:
            raise ValueError("gradient transforms need whole gradients on every device; leave out DeepSpeed and FSDP.")
        self.batches.append(trainer._prepare_inputs(inputs))
        if not trainer.accelerator.sync_gradients:
            return torch.zeros((), device=trainer.args.device)
        model.train()
        step = _Step(trainer, trainer.accelerator.unwrap_model(model), self.batches, totals, self.needs_kept)
        for name, value in transformed(self.transforms, step, step.parameters).total().items():
            # As in a plain backward, what no row reaches, such as a vision tower without an image, has no gradient.
            step.parameters[name].grad = value if value.any() else None
        self.batches = []
        return step.loss


class _Step:
    """The gradients of one optimizer step, over all its batches and processes, whenever it is called."""

    def __init__(self, trainer: "UnlearnTrainer", model: Module, batches: list[Any], totals: Any, kept: bool) -> None:
        self.trainer, self.model, self.batches, self.totals, self.kept = trainer, model, batches, totals, kept
        self.parameters = trained(model)
        self.loss = torch.zeros((), device=trainer.args.device)
        self.is_first = True

    def __call__(self) -> Gradients:
        found = Gradients(*(zeros(self.parameters) for _ in Gradients._fields))
        for inputs in self.batches:
            with self.trainer.compute_loss_context_manager():
                parts = self.trainer.parts(self.model, inputs, self.totals)
            if self.is_first:
                self.trainer.note(parts)
                self.loss += parts.total.detach() * self.trainer.accelerator.num_processes
            has_retain = weight_in(parts.total, parts.retain) is not None
            forget, others = split_gradients(parts, self.parameters)
            for into, gradient in zip(found, (forget, others, self._kept(inputs, others, has_retain)), strict=True):
                for name, value in gradient.items():
                    into[name] += value
        self.is_first = False
        return Gradients(*(self._summed(gradient) for gradient in found))

    def _kept(self, inputs: Any, others: Grads, has_retain: bool) -> Grads:
        """The gradient of the retain term, or of what stands for it where a method has none or gives it no weight."""
        if has_retain or not self.kept:
            return others
        _, retain = self.trainer.batches(inputs, self.totals)
        with self.trainer.compute_loss_context_manager():
            loss = -ModelForward(self.model).token_logps(retain).mean() * retain.token_share
        return split_gradients(LossParts(loss, None, loss), self.parameters)[1]

    def _summed(self, gradient: Grads) -> Grads:
        """Over the processes, each of which has its share."""
        if self.trainer.accelerator.num_processes == 1:
            return gradient
        return {name: self.trainer.accelerator.reduce(value, "sum") for name, value in gradient.items()}


def trained(model: Module) -> dict[str, Tensor]:
    """Return the weights that are trained, by name."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
