"""From questions to the tokens of answers, by the model's own `generate`; what has ended leaves the batch."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedModel
from transformers.generation.logits_process import TopPLogitsWarper

from unlearn_metrics.scoring._batches import QuestionBatch
from unlearn_metrics.scoring._cache import PromptCache
from unlearn_metrics.scoring._encoding import Prompt
from unlearn_metrics.scoring._features import ImageFeatures, to_model
from unlearn_metrics.scoring._loading import is_wrapped
from unlearn_metrics.scoring._requests import Question

# After so many tokens, rows that have ended leave the batch.
_STEPS = 16


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
        # What is around a model may keep rows in mind that must not leave.
        self._steps = max_new_tokens if is_wrapped(model) else _STEPS

    def room(self, prompt: Prompt) -> int:
        """Return how many tokens an answer may have."""
        # The last token need not be read.
        left = self.max_new_tokens if self.context is None else self.context - len(prompt.ids) + 1
        return min(self.max_new_tokens, left)

    @torch.inference_mode()
    def __call__(self, batch: QuestionBatch) -> list[list[int]]:
        """Return the tokens that answer each question, up to the first end token."""
        questions = batch.questions
        prompts = [question.prompt for question in questions]
        answers: list[list[int]] = [[] for _ in questions]
        draws = [self._generator(question) for question in questions]
        inputs = {name: to_model(value, self.model) for name, value in _left_padded(prompts).items()}
        images = self.features.inputs(prompts, reused=self.features.usable(prompts[0]))
        cache, alive = None, list(range(len(questions)))
        with _own_config_aside(self.model, prompts[0].end) as ends:
            while alive:
                steps = min(self._steps, *(self.room(prompts[n]) - len(answers[n]) for n in alive))
                more = {"past_key_values": cache} if cache is not None else images
                found = self._continued(inputs | more, prompts[0].end, ends, steps, [draws[n] for n in alive])
                fresh = found.sequences[:, inputs["input_ids"].shape[1] :].tolist()
                for n, ids in zip(alive, fresh, strict=True):
                    answers[n] += ids
                staying = [k for k, n in enumerate(alive) if self._goes_on(answers[n], prompts[n], ends)]
                alive = [alive[k] for k in staying]
                if alive:
                    inputs, cache, images = self._remaining(inputs, found, images, staying, prompts, alive)
        return [_cut(ids, ends) for ids in answers]

    def _continued(
        self, inputs: dict[str, Any], pad: int, ends: Sequence[int], steps: int, draws: Sequence[torch.Generator | None]
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
        if len(staying) == len(inputs["input_ids"]):
            return longer | {"input_ids": ids}, memory.cache, images
        if memory.divisible():
            return longer | {"input_ids": ids}, memory.rows(staying, last=True), images
        # What there is is read anew.
        images = self.features.inputs([prompts[n] for n in alive], reused=self.features.usable(prompts[0]))
        return longer | {"input_ids": ids}, None, images

    def _goes_on(self, answer: list[int], prompt: Prompt, ends: Sequence[int]) -> bool:
        return len(answer) < self.room(prompt) and not set(ends).intersection(answer[-self._steps :])

    def _generator(self, question: Question) -> torch.Generator | None:
        return torch.Generator().manual_seed(self.sampling.seed_for(question)) if self.sampling else None


class _Draw(LogitsProcessor):
    """Noise by which the most probable token becomes one that is drawn (Gumbel, 1954: the argmax of log p + noise)."""

    def __init__(self, draws: Sequence[torch.Generator | None], sampling: Sampling) -> None:
        self.draws, self.sampling = draws, sampling

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        scores = scores / self.sampling.temperature
        if self.sampling.top_p < 1:
            scores = TopPLogitsWarper(self.sampling.top_p)(input_ids, scores)
        # On the CPU, and a generator for each row: the device and the other rows change nothing.
        drawn = [torch.empty(scores.shape[1]).exponential_(generator=draw) for draw in self.draws]
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


def _left_padded(prompts: Sequence[Prompt]) -> dict[str, Tensor]:
    """Token inputs [prompts, longest]; the mask comes from lengths, so a padding token may be a real one elsewhere."""
    longest = max(len(prompt.ids) for prompt in prompts)
    ids = [[prompt.end] * (longest - len(prompt.ids)) + list(prompt.ids) for prompt in prompts]
    mask = [[0] * (longest - len(prompt.ids)) + [1] * len(prompt.ids) for prompt in prompts]
    inputs = {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
    for name in prompts[0].sequence_inputs:
        inputs[name] = torch.cat([_pad_left(prompt.sequence_inputs[name], longest) for prompt in prompts])
    return inputs


def _pad_left(value: Tensor, longest: int) -> Tensor:
    padding = value.new_zeros(1, longest - value.shape[1], *value.shape[2:])
    return torch.cat([padding, value], dim=1)


def _cut(ids: Sequence[int], ends: Sequence[int]) -> list[int]:
    stop = next((n for n, token in enumerate(ids) if token in ends), len(ids))
    return list(ids[:stop])
