"""Looking at a model while it unlearns: what it still knows of both sets, and when that ends."""

import math
from collections.abc import Mapping, Sequence
from hashlib import blake2b

import torch
from transformers import PreTrainedModel, TrainerCallback, TrainingArguments
from transformers.trainer_callback import TrainerControl, TrainerState

from unlearn_train.collation import Collator, EncodedRows
from unlearn_train.data import Row
from unlearn_train.encoding import IGNORED, Processor
from unlearn_train.models import context_length
from unlearn_train.reference import reference_logps
from unlearn_train.settings import TrainOptions, WatchOptions

SCORE = "eval_score"
"""what the best state has most of"""


class Watch(TrainerCallback):
    """Measures a model's probability of the answers to forget and to keep, and stops its training by two rules.

    It stops once the answers to forget are no likelier than `level`, what a model gives to answers that it never met;
    and once those to keep have less than `floor` of the probability that they had at first. Of the states that were
    looked at and keep the floor, the best is the one nearest to the level: its score is -max(0, log(forget / level)).
    Of equals, the first is kept.

    Args:
        options: how often, at how many rows, and the rules' numbers.
        rows: encoded, by the sides `forget` and `retain`.
        level: probability of the answers to forget at which there is nothing left to do.
        collate: makes batches of rows.
        batch_size: rows at a time.
        precision: of the training.
    """

    def __init__(
        self,
        options: WatchOptions,
        rows: Mapping[str, EncodedRows],
        level: float,
        collate: Collator,
        *,
        batch_size: int,
        precision: str = "fp32",
    ) -> None:
        self.options, self.rows, self.level = options, rows, level
        self.collate, self.batch_size, self.precision = collate, batch_size, precision
        self.least = 0.0
        """probability that the answers to keep must have"""
        self.reason = "all steps are done"
        """why the training ended"""

    def begin(self, model: PreTrainedModel) -> None:
        """Take note of what the model knows at first."""
        self.least = self.options.floor * self._known(model, self.rows["retain"])

    def look(self, model: PreTrainedModel) -> dict[str, float]:
        """Return the mean probability of each side's answers, and the score; every process must look."""
        found = {side: self._known(model, rows) for side, rows in self.rows.items()}
        return {**{f"eval_{side}_probability": value for side, value in found.items()}, SCORE: self.score(**found)}

    def score(self, forget: float, retain: float) -> float:
        """Return how good a state is: at most 0, and minus infinity below the floor."""
        if retain < self.least:
            return -math.inf
        return -max(0.0, math.log(max(forget, 1e-30) / max(self.level, 1e-30)))

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: object
    ) -> None:
        """Look at the last state as well."""
        if state.global_step >= state.max_steps:
            control.should_evaluate = control.should_save = True

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: object
    ) -> None:
        """Stop where one of the rules says so."""
        looks = parts["metrics"]
        assert isinstance(looks, dict)  # of the trainer that looked
        if looks[SCORE] >= 0:
            self.reason = f"the answers to forget are as unlikely as unknown ones ({self.level:.3f})"
        elif looks[SCORE] == -math.inf:
            self.reason = (
                f"the answers to keep fell below {self.options.floor} of what they had at first ({self.least:.3f})"
            )
        else:
            return
        control.should_training_stop = True

    def _known(self, model: PreTrainedModel, rows: EncodedRows) -> float:
        return mean_probability(model, rows, self.collate, self.batch_size, self.precision)

    def lacking(self) -> ValueError:
        """Return the error of a training in which no state kept the floor."""
        return ValueError(
            f"every state that was looked at fell below the floor ({self.options.floor} of the first probability of "
            "the answers to keep), so none is kept; lower the learning rate, or look more often (`watch.every`)."
        )


def make_watch(
    model: PreTrainedModel,
    processor: Processor,
    forget_rows: Sequence[Row],
    retain_rows: Sequence[Row],
    options: TrainOptions,
    *,
    holdout_rows: Sequence[Row] = (),
) -> Watch | None:
    """Make what `options.watch` asks for, before the model is changed.

    Args:
        model: as it is before it unlearns.
        processor: of the model.
        forget_rows: what is to be forgotten.
        retain_rows: what is to be kept.
        options: of the training.
        holdout_rows: of the same kind, that the model never met: what it gives to their answers is the level, where the
            options name none.

    Raises:
        ValueError: there is neither a level nor are there held-out rows.
    """
    chosen = options.watch
    if chosen is None:
        return None
    encoded, collate = _Encoded(model, processor, options), Collator(processor)
    level = chosen.level
    if level is None and not holdout_rows:
        raise ValueError(
            "`watch` needs to know when the model looks as if it had never met the rows: set `watch.level` to a "
            "probability, such as the retrained model's, or name a set of held-out rows (`--holdout`)."
        )
    if level is None:
        level = mean_probability(model, encoded(holdout_rows), collate, options.batch_size, options.precision)
    rows = {"forget": encoded(forget_rows), "retain": encoded(retain_rows)}
    watch = Watch(chosen, rows, level, collate, batch_size=options.batch_size, precision=options.precision)
    watch.begin(model)
    return watch


def answer_probability(
    model: PreTrainedModel, processor: Processor, rows: Sequence[Row], options: TrainOptions
) -> float:
    """Return a model's mean probability of the rows' answers, of as many rows as a watch would look at."""
    encoded = _Encoded(model, processor, options)(rows)
    return mean_probability(model, encoded, Collator(processor), options.batch_size, options.precision)


def mean_probability(
    model: PreTrainedModel, rows: EncodedRows, collate: Collator, batch_size: int, precision: str = "fp32"
) -> float:
    """Return the mean over rows of exp(mean log-probability of the answer's tokens); processes share the rows."""
    logps = reference_logps(model, rows, collate, batch_size=batch_size, precision=precision)
    tokens = torch.tensor([int((rows[n].labels[1:] != IGNORED).sum()) for n in range(len(rows))])
    mean = float((logps / tokens).exp().mean())
    if not math.isfinite(mean):
        raise FloatingPointError(
            "the model's log-probabilities are not finite where it is watched; lower the learning rate."
        )
    return mean


class _Encoded:
    """Encodes as many rows of a set as are looked at."""

    def __init__(self, model: PreTrainedModel, processor: Processor, options: TrainOptions) -> None:
        self.processor, self.length = processor, context_length(model)
        self.limit, self.seed = (options.watch or WatchOptions()).rows, options.seed

    def __call__(self, rows: Sequence[Row]) -> EncodedRows:
        order = sorted(rows, key=lambda row: blake2b(f"{self.seed}:{row['id']}".encode()).digest())
        return EncodedRows(self.processor, order[: self.limit], max_length=self.length)
