"""From encoded answers to numbers for each answer token: batches, forward passes, statistics over the vocabulary."""

import inspect
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from unlearn_metrics.scoring._encoding import Encoder, Prompt

# Entries of float32 log-probabilities that are held at a time: 64 MB.
_CHUNK = 2**24


class TokenScores(NamedTuple):
    """What the model says of the tokens of one answer, each [tokens]."""

    tokens: np.ndarray
    """int32, end token included"""
    logp: np.ndarray
    """float32, natural logarithm of the token's probability"""
    hit: np.ndarray
    """bool, whether the token was the most probable"""
    mean: np.ndarray
    """float32, expectation of log p, the vocabulary weighted by p"""
    std: np.ndarray
    """float32, standard deviation of log p, the vocabulary weighted by p"""


class Batch(NamedTuple):
    """Prompts of one length and shape, each with as many answers as the others."""

    prompts: list[Prompt]
    answers: list[list[list[int]]]
    """[prompts, answers of a prompt, answer tokens]"""

    def flat(self) -> list[list[int]]:
        """Return the answers, those to the first prompt first."""
        return [ids for answers in self.answers for ids in answers]

    def tokens(self) -> int:
        """Return the number of tokens in a right-padded batch of whole sequences."""
        answers = self.flat()
        return len(answers) * (len(self.prompts[0].ids) + max(map(len, answers)))

    def halves(self) -> "tuple[Batch, Batch] | None":
        """Return two batches, split between prompts or else between answers; None if there is but one answer."""
        if len(self.prompts) > 1:
            cut = len(self.prompts) // 2
            return Batch(self.prompts[:cut], self.answers[:cut]), Batch(self.prompts[cut:], self.answers[cut:])
        if len(self.answers[0]) > 1:
            cut = len(self.answers[0]) // 2
            return Batch(self.prompts, [self.answers[0][:cut]]), Batch(self.prompts, [self.answers[0][cut:]])
        return None


def batches(requests: Mapping[Prompt, Sequence[list[int]]], token_budget: int) -> Iterator[Batch]:
    """Group prompts of one length, shape and number of answers, up to `token_budget` tokens of whole sequences.

    Equal lengths leave no padding between a prompt and its answers; equal numbers of answers let a cache be repeated.
    """
    groups: dict[tuple[Any, ...], list[Prompt]] = defaultdict(list)
    for prompt, answers in requests.items():
        groups[len(prompt.ids), prompt.shape, len(answers)].append(prompt)
    # The longest first: if memory does not suffice, it shows at once.
    for _, prompts in sorted(groups.items(), key=lambda group: group[0][0], reverse=True):
        prompts.sort(key=lambda prompt: max(map(len, requests[prompt])), reverse=True)
        batch = Batch([], [])
        for prompt in prompts:
            larger = Batch([*batch.prompts, prompt], [*batch.answers, list(requests[prompt])])
            if batch.prompts and larger.tokens() > token_budget:
                yield batch
                larger = Batch([prompt], [list(requests[prompt])])
            batch = larger
        yield batch


class Forward:
    """Forward passes of one model over batches, logits at answer positions only.

    A prompt that has many answers can be read once and its cache repeated for the answers. That is not right for every
    architecture, so by default it is done only in float32, and only for the kinds of prompts (text, image) for which
    it gives, on the first batch, what whole sequences give; these are the reference.

    Args:
        model: Any model with `forward(input_ids, attention_mask, ...).logits`.
        encoder: Whose prompts the batches hold.
        share_prompts: Whether to read a prompt once for all its answers; None decides as described.
    """

    def __init__(self, model: PreTrainedModel, encoder: Encoder, *, share_prompts: bool | None = None) -> None:
        self.model, self.encoder, self.share_prompts = model, encoder, share_prompts
        self._is_shared: dict[tuple[str, ...], bool] = {}
        self._keeps_logits = "logits_to_keep" in inspect.signature(model.forward).parameters

    @torch.inference_mode()
    def score(self, batch: Batch) -> list[TokenScores]:
        """Score every answer of `batch`, split in halves as often as memory asks for.

        Raises:
            torch.OutOfMemoryError: If memory does not suffice for one answer.
            ValueError: If a log-probability is NaN or infinite.
        """
        halves = batch.halves()
        try:
            return self._score(batch, self.shared if self._shares(batch) else self.whole)
        except torch.OutOfMemoryError:
            if halves is None:
                raise
        # Outside of the handler, which would keep the failed pass's tensors alive.
        return [scores for half in halves for scores in self.score(half)]

    def whole(self, batch: Batch) -> Tensor:
        """One pass over whole sequences: the logits [answers, longest answer, vocabulary] of the answer tokens."""
        answers = batch.flat()
        repeats = len(answers) // len(batch.prompts)
        prompts = [prompt for prompt in batch.prompts for _ in range(repeats)]
        length = max(map(len, answers))
        # The last token predicts nothing, so the model need not read it.
        fed = [ids[:-1] for ids in answers]
        inputs = self._inputs(prompts, length - 1)
        inputs["input_ids"] = torch.cat([inputs["input_ids"], self._padded(fed, length - 1)], dim=1)
        inputs["attention_mask"] = torch.zeros_like(inputs["input_ids"])
        for row, (prompt, ids) in enumerate(zip(prompts, fed, strict=True)):
            inputs["attention_mask"][row, : len(prompt.ids) + len(ids)] = 1
        return self._logits(length, use_cache=False, **inputs)[0]

    def shared(self, batch: Batch) -> Tensor:
        """The same logits in two passes: prompts, then answers on top of the prompts' repeated cache."""
        answers = batch.flat()
        repeats = len(answers) // len(batch.prompts)
        length = max(map(len, answers))
        inputs = self._inputs(batch.prompts, 0)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        first, cache = self._logits(1, use_cache=True, **inputs)
        first = first.repeat_interleave(repeats, dim=0)
        if length == 1:
            return first
        cache.batch_repeat_interleave(repeats)
        # Nothing follows the padding, so a causal model needs no mask to keep it from being read.
        fed = self._padded([ids[:-1] for ids in answers], length - 1)
        rest, _ = self._logits(length - 1, input_ids=fed, past_key_values=cache, use_cache=True)
        return torch.cat([first, rest], dim=1)

    def _shares(self, batch: Batch) -> bool:
        if len(batch.answers[0]) == 1 or self.share_prompts is not None:
            return len(batch.answers[0]) > 1 and bool(self.share_prompts)
        kind = tuple(name for name, _ in batch.prompts[0].shape)
        if kind not in self._is_shared:
            self._is_shared[kind] = self.model.dtype == torch.float32 and self._agree(batch)
        return self._is_shared[kind]

    def _agree(self, batch: Batch) -> bool:
        """Whether a prompt that is read once gives the scores of whole sequences, tried on two prompts."""
        sample = Batch(batch.prompts[:2], batch.answers[:2])
        whole = self._score(sample, self.whole)
        try:
            shared = self._score(sample, self.shared)
        except Exception:  # whatever an architecture does not support; errors of another cause come back with `whole`
            return False
        return all(np.allclose(a.logp, b.logp, rtol=0, atol=1e-4) for a, b in zip(whole, shared, strict=True))

    def _score(self, batch: Batch, forward: Callable[[Batch], Tensor]) -> list[TokenScores]:
        answers = batch.flat()
        logits = forward(batch)
        lengths = [len(ids) for ids in answers]
        real = torch.arange(logits.shape[1]) < torch.tensor(lengths)[:, None]
        targets = torch.tensor([token for ids in answers for token in ids], device=logits.device)
        columns = token_statistics(logits[real.to(logits.device)], targets)
        if not all(column.isfinite().all() for column in columns):
            raise ValueError(
                f"the model gives a log-probability that is NaN or infinite, in answers to {batch.prompts[0].text!r}"
                " or others like it. Look at its weights, or load it in float32."
            )
        split = [torch.split(column.cpu(), lengths) for column in (targets.int(), *columns)]
        return [TokenScores(*(tensor.numpy() for tensor in row)) for row in zip(*split, strict=True)]

    def _inputs(self, prompts: list[Prompt], more: int) -> dict[str, Tensor]:
        """The model's inputs for prompts of one length; those with one entry a token continue for `more` tokens."""
        inputs = {"input_ids": torch.tensor([prompt.ids for prompt in prompts])}
        for name in prompts[0].sequence_inputs:
            values = torch.cat([prompt.sequence_inputs[name] for prompt in prompts])
            # An answer's token is of the kind of the prompt's last token: text, which sees the image before it.
            inputs[name] = torch.cat([values, values[:, -1:].expand(-1, more, *values.shape[2:])], dim=1)
        inputs |= self.encoder.image_inputs(prompts)
        return {name: to_model(value, self.model) for name, value in inputs.items()}

    def _padded(self, rows: list[list[int]], length: int) -> Tensor:
        # Any token serves as padding: no attention is paid to it, and its logits are not looked at.
        ids = [row + [0] * (length - len(row)) for row in rows]
        return torch.tensor(ids, dtype=torch.long, device=self.model.device)

    def _logits(self, last: int, **inputs: Any) -> tuple[Tensor, Any]:
        if self._keeps_logits:
            inputs["logits_to_keep"] = last
        outputs = self.model(**inputs)
        return outputs.logits[:, -last:], outputs.get("past_key_values")


def to_model(value: Tensor, model: PreTrainedModel) -> Tensor:
    """Move an input to the model's device, and to its dtype if it is a floating number."""
    return value.to(model.device, model.dtype if value.is_floating_point() else value.dtype)


def token_statistics(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return log-probability, hit, and mean and standard deviation of log p, in float32.

    Args:
        logits: [tokens, vocabulary], of any floating dtype.
        targets: [tokens], the token at each position.

    Returns:
        Four tensors [tokens], see `TokenScores`.

    Example:
        >>> import torch
        >>> logp, hit, mean, std = token_statistics(torch.zeros(1, 4), torch.tensor([2]))
        >>> logp.exp().item(), hit.item(), mean.exp().item(), std.item()
        (0.25, False, 0.25, 0.0)
    """
    rows = max(1, _CHUNK // logits.shape[-1])
    pairs = zip(torch.split(logits, rows), torch.split(targets, rows), strict=True)
    columns = zip(*(_chunk_statistics(chunk.float(), wanted) for chunk, wanted in pairs), strict=True)
    logp, hit, mean, std = (torch.cat(column) for column in columns)
    return logp, hit, mean, std


def _chunk_statistics(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    logps = logits.log_softmax(-1)
    probabilities = logps.exp()
    # A token of probability 0 adds nothing, but 0 · -inf would be NaN; NaN itself passes through.
    finite = logps.clamp(min=-1e4)
    mean = (probabilities * finite).sum(-1)
    variance = (probabilities * (finite - mean[:, None]).square()).sum(-1)
    logp = logps.gather(-1, targets[:, None]).squeeze(-1)
    return logp, logits.argmax(-1) == targets, mean, variance.sqrt()
