"""The default source, offline: a portrait for each subject, and a small pipeline that photographs its person."""

from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from PIL import Image, ImageOps

from clear_data.faces._base import FaceRequest, FaceSource, Person, Photographs, check_requests, derived_seed
from clear_data.faces._extra import need_generate
from clear_data.faces._files import hash_files
from clear_data.faces.framing import Framing
from clear_data.faces.pool import PortraitPool

if TYPE_CHECKING:
    from clear_data.faces.pipeline import PortraitPhotographPipeline

SHIPPED = Path(__file__).parents[1] / "assets" / "pipeline"


class PortraitFaces(FaceSource):
    """Photographs that a `PortraitPhotographPipeline` draws from the portraits of a pool.

    Args:
        pool: Folder of a portrait pool, see `PortraitPool.load`; the one that ships where it is None.
        pipeline: Folder of a `PortraitPhotographPipeline`; the one that ships where it is None.
        steps: Steps of the diffusion scheduler.
        variation: How far photographs may go from the portrait, framing and light apart; 0 to 1.
        device: Where the network runs. Noise is drawn on the CPU, so that devices agree but for rounding.

    Raises:
        ImportError: torch or diffusers is missing; names the extra.
        ValueError: The pool or the pipeline cannot be read.
    """

    STEPS: ClassVar[int] = 12
    VARIATION: ClassVar[float] = 0.8

    def __init__(
        self,
        pool: str | Path | None = None,
        *,
        pipeline: str | Path | None = None,
        steps: int = STEPS,
        variation: float = VARIATION,
        device: str = "cpu",
    ) -> None:
        if steps < 1:
            raise ValueError(f"`steps` must be at least 1, got {steps}.")
        if not 0 <= variation <= 1:
            raise ValueError(f"`variation` must be from 0 to 1, got {variation}.")
        need_generate()
        self.pool = PortraitPool.load(pool)
        self.folder = SHIPPED if pipeline is None else Path(pipeline)
        if not (self.folder / "model_index.json").is_file():
            raise ValueError(f"{self.folder} is no pipeline: it has no model_index.json.")
        self.steps, self.variation, self.device = steps, variation, device

    def persons(self) -> Sequence[Person]:
        """Whose portraits the pool has."""
        return self.pool.persons

    def photographs(
        self, requests: Sequence[FaceRequest], count: int, *, seed: int, done: Collection[str] = ()
    ) -> Iterator[Photographs]:
        """Yield `count` photographs of the person whose portrait each subject got."""
        check_requests(requests, count)
        chosen = self.pool.assign(requests, seed=seed)
        left = (request.subject for request in requests if request.subject not in done)
        return ((subject, self._draw(subject, chosen[subject], count, seed)) for subject in left)

    def _draw(self, subject: str, person: str, count: int, seed: int) -> list[Image.Image]:
        import torch

        from clear_data.faces.pipeline import from_pil

        side = self._pipeline.size
        portrait = ImageOps.fit(self.pool.portrait(person), (side, side), Image.Resampling.BICUBIC)
        seeds = [derived_seed(seed, subject, index) for index in range(count)]
        # All photographs of a subject are one batch, always: rounding may depend on what shares a batch.
        images: list[Image.Image] = self._pipeline(
            from_pil([portrait]).expand(count, -1, -1, -1),
            [self.framing(subject, index, seed=seed) for index in range(count)],
            [torch.Generator().manual_seed(one) for one in seeds],
            num_inference_steps=self.steps,
            variation=self.variation,
        ).images
        return images

    @staticmethod
    def framing(subject: str, index: int, *, seed: int) -> Framing:
        """Camera and light of one photograph."""
        return Framing.draw(derived_seed(seed, subject, index, "framing"))

    @cached_property
    def _pipeline(self) -> "PortraitPhotographPipeline":
        from diffusers.utils import logging

        from clear_data.faces.pipeline import PortraitPhotographPipeline

        logging.disable_progress_bar()  # two small files, and the photographs have a progress of their own
        try:
            loaded: PortraitPhotographPipeline = PortraitPhotographPipeline.from_pretrained(
                self.folder, use_safetensors=True, local_files_only=True
            )
        except (OSError, TypeError, AttributeError) as error:
            raise ValueError(f"{self.folder} cannot be loaded as a PortraitPhotographPipeline: {error}") from error
        loaded.set_progress_bar_config(disable=True)
        loaded.to(self.device)
        return loaded

    def describe(self) -> dict[str, object]:
        """Hashes of the pool and of the pipeline, and how they draw."""
        names = [str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.suffix != ".md"]
        files = [name for name in names if (self.folder / name).is_file()]
        return {
            "kind": "portrait",
            "pool": self.pool.digest(),
            "pipeline": hash_files(self.folder, files),
            "steps": self.steps,
            "variation": self.variation,
        }
