"""The models that the protocol makes: a setting, a method, the parts that are trained, and a request."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from unlearn_train.experiment import Experiment
    from unlearn_train.pulse.settings import PulseOptions

SETTINGS = ("finetuned", "pretrained", "sequential")
BASES = {"finetuned": "target", "pretrained": "pretrained", "sequential": "target"}
"""which model each setting begins with"""


class Cell(NamedTuple):
    """One model that is unlearned."""

    setting: str
    method: str
    parts: str
    request: int = 0
    """from 1 on in the setting `sequential`; 0 where all is forgotten at once"""

    @property
    def state(self) -> str:
        """Its name among the models of the run.

        Example:
            >>> Cell("sequential", "npo", "language", 2).state
            'sequential-npo-language-2'
        """
        return "-".join(self[:3]) + (f"-{self.request}" if self.request else "")

    @property
    def start(self) -> str:
        """The model that it is made from."""
        return self._replace(request=self.request - 1).state if self.request > 1 else BASES[self.setting]

    @property
    def people(self) -> str:
        """Whose knowledge it is about: that of the people learnt in finetuning, or in pretraining."""
        return "pretrained" if self.setting == "pretrained" else "finetuned"


def cells(experiment: "Experiment") -> list[Cell]:
    """Return all models of the protocol that are unlearned, each after the one that it is made from."""
    chosen = protocol(experiment)
    return [
        Cell(setting, method, parts, request)
        for setting in SETTINGS
        for method in experiment.methods
        for parts in chosen.parts
        for request in (range(1, chosen.requests + 1) if setting == "sequential" else (0,))
    ]


def protocol(experiment: "Experiment") -> "PulseOptions":
    """Return the options of the protocol.

    Raises:
        ValueError: the experiment is of another kind.
    """
    if experiment.pulse is None:
        raise ValueError(f"`unlearn run {experiment.benchmark}` has no options `pulse`; use `unlearn run pulse`.")
    return experiment.pulse
