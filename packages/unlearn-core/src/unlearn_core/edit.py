"""What a weight edit is: a change of a model's weights that no loss is minimized for."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch.nn import Module

from unlearn_core.material import Material


class Edit(ABC):
    """A weight edit; its subclasses are frozen dataclasses, whose fields are its options.

    Attributes:
        paper: Where the method was published.
        summary: What it does, in a line.
        needs: What of `Material` must be supplied: `forget`, `retain`, `train`.
    """

    kind: ClassVar[str] = "edit"
    paper: ClassVar[str]
    summary: ClassVar[str]
    needs: ClassVar[frozenset[str]]

    @abstractmethod
    def apply(self, model: Module, material: Material) -> None:
        """Edits the weights of `model`, in place.

        Args:
            model: A language or vision-language model.
            material: What the edit is made from.

        Raises:
            ValueError: If the model does not have what is to be edited, or a new weight is not finite.
        """
