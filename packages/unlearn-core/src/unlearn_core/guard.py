"""What a guard is: something around a model that changes what it says, and none of its weights."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor
from torch.nn import Module

from unlearn_core.material import Exchange, Material


@dataclass(frozen=True, kw_only=True, eq=False)
class Kept:
    """What a guard keeps beside the model, and is made from again when the model is loaded.

    Attributes:
        tensors: By name.
        turns: Exchanges that precede every question.
        assistant: A second model.
    """

    tensors: Mapping[str, Tensor] = field(default_factory=dict)
    turns: Sequence[Exchange] = ()
    assistant: Module | None = None


class Guard(ABC):
    """A guard; its subclasses are frozen dataclasses, whose fields are its options.

    Attributes:
        paper: Where the method was published.
        summary: What it does, in a line.
        needs: What of `Material` must be supplied: `forget`, `retain`, `train`, `exchanges`, `frame`.
    """

    kind: ClassVar[str] = "guard"
    paper: ClassVar[str]
    summary: ClassVar[str]
    needs: ClassVar[frozenset[str]]

    @abstractmethod
    def make(self, model: Module, material: Material) -> Kept:
        """Returns what the guard keeps; the model stays as it is.

        Args:
            model: A language or vision-language model.
            material: What the guard is made from.

        Raises:
            ValueError: If what it needs is not there, or does not fit the model.
        """

    def attach(self, model: Module, kept: Kept) -> None:  # noqa: B027  # a guard that is turns alone has none
        """Puts the guard around `model`: from now on its forward, and so `generate`, answers with the guard.

        Turns are no part of this: they are rendered with every question, by the chat template.

        Args:
            model: The model that the guard was made for, or one with the same weights.
            kept: What `make` returned.
        """
