"""Photographs from any text-to-image or image-to-image pipeline of diffusers."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from clear_data.faces._base import FaceRequest, FaceSource, Person, Photographs, check_requests, derived_seed
from clear_data.faces._extra import need_generate
from clear_data.faces._files import hash_files
from clear_data.faces.pool import PortraitPool
from clear_data.faces.prompts import TEMPLATE, check_template, prompt_for

ATTEMPTS = 4
"""How often a photograph is drawn that the pipeline's safety checker blacks out."""


@dataclass(frozen=True, kw_only=True)
class PipelineOptions:
    """How a pipeline draws.

    Attributes:
        prompt: Template; may name {old}, {gender}, {name}, {setting}, {ethnicity}.
        negative_prompt: What to avoid; not passed where it is None, since some pipelines take none.
        steps: Steps of the scheduler.
        guidance: Guidance scale.
        strength: For image-to-image: 0 keeps the portrait, 1 ignores it.
        batch: Photographs of one subject drawn together. Enters the result by rounding, so it is part of the identity.
        size: Side of the photographs in pixels.
        device: Where the pipeline runs: `"cpu"`, `"cuda"`, `"cuda:1"`, `"mps"`.
        dtype: `"float32"`, `"float16"` or `"bfloat16"`.
        revision: Branch, tag or commit of a hub name. Name a commit to be sure to draw the same again.
    """

    prompt: str = TEMPLATE
    negative_prompt: str | None = None
    steps: int = 30
    guidance: float = 7.5
    strength: float = 0.6
    batch: int = 4
    size: int = 512
    device: str = "cpu"
    dtype: str = "float32"
    revision: str | None = None

    def __post_init__(self) -> None:
        check_template(self.prompt)
        for name in ("steps", "batch", "size"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        if self.size % 8:
            raise ValueError(f"`size` must be a multiple of 8, got {self.size}.")
        if not 0 < self.strength <= 1:
            raise ValueError(f"`strength` must be above 0 and at most 1, got {self.strength}.")
        # Image-to-image takes the last `strength` of the steps, which must be one at least.
        if int(self.steps * self.strength) < 1:
            raise ValueError(f"`steps` times `strength` must reach 1, got {self.steps} times {self.strength}.")
        if self.dtype not in ("float32", "float16", "bfloat16"):
            raise ValueError(f"`dtype` must be float32, float16 or bfloat16, got {self.dtype!r}.")


class PipelineFaces(FaceSource):
    """Photographs that a diffusers pipeline draws from a prompt, or from a prompt and a portrait.

    Args:
        pipeline: A folder in the layout of diffusers, or a name on the Hugging Face hub.
        pool: Draw image-to-image, starting from the portrait that each subject gets from this pool. From the prompt
            alone where it is None: then nothing but the name ties the photographs of a subject together.
        options: How to draw.

    Raises:
        ImportError: torch, diffusers or transformers is missing; names the extra.
        ValueError: What is named as a folder is no pipeline.
    """

    def __init__(
        self, pipeline: str | Path, *, pool: PortraitPool | None = None, options: PipelineOptions | None = None
    ) -> None:
        need_generate()
        folder = Path(pipeline)
        if folder.exists() and not (folder / "model_index.json").is_file():
            raise ValueError(f"{folder} is no diffusers pipeline: it has no model_index.json.")
        self.pipeline, self.pool, self.options = pipeline, pool, options or PipelineOptions()

    def persons(self) -> Sequence[Person] | None:
        """Whose portraits the pool has; None without a pool."""
        return self.pool.persons if self.pool else None

    def photographs(
        self, requests: Sequence[FaceRequest], count: int, *, seed: int, done: Collection[str] = ()
    ) -> Iterator[Photographs]:
        """Yield `count` photographs of each subject, each from its own prompt and noise."""
        check_requests(requests, count)
        chosen = self.pool.assign(requests, seed=seed) if self.pool else {}
        left = (request for request in requests if request.subject not in done)
        return ((r.subject, self._draw(r, chosen.get(r.subject), count, seed)) for r in left)

    def _draw(self, request: FaceRequest, person: str | None, count: int, seed: int) -> list[Image.Image]:
        start = self._start(person)
        images: list[Image.Image] = []
        for first in range(0, count, self.options.batch):
            indices = range(first, min(first + self.options.batch, count))
            images += self._draw_batch(request, start, indices, seed)
        return images

    def _start(self, person: str | None) -> Image.Image | None:
        if self.pool is None or person is None:
            return None
        side = (self.options.size, self.options.size)
        return ImageOps.fit(self.pool.portrait(person), side, Image.Resampling.BICUBIC)

    def _draw_batch(
        self, request: FaceRequest, start: Image.Image | None, indices: Sequence[int], seed: int
    ) -> list[Image.Image]:
        for attempt in range(ATTEMPTS):
            seeds = [derived_seed(seed, request.subject, index, attempt) for index in indices]
            drawn = self._loaded(**self._arguments(request, start, indices, seed, seeds))
            if not any(getattr(drawn, "nsfw_content_detected", None) or []):
                return [image.convert("RGB") for image in drawn.images]
        raise ValueError(
            f"The safety checker of {self.pipeline} blacked out photographs of {request.subject!r} {ATTEMPTS} times; "
            f"change the prompt or the seed."
        )

    def _arguments(
        self, request: FaceRequest, start: Image.Image | None, indices: Sequence[int], seed: int, seeds: Sequence[int]
    ) -> dict[str, Any]:
        import torch

        options = self.options
        arguments: dict[str, Any] = {
            "prompt": [prompt_for(request, index, seed=seed, template=options.prompt) for index in indices],
            "num_inference_steps": options.steps,
            "guidance_scale": options.guidance,
            "generator": [torch.Generator().manual_seed(one) for one in seeds],
        }
        if options.negative_prompt is not None:
            arguments["negative_prompt"] = [options.negative_prompt] * len(indices)
        if start is None:
            return arguments | {"height": options.size, "width": options.size}
        return arguments | {"image": [start] * len(indices), "strength": options.strength}

    @cached_property
    def _loaded(self) -> Any:  # each family of models has its own class
        import torch
        from diffusers import AutoPipelineForImage2Image, AutoPipelineForText2Image

        kind = AutoPipelineForImage2Image if self.pool else AutoPipelineForText2Image
        where = {"revision": self.options.revision} if self.options.revision else {}
        try:
            # Safetensors only: weights in pickles run code when they are read.
            loaded = kind.from_pretrained(
                self.pipeline, dtype=getattr(torch, self.options.dtype), use_safetensors=True, **where
            )
        except (OSError, ValueError) as error:
            raise ValueError(f"{self.pipeline} cannot be loaded by {kind.__name__}: {error}") from error
        loaded.set_progress_bar_config(disable=True)
        return loaded.to(self.options.device)

    @cached_property
    def _identity(self) -> str:
        folder = Path(self.pipeline)
        if not folder.is_dir():
            return str(self.pipeline)
        parts = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
        return hash_files(folder, [part for part in parts if not part.endswith((".md", ".bin", ".ckpt"))])

    def describe(self) -> dict[str, object]:
        """The hash of a folder or the name on the hub, the hash of the pool, and the options."""
        options = {name: value for name, value in asdict(self.options).items() if name != "device"}
        pool = self.pool.digest() if self.pool else None
        return {"kind": "pipeline", "pipeline": self._identity, "pool": pool, **options}
