"""Other answers to the questions to forget: what methods teach in place of the forgotten ones."""

from collections.abc import Callable, Collection, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import torch
from transformers import PreTrainedModel

from unlearn_train import launching
from unlearn_train.collation import EncodedRows
from unlearn_train.data import Row
from unlearn_train.encoding import Processor, encode, render, tokenize, tokenizer_of
from unlearn_train.models import context_length
from unlearn_train.refusals import refusal_for

KINDS = ("idk", "alternate", "random", "shuffled")
INSTRUCTION = "Make up another answer that sounds just as plausible."
TRIES = 8


def other_answers(
    needs: Collection[str],
    model: PreTrainedModel,
    processor: Processor,
    forget: Sequence[Row],
    retain: Sequence[Row],
    *,
    seed: int,
    alternates: Mapping[str, str] | None = None,
) -> dict[str, EncodedRows]:
    """Return the rows to forget with other answers, for each kind of these that a method needs.

    Args:
        needs: what the method asks for.
        model: makes the alternate answers.
        processor: of the model.
        forget: rows to forget.
        retain: rows to keep.
        seed: of what is drawn.
        alternates: alternate answers by row id, instead of the model's own.

    Returns:
        By kind: `idk` (a refusal), `alternate` (another plausible answer), `random` (the answer of a random row to
        keep) and `shuffled` (the answer of another row to forget).

    Raises:
        ValueError: an alternate answer is missing, or there is no other row to forget.
    """
    made: dict[str, Callable[[], Mapping[str, str]]] = {
        "idk": lambda: {row["id"]: refusal_for(row["id"]) for row in forget},
        "alternate": lambda: (
            _agreed(lambda: alternate_answers(model, processor, forget, seed=seed))
            if alternates is None
            else alternates
        ),
        "random": lambda: {row["id"]: str(_drawn(retain, row["id"], seed)["answer"]) for row in forget},
        "shuffled": lambda: _shuffled(forget, seed),
    }
    length = context_length(model)
    return {kind: _answered(processor, forget, made[kind](), length, kind) for kind in KINDS if kind in needs}


def alternate_answers(
    model: PreTrainedModel, processor: Processor, rows: Sequence[Row], *, seed: int
) -> dict[str, str]:
    """Have the model make up an answer to every row that is not the row's own.

    It is told to, as in https://arxiv.org/abs/2409.13474, and samples, hotter each time that it gives the row's own
    answer or none.

    Args:
        model: usually the one that is to forget.
        processor: of the model.
        rows: with `id`, `question`, `answer` and `image`.
        seed: of the sampling.

    Returns:
        An answer by row id.

    Raises:
        ValueError: the model gives no other answer to a row.
    """
    training = model.training
    model.train(False)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        answers = {row["id"]: _made_up(model, processor, row) for row in rows}
    model.train(training)
    return answers


def _made_up(model: PreTrainedModel, processor: Processor, row: Row) -> str:
    own = str(row["answer"]).strip()
    prompt, _ = render(processor, f"{row['question']} {INSTRUCTION}", own, has_image=row["image"] is not None)
    inputs = {key: value.to(model.device) for key, value in tokenize(processor, prompt, row["image"]).items()}
    labels = encode(processor, row["question"], own, row["image"]).labels
    tokenizer, end = tokenizer_of(processor), int(labels[-1])
    for attempt in range(TRIES):
        generate: Any = model.generate  # a mixin hides its type
        output = generate(
            **inputs,
            do_sample=True,
            temperature=1.5**attempt,
            max_new_tokens=int((labels >= 0).sum()) + 8,
            eos_token_id=end,
            pad_token_id=end,
        )
        text = str(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)).strip()
        if text and text.casefold() != own.casefold():
            return text
    raise ValueError(
        f"row {row['id']}: the model made up no other answer in {TRIES} tries; give one (`alternates`), or leave the "
        "row out."
    )


def _agreed(make: Callable[[], dict[str, str]]) -> dict[str, str]:
    """What the first process makes: unlike GPUs would draw unlike answers."""
    return launching.agree(make() if launching.rank() == 0 else {})


def _answered(
    processor: Processor, rows: Sequence[Row], answers: Mapping[str, str], length: int | None, kind: str
) -> EncodedRows:
    missing = [row["id"] for row in rows if row["id"] not in answers]
    if missing:
        raise ValueError(
            f"{len(missing)} rows to forget have no {kind} answer, {missing[0]} among them; give one to each."
        )
    return EncodedRows(processor, rows, answer=lambda row: answers[row["id"]], max_length=length)


def _shuffled(rows: Sequence[Row], seed: int) -> dict[str, str]:
    """Every row's answer, by the id of a row so many places on."""
    if len(rows) < 2:
        raise ValueError("answers of other rows to forget are needed, and there is one row alone; add rows to forget.")
    shift = 1 + seed % (len(rows) - 1)
    return {row["id"]: str(rows[(n + shift) % len(rows)]["answer"]) for n, row in enumerate(rows)}


def _drawn(rows: Sequence[Row], row_id: str, seed: int) -> Row:
    """One of the rows: always the same one for the same id and seed."""
    digest = blake2b(f"{seed}/{row_id}".encode(), digest_size=8).digest()
    return rows[int.from_bytes(digest) % len(rows)]
