"""What a ledger is opened with."""

from dataclasses import dataclass, field
from typing import Any

from unlearn_train.recipes import Recipe, read_recipe
from unlearn_train.requests.gates import Gate
from unlearn_train.settings import DTYPES, EvaluateOptions, TrainOptions

TRAIN = TrainOptions(epochs=10.0, batch_size=4, learning_rate=5e-6, schedule="constant", warmup=0.0)
"""A request may have a handful of rows: batches are small, and there is no warmup, which would be all of the steps."""


@dataclass(frozen=True, kw_only=True)
class RequestOptions:
    """How the requests of a ledger are served.

    Raises:
        ValueError: an option is out of its range.
    """

    method: str = "npo"
    """a loss or a weight edit, with its transforms: `npo` or `npo+gru`; or `icul`, the one guard that adds up"""
    options: dict[str, Any] = field(default_factory=dict)
    """of the method; `transforms` holds those of its transforms"""
    train: TrainOptions = TRAIN
    """how each request is unlearned; the seed is made from `seed` and the state's name"""
    tasks: tuple[str, ...] = ("qa", "caption", "vqa")
    """which rows are forgotten and kept; multiple choice is asked alone"""
    retain: tuple[str, ...] = ()
    """sets whose subjects are kept; where empty, everybody but those held out and those known from before"""
    rehearse: tuple[str, ...] = ()
    """further sets among the rows that are kept, such as `pretrain`"""
    dtype: str = "float32"
    """of the weights while they are trained and asked"""
    evaluate: EvaluateOptions = field(default_factory=EvaluateOptions)
    gates: tuple[str, ...] = ()
    """that a model must pass; where empty, those that fit the data are chosen"""
    seed: int = 0

    def __post_init__(self) -> None:
        _check_adds_up(read_recipe(self.method, self.options))
        for gate in self.gates:
            Gate.parse(gate)
        if not self.tasks:
            raise ValueError("`tasks` is empty; name at least one, such as qa.")
        if self.train.lora is not None and not self.train.lora.merge:
            raise ValueError("`train.lora.merge` must be true: every state of a ledger is whole by itself.")
        if self.dtype not in DTYPES:
            raise ValueError(f"`dtype` must be one of {', '.join(DTYPES)}, got {self.dtype!r}.")


def _check_adds_up(recipe: Recipe) -> None:
    """A guard of one request must stand beside those of the others; examples in the chat template do."""
    from unlearn_core import ICUL, Guard

    if isinstance(recipe.method, Guard) and not isinstance(recipe.method, ICUL):
        raise ValueError(
            f"`method`: {type(recipe.method).__name__} is a guard, which the next request's would replace, so that the "
            "first one's subjects were known again; choose a loss, a weight edit or icul."
        )
