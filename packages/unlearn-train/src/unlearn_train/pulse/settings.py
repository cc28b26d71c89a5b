"""What can be set of the protocol; nothing here imports anything heavy."""

from dataclasses import dataclass

REQUEST = "Answer with the option's letter from the given choices directly."
"""LLaVA-1.5 was taught to answer with a letter by these words."""

ANSWERS = ("letter", "option")


@dataclass(frozen=True, kw_only=True)
class PulseOptions:
    """Who is forgotten in which setting, and how it is asked.

    Raises:
        ValueError: an option is out of its range.
    """

    finetuned: int = 100
    """fictitious people who are learnt in finetuning"""
    finetuned_forget: int = 50
    """of these, who are forgotten: in one request, and in several"""
    pretrained: int = 45
    """public figures, those that the pretrained model knows best"""
    pretrained_forget: int = 20
    """of these, who are forgotten"""
    requests: int = 5
    """in how many requests, one after another, the fictitious people are forgotten"""
    parts: tuple[str, ...] = ("language+projector", "language")
    """what of the model is trained when it unlearns, each tried: parts of `unlearn.parts`, joined by +"""
    ask: tuple[str, ...] = ("qa", "vqa")
    """tasks of the rows that are asked as lettered choice; mcq where the data has such"""
    questions: int = 5
    """about each person in each modality, at most"""
    choices: int = 4
    """options of a question that is made from a row of another task than mcq"""
    answer: str = "letter"
    """letter: options are listed, and the model says the letter of one; option: the likeliest of them is its answer"""
    request: str = REQUEST
    """the last line of a question that lists options"""
    general: tuple[str, ...] = ("real_world", "world_facts")
    """sets that say what the model can do in general"""
    general_folder: str | None = None
    """dataset folder that these sets are in, such as one of MMBench's rows; the run's own data where left out"""
    general_rows: int = 90
    """at most so many rows of each of these sets"""

    def __post_init__(self) -> None:
        for name in ("finetuned_forget", "pretrained_forget", "requests", "questions", "general_rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        for name in ("finetuned", "pretrained"):
            if getattr(self, name) <= getattr(self, f"{name}_forget"):
                raise ValueError(
                    f"`{name}` must be more than `{name}_forget`, so that some are kept, got {getattr(self, name)} and "
                    f"{getattr(self, f'{name}_forget')}."
                )
        if self.requests > self.finetuned_forget:
            raise ValueError(
                f"`requests` must be at most `finetuned_forget`, a person each, got {self.requests} and "
                f"{self.finetuned_forget}."
            )
        if not 2 <= self.choices <= 26:
            raise ValueError(f"`choices` must be from 2 to 26, got {self.choices}.")
        if self.answer not in ANSWERS:
            raise ValueError(f"`answer` must be one of {', '.join(ANSWERS)}, got {self.answer!r}.")
        for name in ("parts", "ask", "general"):
            if not getattr(self, name) or len(set(getattr(self, name))) < len(getattr(self, name)):
                raise ValueError(f"`{name}` must name at least one, each once, got {list(getattr(self, name))}.")
