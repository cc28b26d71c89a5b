"""What a pass has read of some answers, and the numbers that come of it."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from unlearn_metrics.scoring._requests import Answer
from unlearn_metrics.scoring._statistics import TokenScores, token_statistics


class Read(NamedTuple):
    """Answers that the model has read."""

    answers: list[Answer]
    states: Tensor
    """[predicted, width], hidden states or logits"""
    predicted: list[int]
    """tokens of the answers, each once for all that share it"""
    numbers: Sequence[int]
    """for all tokens of all answers, which of `predicted` they are"""
    outputs: Any
    """all that the model returned"""

    @classmethod
    def unpadded(cls, answers: list[Answer], states: Tensor, outputs: Any) -> Self:
        """From states [answers, longest, width], of which an answer has as many as tokens."""
        lengths = torch.tensor([len(answer.ids) for answer in answers])
        real = torch.arange(states.shape[1]) < lengths[:, None]
        predicted = [token for answer in answers for token in answer.ids]
        return cls(answers, states[real.to(states.device)], predicted, range(len(predicted)), outputs)

    def scores(self, head: Callable[[Tensor], Tensor], vocabulary: int) -> dict[int, TokenScores]:
        """Return the numbers of each answer's tokens by the answer's own number.

        Args:
            head: From some states to logits, see `token_statistics`.
            vocabulary: How wide they are; 0 if as wide as the states.

        Raises:
            ValueError: If a log-probability is NaN or infinite.
        """
        targets = torch.tensor(self.predicted, device=self.states.device)
        columns = token_statistics(self.states, targets, head, vocabulary)
        which, lengths = torch.tensor(self.numbers), [len(answer.ids) for answer in self.answers]
        split = [torch.split(column.cpu()[which], lengths) for column in (targets.int(), *columns)]
        if not all(column.isfinite().all() for column in columns):
            rows = zip(self.answers, *split, strict=True)
            odd = next(answer for answer, *row in rows if not all(column.isfinite().all() for column in row))
            raise ValueError(
                f"the model gives a log-probability that is NaN or infinite, in row {odd.row} "
                f"(prompt {odd.prompt.text!r}). Look at its weights, or load it in float32."
            )
        rows = zip(*split, strict=True)
        return {
            answer.number: TokenScores(*(tensor.numpy() for tensor in row))
            for answer, row in zip(self.answers, rows, strict=True)
        }
