"""Forward passes over batches of answers: each prompt and each image read once, logits where answers are."""

import inspect
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module
from transformers import PreTrainedModel

from unlearn_metrics.scoring._batches import AnswerBatch, alike
from unlearn_metrics.scoring._cache import PromptCache
from unlearn_metrics.scoring._encoding import Encoder, Prompt
from unlearn_metrics.scoring._features import ImageFeatures, to_model, tolerance
from unlearn_metrics.scoring._loading import is_wrapped
from unlearn_metrics.scoring._memory import is_out_of_memory
from unlearn_metrics.scoring._packing import PackedAttention, Packing, is_packable
from unlearn_metrics.scoring._reading import Read
from unlearn_metrics.scoring._statistics import TokenScores

_LOG = logging.getLogger(__name__)
# How far apart numbers in full precision may be by rounding.
_ROUNDING = 1e-4
# How much of its log-probability a token may change by what follows: more than rounding does, less than foresight.
_SEEN = 0.1
# So many tokens of cached prompts take little memory.
_FEW = 2048


class Ways(NamedTuple):
    """Shortcuts; each gives what the plain pass gives, on architectures that it is right for."""

    head: bool = False
    """hidden states first, logits of answer tokens afterwards, a chunk at a time"""
    images: bool = False
    """an image's features are computed once"""
    prompts: bool = False
    """a prompt is read once for all its answers, by its cache of keys and values"""
    packed: bool = False
    """these answers stand in one sequence, without padding"""


class Forward:
    """Forward passes of one model over batches, logits at answer positions only.

    Not every shortcut is right for every architecture, so each is tried on the first batch of its kind (text or image,
    one answer or many, short or long), and taken only if it gives what whole sequences and the model's own logits give.
    A model that something was put around is asked plainly, see `is_wrapped`.

    Args:
        model: Any model with `forward(input_ids, attention_mask, ...).logits`.
        encoder: Whose prompts the batches hold.
        share_prompts: Whether to read a prompt once for all its answers; None decides as described.
        features: Of images, if another pass has some already.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        encoder: Encoder,
        *,
        share_prompts: bool | None = None,
        features: ImageFeatures | None = None,
    ) -> None:
        self.model, self.encoder, self.share_prompts = model, encoder, share_prompts
        self.features = features or ImageFeatures(model, encoder)
        self.chosen: dict[tuple[Any, ...], Ways] = {}
        self._keeps_logits = "logits_to_keep" in inspect.signature(model.forward).parameters
        self._body: Any = model.base_model
        self._vocabulary = model.config.get_text_config().vocab_size

    @torch.inference_mode()
    def score(self, batch: AnswerBatch) -> list[TokenScores]:
        """Score every answer of `batch`.

        Raises:
            ValueError: If a log-probability is NaN or infinite, or the model sees what follows a token.
        """
        if all(len(answer.ids) == 1 for answer in batch.flat()):
            return self._score(batch, Ways())  # it could not show whether a shortcut is right
        names = tuple(name for name, _ in batch.prompts[0].shape)
        kind = (names, len(batch.answers[0]) > 1, is_packable(self.model, batch))
        if kind not in self.chosen:
            self.chosen[kind] = self._choose(batch)
        return self._score(batch, self.chosen[kind])

    def gradient_norm(self, batch: AnswerBatch) -> float:
        """Return the L2 norm, over all weights, of the gradient of the mean NLL of the tokens of the one answer."""
        (answer,) = batch.flat()
        weights = [weight for weight in self.model.parameters() if weight.is_floating_point()]
        frozen = [weight for weight in weights if not weight.requires_grad]
        try:
            for weight in frozen:
                weight.requires_grad_(True)
            with torch.enable_grad():
                (read,) = self._whole(batch, Ways())
                targets = torch.tensor(answer.ids, device=read.states.device)
                loss = torch.nn.functional.cross_entropy(read.states.float(), targets)
                found = torch.autograd.grad(loss, weights, allow_unused=True)
        finally:
            for weight in frozen:
                weight.requires_grad_(False)
        norms = [torch.linalg.vector_norm(each, dtype=torch.float32) for each in found if each is not None]
        return float(torch.linalg.vector_norm(torch.stack([norm.cpu() for norm in norms])))

    def _choose(self, batch: AnswerBatch) -> Ways:
        """The shortcuts that give, on two prompts with two long answers each, what the plain pass gives."""
        if is_wrapped(self.model):
            return Ways()
        longest = [sorted(answers, key=lambda answer: len(answer.ids))[-2:] for answers in batch.answers[:2]]
        sample = AnswerBatch(longest)
        plain = self._score(sample, Ways())
        self._check_order(sample)
        ways = Ways(images=self.features.usable(batch.prompts[0]))
        if self._has_head_apart() and self._agrees(self._apart(sample, ways._replace(head=True), plain)):
            ways = ways._replace(head=True)
        if len(batch.answers[0]) == 1 or self.share_prompts is False:
            return ways
        shared = ways._replace(prompts=True)
        apart = self._apart(sample, shared, plain)
        if not self._agrees(apart):
            return shared if self.share_prompts else ways
        # Without a head apart, logits of the whole sequence would take much memory.
        if ways.head and is_packable(self.model, batch):
            packed = shared._replace(packed=True)
            found = self._apart(sample, packed, plain)
            # In half precision a wrong position is lost in the rounding of one token, but not in that of all.
            if self._agrees(found) and found.mean() <= max(_ROUNDING, 3 * apart.mean()):
                return packed
        return shared

    def _check_order(self, sample: AnswerBatch) -> None:
        """Refuse a model that sees what follows: it would be scored for what it has been shown."""
        answer = max(sample.flat(), key=lambda answer: len(answer.ids))
        half = (len(answer.ids) + 1) // 2
        # As long as it was, so that kernels round alike and only what follows can make a difference.
        other = answer._replace(ids=answer.ids[:half] + answer.ids[:1] * (len(answer.ids) - half))
        ((own,), (changed,)) = (self._score(AnswerBatch([[each]]), Ways()) for each in (answer, other))
        apart = np.abs(own.logp - changed.logp)[:half] / np.maximum(1, np.abs(own.logp[:half]))
        if apart.mean() > _SEEN:
            raise ValueError(
                f"row {answer.row}: the tokens of an answer change by what follows them, by {apart.mean():.2g} of "
                f"their log-probability: {type(self.model).__name__}, as it is read here, sees what is to come. Models "
                "for masked text, or with a prefix that is read as a whole, cannot be scored."
            )

    def _has_head_apart(self) -> bool:
        """Whether hidden states can be had first; what hooks on the whole model do would be passed by."""
        hooks = (self.model._forward_hooks, self.model._forward_pre_hooks)
        return self._body is not self.model and not any(hooks)

    def _apart(self, sample: AnswerBatch, ways: Ways, plain: list[TokenScores]) -> np.ndarray:
        """How far each token's log-probability is from the plain one; infinite where these ways cannot be gone."""
        try:
            found = self._score(sample, ways)
        except Exception as error:  # whatever an architecture does not support
            if is_out_of_memory(error):
                raise
            _LOG.debug("%s cannot be read with %s.", type(self.model).__name__, ways, exc_info=True)
            return np.array([np.inf])
        apart: np.ndarray = abs(np.concatenate([a.logp - b.logp for a, b in zip(plain, found, strict=True)]))
        return apart

    def _agrees(self, apart: np.ndarray) -> bool:
        return bool(apart.max() <= tolerance(self.model))

    def _score(self, batch: AnswerBatch, ways: Ways) -> list[TokenScores]:
        read = self._packed if ways.packed else self._shared if ways.prompts else self._whole
        found: dict[int, TokenScores] = {}
        for part in read(batch, ways):
            head = partial(self._head, outputs=part.outputs) if ways.head else torch.clone
            found |= part.scores(head, self._vocabulary if ways.head else 0)
        return [found[answer.number] for answer in batch.flat()]

    def _whole(self, batch: AnswerBatch, ways: Ways) -> Iterator[Read]:
        """One pass over whole sequences."""
        answers = batch.flat()
        length = max(len(answer.ids) for answer in answers)
        # The last token predicts nothing, so the model need not read it.
        fed = [answer.ids[:-1] for answer in answers]
        prompts = [answer.prompt for answer in answers]
        inputs = self._inputs(prompts, length - 1, ways)
        inputs["input_ids"] = torch.cat([inputs["input_ids"], self._padded(fed, length - 1)], dim=1)
        inputs["attention_mask"] = torch.zeros_like(inputs["input_ids"])
        for row, (prompt, ids) in enumerate(zip(prompts, fed, strict=True)):
            inputs["attention_mask"][row, : len(prompt.ids) + len(ids)] = 1
        yield Read.unpadded(answers, *self._states(length, ways, use_cache=False, **inputs))

    def _shared(self, batch: AnswerBatch, ways: Ways) -> Iterator[Read]:
        """Prompts, then answers on top of the prompts' cache, those together of like length."""
        first, outputs, memory = self._prompts(batch, ways)
        numbered = [(answer, row) for row, answers in enumerate(batch.answers) for answer in answers]
        parts = list(alike(numbered, lambda each: len(each[0].ids), _rows_at_once(batch)))
        for n, part in enumerate(parts):
            answers, rows = [answer for answer, _ in part], [row for _, row in part]
            states, length = first[rows], len(answers[0].ids)
            if length > 1:
                # Nothing follows the padding, so a causal model needs no mask to keep it from being read.
                fed = self._padded([answer.ids[:-1] for answer in answers], length - 1)
                cache = memory.rows(rows, room=length - 1, last=n == len(parts) - 1)
                rest, outputs = self._states(length - 1, ways, input_ids=fed, past_key_values=cache, use_cache=True)
                states = torch.cat([states, rest], dim=1)
            yield Read.unpadded(answers, states, outputs)

    def _packed(self, batch: AnswerBatch, ways: Ways) -> Iterator[Read]:
        """Prompts, then all answers in one sequence."""
        first, outputs, memory = self._prompts(batch, ways)
        packing, states = Packing(batch, memory.positions(len(batch.prompts))), first[:, 0]
        if packing.ids:
            attention = PackedAttention(packing, memory, _rows_at_once(batch))
            inputs = {"input_ids": packing.ids, "position_ids": packing.positions}
            fed = {name: torch.tensor([values], device=self.model.device) for name, values in inputs.items()}
            with attention.in_place():
                rest, outputs = self._states(len(packing.ids), ways, **fed, use_cache=False, packed=attention)
            states = torch.cat([states, rest[0]])
        states = states[torch.tensor(packing.predicting, device=states.device)]
        yield Read(packing.answers, states, packing.predicted, packing.numbers, outputs)

    def _prompts(self, batch: AnswerBatch, ways: Ways) -> tuple[Tensor, Any, PromptCache]:
        """The states [prompts, 1, width] that predict the first token of an answer, and what is remembered."""
        inputs = self._inputs(batch.prompts, 0, ways)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        if hasattr(self._body, "rope_deltas"):
            self._body.rope_deltas = None  # of the images of another batch
        first, outputs = self._states(1, ways, use_cache=True, **inputs)
        return first, outputs, PromptCache(self.model, outputs.past_key_values)

    def _states(self, last: int, ways: Ways, **inputs: Any) -> tuple[Tensor, Any]:
        """Hidden states or logits of the last tokens, and all that the model returns."""
        if ways.head:
            outputs = self._body(**inputs)
            return outputs.last_hidden_state[:, -last:], outputs
        if self._keeps_logits:
            inputs["logits_to_keep"] = last
        outputs = self.model(**inputs)
        return outputs.logits[:, -last:], outputs

    def _head(self, states: Tensor, outputs: Any) -> Tensor:
        """The model's own logits of some hidden states, whatever it does to them after its output embedding."""
        found = type(outputs)(last_hidden_state=states[None])
        with _standing_in(self._body, found):
            logits: Tensor = self.model(input_ids=states.new_zeros(1, len(states), dtype=torch.long)).logits
        return logits[0]

    def _inputs(self, prompts: list[Prompt], more: int, ways: Ways) -> dict[str, Any]:
        """The model's inputs for prompts of one length; those with one entry a token continue for `more` tokens."""
        inputs = {"input_ids": torch.tensor([prompt.ids for prompt in prompts])}
        for name in prompts[0].sequence_inputs:
            values = torch.cat([prompt.sequence_inputs[name] for prompt in prompts])
            # An answer's token is of the kind of the prompt's last token: text, which sees the image before it.
            inputs[name] = torch.cat([values, values[:, -1:].expand(-1, more, *values.shape[2:])], dim=1)
        moved = {name: to_model(value, self.model) for name, value in inputs.items()}
        return moved | self.features.inputs(prompts, reused=ways.images)

    def _padded(self, rows: list[list[int]], length: int) -> Tensor:
        # Any token serves as padding: no attention is paid to it, and its logits are not looked at.
        ids = [row + [0] * (length - len(row)) for row in rows]
        return torch.tensor(ids, dtype=torch.long, device=self.model.device)


def _rows_at_once(batch: AnswerBatch) -> int:
    """How many copies of a prompt's keys and values hold half as many tokens together as the batch, or few."""
    return max(1, max(batch.tokens() // 2, _FEW) // len(batch.prompts[0].ids))


@contextmanager
def _standing_in(module: Module, outputs: Any) -> Iterator[None]:
    """While it is open, `module` returns `outputs`, whatever it is given."""
    own = vars(module).get("forward")
    module.forward = lambda *args, **kwargs: outputs
    try:
        yield
    finally:
        if own is None:
            del module.forward
        else:
            module.forward = own
