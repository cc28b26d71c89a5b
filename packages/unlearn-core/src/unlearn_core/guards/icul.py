"""In-context unlearning."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch.nn import Module

from unlearn_core import _checks
from unlearn_core.guard import Guard, Kept
from unlearn_core.material import Exchange, Material


@dataclass(frozen=True, kw_only=True)
class ICUL(Guard):
    """In-context unlearning.

    Every question is asked after some examples: questions to forget, answered with refusals (the flipped labels of the
    paper), then questions to keep, answered rightly. It pushes the model to refuse alike, and to answer the rest.

    Attributes:
        forget: Number of examples that refuse. Default 3; the paper shows those that are to be forgotten.
        retain: Number of examples that answer. Default 3; the paper takes 2 to 6.
    """

    paper: ClassVar[str] = "Pawelczyk et al. 2023, https://arxiv.org/abs/2310.07579"
    summary: ClassVar[str] = "Puts refused questions to forget, and answered ones to keep, before every question."
    needs: ClassVar[frozenset[str]] = frozenset({"exchanges"})

    forget: int = 3
    retain: int = 3

    def __post_init__(self) -> None:
        _checks.whole("forget", self.forget, least=1)
        _checks.whole("retain", self.retain, least=0)

    def make(self, model: Module, material: Material) -> Kept:
        """Chooses the examples, evenly over the rows given."""
        refused, answered = (material.exchanges.get(side, ()) for side in ("refused", "retain"))
        for name, wanted, given in (("forget", self.forget, refused), ("retain", self.retain, answered)):
            if len(given) < wanted:
                raise ValueError(f"`{name}` asks for {wanted} examples, there are {len(given)} rows: lower it.")
        return Kept(turns=(*_spread(refused, self.forget), *_spread(answered, self.retain)))


def _spread(given: Sequence[Exchange], count: int) -> list[Exchange]:
    return [given[n * len(given) // count] for n in range(count)]
