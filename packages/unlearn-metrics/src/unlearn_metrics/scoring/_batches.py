"""Batches: answers to be scored, questions to be answered, those together that leave little to padding."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from unlearn_metrics.scoring._encoding import Prompt
from unlearn_metrics.scoring._memory import TokenBudget
from unlearn_metrics.scoring._requests import Answer, Question

T = TypeVar("T")

# Things are read together if the shortest has this share of the tokens of the longest, or if they have so few tokens.
_ALIKE, _WORTH = 0.9, 1024


class AnswerBatch(NamedTuple):
    """Prompts of one length and shape, each with its answers."""

    answers: list[list[Answer]]
    """[prompts][answers of a prompt]"""

    @property
    def prompts(self) -> list[Prompt]:
        """The prompts."""
        return [answers[0].prompt for answers in self.answers]

    def flat(self) -> list[Answer]:
        """Return the answers, those to the first prompt first."""
        return [answer for answers in self.answers for answer in answers]

    def tokens(self) -> int:
        """Return the number of tokens to be read, every prompt once."""
        return sum(map(_tokens, self.answers))

    def row(self) -> str:
        """Return the id of the first row."""
        return self.answers[0][0].row

    def halves(self) -> "tuple[AnswerBatch, AnswerBatch] | None":
        """Return two batches, split between prompts or else between answers; None if there is but one answer."""
        if len(self.answers) > 1:
            cut = len(self.answers) // 2
            return AnswerBatch(self.answers[:cut]), AnswerBatch(self.answers[cut:])
        (answers,) = self.answers
        if len(answers) > 1:
            cut = len(answers) // 2
            return AnswerBatch([answers[:cut]]), AnswerBatch([answers[cut:]])
        return None


def answer_batches(answers: Iterable[Answer], budget: TokenBudget) -> Iterator[AnswerBatch]:
    """Group prompts of one length and shape, up to the budget in tokens.

    Equal lengths leave no padding between a prompt and its answers.
    """
    by_prompt: dict[Prompt, list[Answer]] = defaultdict(list)
    for answer in answers:
        by_prompt[answer.prompt].append(answer)
    groups: dict[tuple[Any, ...], list[list[Answer]]] = defaultdict(list)
    for prompt, theirs in by_prompt.items():
        groups[len(prompt.ids), prompt.shape, len(theirs) > 1].append(theirs)
    # The longest first: if memory does not suffice, it shows at once.
    for _, group in sorted(groups.items(), key=lambda each: each[0][0], reverse=True):
        group.sort(key=lambda theirs: max(len(answer.ids) for answer in theirs), reverse=True)
        batch, tokens = AnswerBatch([]), 0
        for theirs in group:
            if batch.answers and tokens + _tokens(theirs) > budget.tokens:
                yield batch
                batch, tokens = AnswerBatch([]), 0
            batch.answers.append(theirs)
            tokens += _tokens(theirs)
        yield batch


def _tokens(answers: Sequence[Answer]) -> int:
    return len(answers[0].prompt.ids) + sum(len(answer.ids) for answer in answers)


def alike(things: Iterable[T], length: Callable[[T], int], most: int) -> Iterator[list[T]]:
    """Yield things, longest first, in parts of little padding; one of few tokens would not be worth a pass.

    Args:
        things: What is read.
        length: How many tokens one of them has.
        most: How many to a part.
    """
    part: list[T] = []
    for each in sorted(things, key=length, reverse=True):
        longest = length(part[0]) if part else 0
        is_shorter = longest * len(part) >= _WORTH and length(each) < _ALIKE * longest
        if is_shorter or len(part) == most:
            yield part
            part = []
        part.append(each)
    if part:
        yield part


class Reply(NamedTuple):
    """A question with the answer so far."""

    question: Question
    ids: tuple[int, ...] = ()
    """tokens of the answer"""

    @property
    def read(self) -> list[int]:
        """What the model reads before it goes on."""
        return [*self.question.prompt.ids, *self.ids]


class ReplyBatch(NamedTuple):
    """Replies whose inputs can be joined; the longest is the first."""

    replies: list[Reply]
    until: int
    """tokens that an answer may have by then"""

    @property
    def prompts(self) -> list[Prompt]:
        """The prompts."""
        return [reply.question.prompt for reply in self.replies]

    def tokens(self) -> int:
        """Return the number of tokens in a left-padded batch with answers as long as allowed."""
        return len(self.replies) * _room(self.replies[0], self.until)

    def row(self) -> str:
        """Return the id of the first row."""
        return self.replies[0].question.row

    def halves(self) -> "tuple[ReplyBatch, ReplyBatch] | None":
        """Return two batches; None if there is but one reply."""
        cut = len(self.replies) // 2
        if not cut:
            return None
        return self._replace(replies=self.replies[:cut]), self._replace(replies=self.replies[cut:])


def reply_batches(replies: Iterable[Reply], budget: TokenBudget, until: int) -> Iterator[ReplyBatch]:
    """Group replies whose inputs can be joined, those of like length together, up to the budget."""
    groups: dict[tuple[Any, ...], list[Reply]] = defaultdict(list)
    for reply in replies:
        prompt = reply.question.prompt
        groups[prompt.shape, tuple(prompt.sequence_inputs), prompt.end].append(reply)
    for group in groups.values():
        group.sort(key=lambda reply: len(reply.read), reverse=True)
        start = 0
        while start < len(group):
            fitting = max(1, budget.tokens // _room(group[start], until))
            yield ReplyBatch(group[start : start + fitting], until)
            start += fitting


def _room(reply: Reply, until: int) -> int:
    return len(reply.question.prompt.ids) + until
