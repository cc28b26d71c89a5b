"""Multiple choice: rows whose question lists lettered options, or whose answer competes with other answers."""

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from string import ascii_uppercase

from unlearn_train.data import Row
from unlearn_train.pulse.settings import REQUEST


class Choices:
    """Turns rows of one kind of subject into multiple choice.

    The options of a `mcq` row are its own, in another order. A row of another task takes its wrong options from its
    `perturbed_answers` if enough of these are right answers of other rows, and else from the right answers of its
    peers: the rows of other subjects with the same task and number. So an option is as often wrong as it is right, and
    which values are ever right tells nothing; a name or a face may still tell that some do not fit. The words that the
    answers of a row begin or end with are left out, so that values stand against values.

    Args:
        rows: all rows of these subjects, as `lettered` and `compared` may be given some.
        seed: of options, their order, and the letters.
        count: how many options a row gets that is not of task `mcq`.
        request: the last line of a question.
    """

    def __init__(self, rows: Iterable[Row], *, seed: int, count: int = 4, request: str = REQUEST) -> None:
        self.seed, self.count, self.request = seed, count, request
        self._right: dict[str, set[str]] = defaultdict(set)
        for row in rows:
            if row["task"] != "mcq":
                self._right[_kind(row)].add(_values(row)[0])
        self._known = frozenset().union(*self._right.values())

    def lettered(self, rows: Iterable[Row]) -> list[Row]:
        """Make the lettered questions that models are asked.

        Of the rows of a modality with equally many options, each letter is right as often as any other, or once less;
        which rows have which letter depends on their ids and the seed.

        Args:
            rows: of any task; those that have too few wrong options are left out.

        Raises:
            ValueError: no row has enough wrong options.

        Example:
            >>> rows = [{"id": f"{name}/qa/0", "task": "qa", "image": None, "question": f"Where is {name}?",
            ...          "answer": f"{name} is in {city}.", "paraphrased_answer": None,
            ...          "perturbed_answers": [f"{name} is in Bern."], "options": None}
            ...         for name, city in (("Ada", "Rome"), ("Bo", "Oslo"))]
            >>> Choices(rows, seed=0, count=2).lettered(rows[:1])[0]["question"].splitlines()[:3]
            ['Where is Ada?', 'A. Rome', 'B. Oslo']
        """
        groups: dict[tuple[bool, int], list[tuple[Row, list[str]]]] = defaultdict(list)
        for row in rows:
            options = self._asked_options(row)
            if options is not None:
                groups[row["image"] is None, len(options)].append((row, options))
        if not groups:
            raise ValueError(self._lacking)
        asked = [
            lettered(row, options, place % len(options), self.request)
            for group in groups.values()
            for place, (row, options) in enumerate(sorted(group, key=self._place))
        ]
        return sorted(asked, key=lambda row: str(row["id"]))

    def compared(self, rows: Iterable[Row]) -> list[Row]:
        """Make rows of task `mcq` with the same options, each as the answer would say it: none is shown to the model.

        Args:
            rows: of any task; those that have too few wrong options are left out.

        Raises:
            ValueError: no row has enough wrong options.
        """
        found = [(row, self._asked_options(row)) for row in rows]
        asked = [compared(row, options) for row, options in found if options is not None]
        if not asked:
            raise ValueError(self._lacking)
        return sorted(asked, key=lambda row: str(row["id"]))

    @property
    def _lacking(self) -> str:
        return f"no row has {self.count - 1} wrong answers, or options; nothing can be asked as multiple choice."

    def _asked_options(self, row: Row) -> list[str] | None:
        """The right option and then wrong ones; None where there are too few."""
        rng = self._random(row, "asked")
        if row["task"] == "mcq":
            wrong = [option for option in row["options"] if option != row["answer"]]
            rng.shuffle(wrong)
            return [row["answer"], *wrong]
        return self._sample(row, rng) if len(self._pool(row)) >= self.count - 1 else None

    def _sample(self, row: Row, rng: random.Random) -> list[str]:
        return [_values(row)[0], *rng.sample(self._pool(row), self.count - 1)]

    def _pool(self, row: Row) -> list[str]:
        """What may stand as wrong options beside the right one."""
        right, *wrong = _values(row)
        apart = [value for value in wrong if value in self._known]
        if len(apart) >= self.count - 1:
            return apart
        peers = sorted(self._right[_kind(row)] - {right})
        return peers if len(peers) >= self.count - 1 else wrong

    def _place(self, one: tuple[Row, list[str]]) -> float:
        return self._random(one[0], "place").random()

    def _random(self, row: Row, purpose: str) -> random.Random:
        return random.Random(f"{self.seed}/{row['id']}/{purpose}")


def lettered(row: Row, options: Sequence[str], place: int, request: str = REQUEST) -> Row:
    """Ask a row as lettered choice.

    Args:
        row: gives the question; keeps its id.
        options: the right one first.
        place: where the right one is put.
        request: the last line of the question.
    """
    right, *wrong = options
    shown = [*wrong[:place], right, *wrong[place:]]
    letters = ascii_uppercase[: len(shown)]
    lines = [f"{letter}. {option}" for letter, option in zip(letters, shown, strict=True)]
    return {
        **row,
        "task": "qa" if row["image"] is None else "vqa",
        "question": "\n".join((row["question"], *lines, request)),
        "answer": letters[place],
        "paraphrased_question": None,
        "paraphrased_answer": None,
        "perturbed_answers": [letter for letter in letters if letter != letters[place]],
        "options": None,
        "keywords": [letters[place]],
    }


def compared(row: Row, options: Sequence[str]) -> Row:
    """Ask a row as a choice between whole answers, whose probabilities are compared.

    Args:
        row: gives the question; keeps its id.
        options: the right one first.
    """
    whole = list(options) if row["task"] == "mcq" else [_said(row, option) for option in options]
    return {**row, "task": "mcq", "answer": whole[0], "options": whole, "paraphrased_answer": None}


def letter_counts(rows: Iterable[Row]) -> dict[str, int]:
    """Count how often each letter is right."""
    return dict(sorted(Counter(row["answer"] for row in rows).items()))


def _kind(row: Row) -> str:
    """Task and number of a row, which say what is asked: an id is `subject/task/number`."""
    return str(row["id"]).partition("/")[2]


def _values(row: Row) -> list[str]:
    """The right answer and all wrong ones, which have its form, without the words that they share."""
    answers = [row["paraphrased_answer"] or row["answer"], *(row["perturbed_answers"] or ())]
    words = [answer.rstrip(".").split() for answer in dict.fromkeys(answers)]
    shared = 0
    while len(words) > 1 and all(len(each) > shared + 1 and each[shared] == words[0][shared] for each in words):
        shared += 1
    words = [each[shared:] for each in words]
    while len(words) > 1 and all(len(each) > 1 and each[-1] == words[0][-1] for each in words):
        words = [each[:-1] for each in words]
    return [_bare(" ".join(each)) for each in words]


def _said(row: Row, value: str) -> str:
    """The row's answer with a value in the place of the right one."""
    right = _values(row)[0]
    forms = (row["answer"], row["paraphrased_answer"] or "", right)
    form = next(form for form in forms if re.search(rf"(?<!\w){re.escape(right)}(?!\w)", form))
    article = "an " if value[0].lower() in "aeiou" else "a "
    # The last: a name that is asked about may hold the value too.
    *_, last = re.finditer(rf"(\ban? )?(?<!\w){re.escape(right)}(?!\w)", form)
    return form[: last.start()] + (article if last[1] else "") + value + form[last.end() :]


def _bare(value: str) -> str:
    """A value without its article, which would tell some options from others."""
    return re.sub(r"^an? ", "", value)
