"""What a method may look at and use before it changes a model, loss methods apart."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from torch import Tensor
from torch.nn import Module

from unlearn_core.batch import Batch
from unlearn_core.method import Method

Rows: TypeAlias = Callable[[int | None], Iterable[Batch]]
"""Gives all rows of a kind in batches of so many, or of as many as the trainer takes where it is `None`."""


class Exchange(NamedTuple):
    """A question and what is answered.

    Attributes:
        question: The user's turn.
        answer: The assistant's turn.
    """

    question: str
    answer: str


def _refuse(model: Module, method: Method) -> None:
    raise ValueError("this method needs `train`, which is missing: give a function that trains a model with a loss.")


@dataclass(frozen=True, kw_only=True, eq=False)
class Material:
    """What transforms, edits and guards are made from; each states in `needs` what it reads.

    Attributes:
        forget: The rows to forget, by modality: `text` or `image`. A modality without rows is left out.
        retain: Rows to keep, likewise.
        train: Trains a model in place with a loss method on these rows.
        exchanges: Questions and answers of the rows to keep (`retain`), and those of the rows to forget with refusals
            for answers (`refused`).
        frame: Token ids that begin and that end every prompt: what the chat template puts around a question.
    """

    forget: Mapping[str, Rows] = field(default_factory=dict)
    retain: Mapping[str, Rows] = field(default_factory=dict)
    train: Callable[[Module, Method], None] = _refuse
    exchanges: Mapping[str, Sequence[Exchange]] = field(default_factory=dict)
    frame: tuple[Sequence[int], Sequence[int]] = ((), ())


def every(rows: Mapping[str, Rows], size: int | None = None) -> Iterable[Batch]:
    """Returns the batches of all modalities, one after the other."""
    return (batch for given in rows.values() for batch in given(size))


def language_parameters(model: Module) -> frozenset[str]:
    """Returns the names of the parameters of a model's language part: its decoder and its output embeddings.

    In a language model these are all; in a vision-language model the rest sees: vision tower and projector.

    Example:
        >>> sorted(language_parameters(torch.nn.Linear(1, 1)))
        ['bias', 'weight']
    """
    if not callable(getattr(model, "get_decoder", None)):
        return frozenset(name for name, _ in model.named_parameters())
    parts = [model.get_decoder(), model.get_output_embeddings()]  # type: ignore[operator]
    inside: set[Tensor] = {parameter for part in parts if part is not None for parameter in part.parameters()}
    return frozenset(name for name, parameter in model.named_parameters() if parameter in inside)
