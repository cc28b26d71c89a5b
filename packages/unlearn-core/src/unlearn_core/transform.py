"""What a gradient transform is: something that any loss's gradients go through on their way to the optimizer."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import ClassVar, TypeAlias

from torch import Tensor

from unlearn_core.forward import Forward
from unlearn_core.gradients import Gradients
from unlearn_core.material import Material

Step: TypeAlias = Callable[[], Gradients]
"""Computes the gradients of one optimizer step with the weights as they are."""


class Transform(ABC):
    """A gradient transform; its subclasses are frozen dataclasses, whose fields are its options.

    Attributes:
        paper: Where the method was published.
        summary: What it does, in a line.
        needs: What the trainer must supply: rows of `Material` at the start (`forget`, `retain`), or the gradient of
            what is kept at every step (`kept`).
        freezes: Whether some weights must not change at all, so that nothing but gradients may move them.
    """

    kind: ClassVar[str] = "transform"
    paper: ClassVar[str]
    summary: ClassVar[str]
    needs: ClassVar[frozenset[str]]
    freezes: ClassVar[bool] = False

    def start(
        self, forward: Forward, parameters: Mapping[str, Tensor], language: frozenset[str], material: Material
    ) -> dict[str, Tensor]:
        """Returns what the transform keeps from step to step, made from the model as it is before the first.

        Args:
            forward: Runs the model.
            parameters: The weights that are trained, by name.
            language: Names of those of the language part; see `language_parameters`.
            material: Rows to look at.
        """
        return {}

    @abstractmethod
    def gradients(self, step: Step, parameters: Mapping[str, Tensor], state: dict[str, Tensor]) -> Gradients:
        """Returns the transformed gradients of one step.

        Args:
            step: Computes the gradients that come in; may be called again after the weights were changed.
            parameters: The weights that are trained; they must be afterwards what they were.
            state: What `start` returned; entries may be replaced.
        """


def transformed(
    transforms: Iterable[tuple[Transform, dict[str, Tensor]]], step: Step, parameters: Mapping[str, Tensor]
) -> Gradients:
    """Returns the gradients of a step after all `transforms`; the first comes first after the loss.

    Args:
        transforms: Each with its state.
        step: Computes the loss's own gradients.
        parameters: The weights that are trained.
    """
    for transform, state in transforms:
        step = partial(transform.gradients, step, parameters, state)
    return step()
