"""An unlearning experiment: which models are made from which rows, and what is asked of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from unlearn_train import options
from unlearn_train.pulse.settings import PulseOptions
from unlearn_train.recipes import read_recipe
from unlearn_train.settings import DataOptions, EvaluateOptions, ModelOptions, TrainOptions

if TYPE_CHECKING:
    from unlearn_core import Edit, Guard, Method

    from unlearn_train.recipes import Recipe

BASE_STATES = ("pretrained", "target", "retrained")
REAL_SETS = ("real_faces", "real_world", "real_authors", "world_facts")


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """All that an experiment depends on."""

    benchmark: str
    """clear, tofu or pulse"""
    seed: int = 0
    forget: str = "forget10"
    """the set to forget"""
    retain: str = "retain90"
    """the set to keep"""
    tasks: tuple[str, ...] = ("qa", "caption", "vqa")
    """what is learnt and forgotten; the other forms of a fact are asked alone"""
    data: DataOptions = field(default_factory=DataOptions)
    model: ModelOptions = field(default_factory=ModelOptions)
    pretrain: TrainOptions | None = field(default_factory=TrainOptions)
    """of the model that is built, which starts untaught where this is null; a checkpoint is taken as it is"""
    finetune: TrainOptions = field(default_factory=TrainOptions)
    """of the target and of the retrained model"""
    rehearse: bool = False
    """keep what was pretrained among the rows that are learnt and retained, so that a small model keeps it"""
    unlearn: TrainOptions = field(default_factory=TrainOptions)
    methods: dict[str, Any] = field(default_factory=dict)
    """options by state; `method` names its method, which is that of the state's own name where it is left out,
    `transforms` what the gradients go through, and `train` overrides `unlearn`"""
    evaluate: EvaluateOptions = field(default_factory=EvaluateOptions)
    pulse: PulseOptions | None = None
    """of the protocol PULSE, which chooses who is forgotten by itself, instead of `forget` and `retain`"""

    def __post_init__(self) -> None:
        if not self.methods:
            raise ValueError("`methods` is empty; name at least one (`unlearn methods` lists them).")
        if (self.pulse is not None) != (self.benchmark == "pulse"):
            raise ValueError("`pulse` holds the options of `unlearn run pulse`, and goes with no other benchmark.")
        for name in self.methods:
            self.recipe(name)
            self.unlearning(name)

    @property
    def states(self) -> tuple[str, ...]:
        """The models of the experiment, in the order in which they are made."""
        return *BASE_STATES, *self.methods

    def method(self, name: str) -> "Method | Edit | Guard":
        """Return one of the methods with its options."""
        return self.recipe(name).method

    def recipe(self, name: str) -> "Recipe":
        """Return one of the methods with its options, and what its gradients go through."""
        return read_recipe(name, {key: value for key, value in self._given(name).items() if key != "train"})

    def unlearning(self, name: str) -> TrainOptions:
        """Return how one of the methods is trained."""
        train = self._given(name).get("train", {})
        if not isinstance(train, Mapping):
            raise ValueError(f"`methods.{name}.train` takes options by name, got {train!r}.")
        merged = options.merge(options.plain(self.unlearn), train)
        return options.build(TrainOptions, merged, path=f"methods.{name}.train")

    def seed_for(self, state: str) -> int:
        """Return a seed for one model, so that no two of an experiment share their randomness."""
        return int.from_bytes(blake2b(f"{self.seed}/{state}".encode(), digest_size=4).digest()) % 2**31

    def _given(self, name: str) -> Mapping[str, Any]:
        given = self.methods[name]
        if not isinstance(given, Mapping):
            raise ValueError(f"`methods.{name}` takes options by name, got {given!r}.")
        return given
