"""From questions to the tokens of answers, by the model's own `generate`; what has ended leaves the batch."""

import hashlib
import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedModel
from transformers.generation.logits_process import TopPLogitsWarper

from unlearn_metrics.scoring._batches import Reply, ReplyBatch
from unlearn_metrics.scoring._cache import PromptCache
from unlearn_metrics.scoring._encoding import Prompt
from unlearn_metrics.scoring._features import ImageFeatures, to_model
from unlearn_metrics.scoring._loading import is_wrapped
from unlearn_metrics.scoring._requests import Question

# After so many tokens, rows that have ended leave the batch.
_STEPS = 16
# After so many, and then twice as many each time, rows that have not ended are put together.
_ROUND = 48


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How answers are drawn; the same question, number of sample and seed give the same answer in any batch.

    Raises:
        ValueError: If an option is out of its range.

    Example:
        >>> Sampling(samples=8, seed=1).temperature
        1.0
    """

    samples: int = 1
    """answers to each question"""
    temperature: float = 1.0
    top_p: float = 1.0
    """the likeliest tokens that have this probability together are drawn from"""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("samples", "temperature", "top_p"):
            if not getattr(self, name) > 0:
                raise ValueError(f"`{name}` must be positive, got {getattr(self, name)}.")
        if self.top_p > 1:
            raise ValueError(f"`top_p` must be at most 1, got {self.top_p}.")

    def seed_for(self, question: Question) -> int:
        """Return the seed of one answer, which depends on nothing but the question and the sample's number."""
        key = f"{self.seed} {question.sample} {question.prompt.image_key} {question.prompt.text}"
        return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=7).digest())


class Decoder:
    """Continues prompts, greedily or by drawing.

    What the model's generation config says of sampling, beams and penalties does not count. An answer stops at the end
    token of its template or at those of the generation config, and where the model's context does.

    Args:
        model: Vision-language or language model.
        features: Of the images.
        max_new_tokens: Where an answer is cut that does not end by itself.
        context: How many tokens the model can read; None where that is not limited.
        sampling: How answers are drawn; the most probable token each time where None.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        features: ImageFeatures,
        *,
        max_new_tokens: int,
        context: int | None,
        sampling: Sampling | None,
    ) -> None:
        self.model, self.features, self.sampling = model, features, sampling
        self.max_new_tokens, self.context = max_new_tokens, context
        # Some models keep what they have read under another name, or not at all: they read it anew.
        self._continues = "past_key_values" in inspect.signature(model.forward).parameters
        # What is around a model may keep rows in mind that must not leave.
        self._steps = max_new_tokens if is_wrapped(model) else _STEPS
        # What is kept of the prompts gets room for answers after the first token.
        self._first_steps = 1 if self._continues and not is_wrapped(model) else self._steps

    def rounds(self) -> list[int]:
        """Return how many tokens answers may have by the end of each round, before which they are read again.

        There is but one where an answer cannot be read again: what is around a model keeps it in mind, and in models of
        images a token of an answer may stand for one.
        """
        ends = [self.max_new_tokens]
        reads_text_alone = self.model.config.get_text_config() is self.model.config
        while ends[0] >= 2 * _ROUND and reads_text_alone and not is_wrapped(self.model):
            ends.insert(0, ends[0] // 2)
        return ends

    def room(self, prompt: Prompt) -> int:
        """Return how many tokens an answer may have."""
        # The last token need not be read.
        left = self.max_new_tokens if self.context is None else self.context - len(prompt.ids) + 1
        return min(self.max_new_tokens, left)

    @torch.inference_mode()
    def __call__(self, batch: ReplyBatch) -> list[tuple[Reply, bool]]:
        """Go on with each answer, up to its first end token or to `batch.until`.

        Returns:
            The replies, and whether each has ended.
        """
        prompts = batch.prompts
        answers = [list(reply.ids) for reply in batch.replies]
        draws = [self._noise(reply) for reply in batch.replies]
        inputs = {name: to_model(value, self.model) for name, value in _left_padded(batch.replies).items()}
        room = [min(batch.until, self.room(prompt)) for prompt in prompts]
        images = self.features.inputs(prompts, reused=self.features.usable(prompts[0]))
        cache, alive, most = None, list(range(len(prompts))), self._first_steps
        with _own_config_aside(self.model, prompts[0].end) as ends:
            while alive:
                steps = min(most, *(room[n] - len(answers[n]) for n in alive))
                more = {"past_key_values": cache} if cache is not None else images
                found = self._continued(inputs | more, prompts[0].end, ends, steps, [draws[n] for n in alive])
                fresh = found.sequences[:, inputs["input_ids"].shape[1] :].tolist()
                for n, ids in zip(alive, fresh, strict=True):
                    answers[n] += ids
                staying = [k for k, n in enumerate(alive) if self._goes_on(answers[n], room[n], ends)]
                alive = [alive[k] for k in staying]
                most = self._steps
                if alive:
                    inputs, cache, images = self._remaining(inputs, found, images, staying, prompts, alive)
        return [
            (Reply(reply.question, tuple(_cut(ids, ends))), not self._goes_on(ids, self.room(prompt), ends))
            for reply, prompt, ids in zip(batch.replies, prompts, answers, strict=True)
        ]

    def _continued(
        self, inputs: dict[str, Any], pad: int, ends: Sequence[int], steps: int, draws: "Sequence[_Noise | None]"
    ) -> Any:
        config = GenerationConfig(  # type: ignore[no-untyped-call]
            do_sample=False,
            max_new_tokens=steps,
            eos_token_id=list(ends),
            pad_token_id=pad,
            return_dict_in_generate=True,
        )
        processors = LogitsProcessorList([_Draw(draws, self.sampling)] if self.sampling else [])
        generate: Any = self.model.generate  # a mixin that its stubs take for a tensor
        return generate(**inputs, generation_config=config, logits_processor=processors)

    def _remaining(
        self,
        inputs: dict[str, Tensor],
        found: Any,
        images: dict[str, Any],
        staying: list[int],
        prompts: Sequence[Prompt],
        alive: list[int],
    ) -> tuple[dict[str, Tensor], Any, dict[str, Any]]:
        """What the rows that go on are continued from."""
        rows = torch.tensor(staying, device=self.model.device)
        ids = found.sequences[rows]
        fresh = ids.shape[1] - inputs["input_ids"].shape[1]
        # A new token is read like the prompt's last one: text, to be attended to.
        longer = {
            name: torch.cat([value, value[:, -1:].expand(-1, fresh, *value.shape[2:])], dim=1)[rows]
            for name, value in inputs.items()
        }
        memory = PromptCache(self.model, found.get("past_key_values"))
        if self._continues and memory.divisible():
            return longer | {"input_ids": ids}, memory.rows(staying, room=self._steps, last=True), images
        if self._continues and len(staying) == len(inputs["input_ids"]):
            return longer | {"input_ids": ids}, memory.cache, images
        # What there is is read anew.
        images = self.features.inputs([prompts[n] for n in alive], reused=self.features.usable(prompts[0]))
        return longer | {"input_ids": ids}, None, images

    def _goes_on(self, answer: list[int], room: int, ends: Sequence[int]) -> bool:
        return len(answer) < room and not set(ends).intersection(answer[-self._steps :])

    def _noise(self, reply: Reply) -> "_Noise | None":
        return _Noise(self.sampling.seed_for(reply.question), len(reply.ids)) if self.sampling else None


class _Noise:
    """The random numbers of one answer; on the CPU, so that the device and the other rows change nothing.

    Args:
        seed: of the answer.
        drawn: tokens that it has already.
    """

    def __init__(self, seed: int, drawn: int) -> None:
        self._generator, self._drawn = torch.Generator().manual_seed(seed), drawn

    def __call__(self, vocabulary: int) -> Tensor:
        for _ in range(self._drawn):
            torch.empty(vocabulary).exponential_(generator=self._generator)
        self._drawn = 0
        return torch.empty(vocabulary).exponential_(generator=self._generator)


class _Draw(LogitsProcessor):
    """Noise by which the most probable token becomes one that is drawn (Gumbel, 1954: the argmax of log p + noise)."""

    def __init__(self, draws: Sequence[_Noise | None], sampling: Sampling) -> None:
        self.draws, self.sampling = draws, sampling

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        scores = scores / self.sampling.temperature
        if self.sampling.top_p < 1:
            scores = TopPLogitsWarper(self.sampling.top_p)(input_ids, scores)
        drawn = [draw(scores.shape[1]) for draw in self.draws if draw is not None]
        noise: Tensor = torch.stack(drawn).clamp_(min=1e-30).log_().to(scores.device)
        return scores - noise


@contextmanager
def _own_config_aside(model: PreTrainedModel, end: int) -> Iterator[list[int]]:
    """The tokens that end an answer: `end` and the model's own; while it is open, the model has no config of its own.

    What a config leaves open, `model.generate` takes from the model's. Penalties of repetition, for one, would count
    padding as text.
    """
    own: Any = model.generation_config
    model.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]
    try:
        yield sorted({end, *_listed(own and own.eos_token_id)})
    finally:
        model.generation_config = own


def _listed(tokens: int | list[int] | None) -> list[int]:
    return [] if tokens is None else [tokens] if isinstance(tokens, int) else tokens


def _left_padded(replies: Sequence[Reply]) -> dict[str, Tensor]:
    """Token inputs [replies, longest]; the mask comes from lengths, so a padding token may be a real one elsewhere."""
    longest = max(len(reply.read) for reply in replies)
    ids = [[reply.question.prompt.end] * (longest - len(reply.read)) + reply.read for reply in replies]
    mask = [[0] * (longest - len(reply.read)) + [1] * len(reply.read) for reply in replies]
    inputs = {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
    for name in replies[0].question.prompt.sequence_inputs:
        inputs[name] = torch.cat([_pad(reply, name, longest) for reply in replies])
    return inputs


def _pad(reply: Reply, name: str, longest: int) -> Tensor:
    """Zeros on the left; a token of the answer is read like the prompt's last one: text, to be attended to."""
    value = reply.question.prompt.sequence_inputs[name]
    padding = value.new_zeros(1, longest - len(reply.read), *value.shape[2:])
    return torch.cat([padding, value, value[:, -1:].expand(-1, len(reply.ids), *value.shape[2:])], dim=1)


def _cut(ids: Sequence[int], ends: Sequence[int]) -> list[int]:
    stop = next((n for n, token in enumerate(ids) if token in ends), len(ids))
    return list(ids[:stop])
