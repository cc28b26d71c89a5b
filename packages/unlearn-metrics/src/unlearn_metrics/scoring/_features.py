"""What a vision tower makes of images, each image once."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from unlearn_metrics.scoring._encoding import Encoder, Prompt
from unlearn_metrics.scoring._loading import is_wrapped
from unlearn_metrics.scoring._memory import is_out_of_memory

# The name under which a model takes what its own `get_image_features` returned before.
_FEATURES = "mm_encoder_outputs"


class _Seen(NamedTuple):
    features: Tensor | list[Tensor]
    """as `get_image_features` pools them"""
    others: Mapping[str, Tensor]
    """the image's inputs other than its pixels, such as its size"""

    def nbytes(self) -> int:
        return sum(value.nbytes for value in (*self.features, *self.others.values()))


class ImageFeatures:
    """The inputs of images for one model: features where it takes them, or else pixels.

    Args:
        model: A vision-language model, or any other.
        encoder: Whose prompts they are of.
        kept_bytes: Memory for features; beyond it, those that were used longest ago are computed again.
    """

    def __init__(self, model: PreTrainedModel, encoder: Encoder, *, kept_bytes: int = 2**30) -> None:
        self.model, self.encoder, self.kept_bytes = model, encoder, kept_bytes
        takes_features = _FEATURES in inspect.signature(model.forward).parameters and not is_wrapped(model)
        self._usable: bool | None = None if takes_features else False
        self._seen: dict[str, _Seen] = {}
        self._bytes = 0

    def inputs(self, prompts: Sequence[Prompt], *, reused: bool) -> dict[str, Any]:
        """Return the inputs for the images of prompts of one shape; the tower's own are made where not `reused`."""
        prompts = [prompt for prompt in prompts if prompt.image is not None]
        if not prompts:
            return {}
        if not reused:
            return self._pixels(prompts)
        seen = self._all(prompts)
        others = {name: torch.cat([each.others[name] for each in seen]) for name in seen[0].others}
        return {_FEATURES: {"image": _pooled([each.features for each in seen])}, **others}

    def usable(self, prompt: Prompt) -> bool:
        """Whether the model gives from features what it gives from pixels, tried on the first prompt with an image."""
        if self._usable is None and prompt.image is not None:
            self._usable = self._agrees(prompt)
        return bool(self._usable and prompt.image is not None)

    @torch.inference_mode()
    def _agrees(self, prompt: Prompt) -> bool:
        sequence = {"input_ids": torch.tensor([prompt.ids]), **prompt.sequence_inputs}
        inputs = {name: to_model(value, self.model) for name, value in sequence.items()}
        plain = self.model(**inputs, **self.inputs([prompt], reused=False)).logits
        try:
            found = self.model(**inputs, **self.inputs([prompt], reused=True)).logits
        except Exception as error:  # whatever an architecture does not support
            if is_out_of_memory(error):
                raise
            return False
        return torch.allclose(found.log_softmax(-1), plain.log_softmax(-1), rtol=0, atol=tolerance(self.model))

    def _pixels(self, prompts: Sequence[Prompt]) -> dict[str, Any]:
        return {name: to_model(value, self.model) for name, value in self.encoder.image_inputs(prompts).items()}

    def _all(self, prompts: Sequence[Prompt]) -> list[_Seen]:
        wanted = {prompt.image_key: prompt for prompt in prompts}
        known = {key: self._seen.pop(key) for key in wanted if key in self._seen}
        new = [prompt for key, prompt in wanted.items() if key not in known]
        known |= zip((prompt.image_key for prompt in new), self._computed(new), strict=True)
        self.encoder.drop_image_inputs(new)  # features take their place
        self._seen |= known  # now those that were used last
        self._bytes += sum(known[prompt.image_key].nbytes() for prompt in new)
        while self._bytes > self.kept_bytes and len(self._seen) > 1:
            self._bytes -= self._seen.pop(next(iter(self._seen))).nbytes()
        return [known[prompt.image_key] for prompt in prompts]

    def _computed(self, prompts: Sequence[Prompt]) -> list[_Seen]:
        if not prompts:
            return []
        inputs = self._pixels(prompts)
        compute: Any = self.model.get_image_features
        taken = inspect.signature(compute).parameters
        features = compute(**{name: value for name, value in inputs.items() if name in taken}).pooler_output
        count = len(prompts)
        # Prompts of one shape: their parts of an input are of one size.
        others = {name: value.chunk(count) for name, value in inputs.items() if not name.startswith("pixel_")}
        if count == 1:
            return [_Seen(features, {name: value for name, (value,) in others.items()})]
        if len(features) != count:
            # More than one entry an image: what belongs to which is seen by asking for each alone.
            return [seen for prompt in prompts for seen in self._computed([prompt])]
        return [_Seen(features[n : n + 1], {name: value[n] for name, value in others.items()}) for n in range(count)]


def _pooled(features: Sequence[Tensor | list[Tensor]]) -> BaseModelOutputWithPooling:
    tensors = [each for each in features if isinstance(each, Tensor)]
    joined: Any = torch.cat(tensors) if tensors else [entry for each in features for entry in each]
    return BaseModelOutputWithPooling(pooler_output=joined)


def to_model(value: Tensor, model: PreTrainedModel) -> Tensor:
    """Move an input to the model's device, and to its dtype if it is a floating number."""
    return value.to(model.device, model.dtype if value.is_floating_point() else value.dtype)


def tolerance(model: PreTrainedModel) -> float:
    """How far log-probabilities may be apart that were computed in another order; half precision rounds coarsely."""
    return max(1e-4, 32 * torch.finfo(model.dtype).eps)
