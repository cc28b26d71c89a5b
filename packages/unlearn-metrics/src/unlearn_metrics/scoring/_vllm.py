"""Generation by vLLM, for large models: another engine behind the same function."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unlearn_metrics.scoring._decoding import Sampling
from unlearn_metrics.scoring._encoding import Encoder
from unlearn_metrics.scoring._requests import Question


class VLLM:
    """A model in vLLM, which generates; it cannot score, as vLLM gives no mean and deviation over the vocabulary.

    Args:
        name: Model folder, or name on the Hugging Face hub.
        options: Of `vllm.LLM`, such as `tensor_parallel_size` or `dtype`.

    Raises:
        ImportError: If vLLM is not installed.
    """

    def __init__(self, name: str | Path, **options: Any) -> None:
        try:
            import vllm  # type: ignore[import-not-found]
        except ImportError as error:
            raise ImportError('generation by vLLM needs it: pip install "unlearn-metrics[score,vllm]"') from error
        self.engine: Any = vllm.LLM(model=str(name), **options)
        self._parameters: Any = vllm.SamplingParams

    def continuations(
        self, encoder: Encoder, questions: Sequence[Question], max_new_tokens: int, sampling: Sampling | None
    ) -> list[list[int]]:
        """Return the tokens that answer each question, without the end token."""
        prompts = [self._prompt(encoder, question) for question in questions]
        parameters = [self._sampled(question, max_new_tokens, sampling) for question in questions]
        outputs = self.engine.generate(prompts, parameters, use_tqdm=False)
        ends = [question.prompt.end for question in questions]
        found = [list(output.outputs[0].token_ids) for output in outputs]
        return [ids[: ids.index(end)] if end in ids else ids for ids, end in zip(found, ends, strict=True)]

    def _prompt(self, encoder: Encoder, question: Question) -> dict[str, Any]:
        # An image's token is expanded by vLLM itself.
        prompt = question.prompt
        given: dict[str, Any] = {"prompt_token_ids": encoder.unexpanded(prompt)}
        return given if prompt.image is None else given | {"multi_modal_data": {"image": prompt.image}}

    def _sampled(self, question: Question, max_new_tokens: int, sampling: Sampling | None) -> Any:
        how = {"max_tokens": max_new_tokens, "stop_token_ids": [question.prompt.end], "temperature": 0.0}
        if sampling:
            drawn = {"temperature": sampling.temperature, "top_p": sampling.top_p}
            how |= drawn | {"seed": sampling.seed_for(question)}
        return self._parameters(**how)
