"""What a loss method is, what it may ask for and what it gives back."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Literal, NamedTuple, TypeAlias

from jaxtyping import Float
from torch import Tensor

from unlearn_core.batch import Batch
from unlearn_core.forward import Forward

Need: TypeAlias = Literal[
    "forget", "retain", "idk", "alternate", "random", "shuffled", "ref_logps", "ref_logits", "ref_hidden"
]
"""What a trainer may have to supply.

| need | meaning |
|---|---|
| `forget`, `retain` | that batch; where it is absent from `needs`, `None` may be passed |
| `idk` | `forget.idk`, the forget questions with refusals for answers |
| `alternate` | `forget.alternate`, the forget questions with other plausible answers |
| `random` | `forget.random`, the forget questions with answers of random rows to keep |
| `shuffled` | `forget.shuffled`, the forget questions with answers of other rows to forget |
| `ref_logps` | `ref_logps` of the forget batch, and of those of the four above that are needed |
| `ref_logits` | `ref_logits` of every batch; only those that the method calls are computed |
| `ref_hidden` | `ref_hidden` of every batch, likewise |
"""


class Asked(NamedTuple):
    """Something that a loss asks the reference model.

    Attributes:
        batch: About which batch: `forget`, `retain`, or another of those in `Need`.
        layer: Which layer's output, counted as in `Forward.hidden`; `None` for the logits.
    """

    batch: str
    layer: int | None = None


class LossParts(NamedTuple):
    """A loss and its terms.

    Attributes:
        total: What to minimize: the weighted sum of the terms.
        forget: The forget term before weighting, its gradient attached; `None` where the method has none.
        retain: The retain term, likewise.
    """

    total: Float[Tensor, ""]
    forget: Float[Tensor, ""] | None
    retain: Float[Tensor, ""] | None


class Method(ABC):
    """A loss method of unlearning; its subclasses are frozen dataclasses, whose fields are its options.

    Attributes:
        paper: Where the method was published.
        summary: What it does, in a line.
        needs: What the trainer may have to supply, whatever the options; see `asks`.
        together: Batches that every step runs once each, and all alike: their logits, or one layer's output. A trainer
            may run them in one forward pass. Empty by default: each by itself.
    """

    kind: ClassVar[str] = "loss"
    paper: ClassVar[str]
    summary: ClassVar[str]
    needs: ClassVar[frozenset[Need]]
    together: ClassVar[tuple[Need, ...]] = ()

    @abstractmethod
    def loss(self, forward: Forward, forget: Batch | None, retain: Batch | None) -> LossParts:
        """Returns the loss of one step.

        Args:
            forward: Runs the model that is trained; called once or more for each batch that the method reads.
            forget: Rows to forget.
            retain: Rows to keep.

        Raises:
            ValueError: If something that the method `needs` was not supplied, or does not fit.
        """

    def asks(self) -> frozenset[Need]:
        """Returns what the trainer must supply for these options: all that `needs` names, unless a method says less."""
        return self.needs

    def references(self) -> frozenset[Asked]:
        """Returns all that `loss` asks `ref_logits` and `ref_hidden`, at any step.

        A trainer that knows it computes it once, before the first step, and keeps no second model. A method need not
        say: by default it returns nothing, and a trainer must be ready for anything that `asks` names.
        """
        return frozenset()

    def start(self) -> dict[str, float]:
        """Returns the `state` of the first step's batches: numbers that the method carries from step to step."""
        return {}

    def advance(self, state: Mapping[str, float], terms: Mapping[str, float]) -> dict[str, float]:
        """Returns the `state` of the next step.

        Args:
            state: That of this step.
            terms: The forget and the retain term of the whole step, summed over its batches and ranks, by these names;
                a term that the method lacks is left out.
        """
        return dict(state)
