"""A small diffusion pipeline: from a portrait to further photographs of the same person.

The network sees the noisy picture beside the portrait, already framed and lit as the photograph shall be, and
draws what differs. Identity is therefore given and need not be remembered by the weights.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, DiffusionPipeline, ImagePipelineOutput, UNet2DModel
from PIL import Image
from torch import Tensor

from clear_data.faces.framing import Framing


class PortraitPhotographPipeline(DiffusionPipeline):
    """Draws photographs of the person on a portrait.

    Args:
        unet: Predicts the velocity of the difference; input and output are folded into patches.
        scheduler: Any scheduler for velocity prediction.
        patch: Side of the squares that are folded into channels: the network works at `size / patch`.
        difference_scale: Standard deviation of photograph minus portrait, pixels in [-1, 1].
    """

    def __init__(
        self, unet: UNet2DModel, scheduler: DDIMScheduler, patch: int = 2, difference_scale: float = 0.22
    ) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)
        self.register_to_config(patch=patch, difference_scale=difference_scale)

    @property
    def size(self) -> int:
        """Side of the photographs in pixels."""
        return int(self.unet.config.sample_size * self.config.patch)

    @torch.no_grad()
    def __call__(
        self,
        portraits: Tensor,
        framings: Sequence[Framing],
        generators: Sequence[torch.Generator],
        *,
        num_inference_steps: int = 12,
        variation: float = 1.0,
        output_type: str = "pil",
    ) -> ImagePipelineOutput:
        """Draw one photograph for each portrait.

        Args:
            portraits: `(batch, 3, size, size)`, pixels in [-1, 1].
            framings: Camera and light of each photograph.
            generators: One for each photograph, so that its noise is its own whatever else is in the batch.
            num_inference_steps: Steps of the scheduler.
            variation: Scales the noise that drawing starts from: below 1, photographs keep nearer to the portrait and
                are cleaner; 1 is what the network was trained for.
            output_type: `"pil"` or `"pt"`.
        """
        self._check(portraits, framings, generators)
        scene = frame(portraits, framings).to(self._execution_device, self.unet.dtype)
        shape = scene.shape[1:]
        difference = torch.stack([torch.randn(shape, generator=g, device=g.device) for g in generators]).to(scene)
        self.scheduler.set_timesteps(num_inference_steps)
        difference = difference * self.scheduler.init_noise_sigma * variation
        for step in self.progress_bar(self.scheduler.timesteps):
            noisy = self.scheduler.scale_model_input(difference, step)
            velocity = predict(self.unet, noisy, scene, step, patch=self.config.patch)
            difference = self.scheduler.step(velocity, step, difference).prev_sample
        image = (scene + self.config.difference_scale * difference).clamp(-1, 1).float()
        return ImagePipelineOutput(images=to_pil(image) if output_type == "pil" else image)

    def _check(self, portraits: Tensor, framings: Sequence[Framing], generators: Sequence[torch.Generator]) -> None:
        if portraits.ndim != 4 or tuple(portraits.shape[1:]) != (3, self.size, self.size):
            wanted = f"(batch, 3, {self.size}, {self.size})"
            raise ValueError(f"`portraits` must be {wanted}, got {tuple(portraits.shape)}; resize them first.")
        if not len(portraits) == len(framings) == len(generators) > 0:
            counts = f"{len(portraits)}, {len(framings)} and {len(generators)}"
            raise ValueError(f"`portraits`, `framings` and `generators` must be equally many, got {counts}.")


def predict(unet: UNet2DModel, noisy: Tensor, scene: Tensor, step: Tensor, *, patch: int) -> Tensor:
    """Predict the velocity of `noisy`, seen beside the framed portrait `scene`."""
    folded = F.pixel_unshuffle(torch.cat([noisy, scene], dim=1), patch)
    folded = folded.contiguous(memory_format=torch.channels_last)
    return F.pixel_shuffle(unet(folded, step).sample, patch)


def frame(images: Tensor, framings: Sequence[Framing]) -> Tensor:
    """Take `(batch, 3, size, size)` pictures in [-1, 1] again, with the camera and light of `framings`."""
    return _light(_move(images, framings), framings)


def _move(images: Tensor, framings: Sequence[Framing]) -> Tensor:
    theta = torch.tensor([_affine(f) for f in framings], dtype=images.dtype)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bicubic", padding_mode="reflection", align_corners=False).clamp(-1, 1)


def _affine(framing: Framing) -> list[list[float]]:
    angle = math.radians(framing.rotation)
    cos, sin = math.cos(angle) / framing.zoom, math.sin(angle) / framing.zoom
    # The picture may leave the portrait by a few pixels, which are mirrored: a stricter bound would forbid any tilt.
    free = max(0.0, 1.0 - abs(cos) - abs(sin)) + (0.05 if framing.zoom != 1 else 0.0)
    mirror = -1.0 if framing.flip else 1.0
    return [[mirror * cos, -sin, free * framing.shift_x], [mirror * sin, cos, free * framing.shift_y]]


def _light(images: Tensor, framings: Sequence[Framing]) -> Tensor:
    def column(values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=images.dtype).view(-1, 1, 1, 1)

    pixels = (images + 1) / 2
    grey = pixels.mean(dim=1, keepdim=True)
    pixels = grey + (pixels - grey) * column([f.saturation for f in framings])
    middle = pixels.mean(dim=(1, 2, 3), keepdim=True)
    pixels = middle + (pixels - middle) * column([f.contrast for f in framings])
    axis = torch.linspace(-1, 1, images.shape[-1], dtype=images.dtype)
    slope_x = column([f.light * math.cos(math.radians(f.light_angle)) for f in framings])
    slope_y = column([f.light * math.sin(math.radians(f.light_angle)) for f in framings])
    stops = slope_x * axis + slope_y * axis.view(-1, 1) + column([f.exposure for f in framings])
    stops = stops + column([f.warmth for f in framings]) * torch.tensor([1.0, 0.0, -1.0]).view(1, 3, 1, 1)
    return (pixels * stops.exp()).clamp(0, 1) * 2 - 1


def to_pil(images: Tensor) -> list[Image.Image]:
    """Turn `(batch, 3, height, width)` in [-1, 1] into RGB images."""
    pixels = ((images + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(p) for p in pixels]


def from_pil(images: Sequence[Image.Image]) -> Tensor:
    """Turn RGB images of one size into `(batch, 3, height, width)` in [-1, 1]."""
    pixels = torch.stack([torch.from_numpy(np.array(image.convert("RGB"))) for image in images])
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
