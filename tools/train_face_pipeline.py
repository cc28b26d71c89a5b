"""Train the small face pipeline of clear-data; `export_face_assets.py` makes of it what ships.

    python tools/train_face_pipeline.py DATA STATE --minutes 75

`DATA` is a folder of two parquet files. `images.parquet` has one row a photograph: `person` (int), `file` (str, ends
in `_<n>.jpg`; `_0` is the person's portrait) and `image` (the JPEG bytes, all of one size). `persons.parquet` has one
row a person: `person`, `age` (int), `gender` (`female` or `male`). `STATE` is a folder that training writes every few
minutes and goes on from.
"""

import argparse
import io
import json
import math
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from clear_data.faces.framing import Framing
from clear_data.faces.pipeline import frame, predict
from diffusers import DDPMScheduler, UNet2DModel
from diffusers.training_utils import EMAModel
from PIL import Image

HELD_OUT_EVERY = 17
"""Persons whose number divides by this are kept out of training."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What determines the weights, the machine's rounding aside."""

    minutes: float = 75.0
    batch: int = 16
    learning_rate: float = 6e-4
    warmup: int = 150
    ema: float = 0.999
    widths: tuple[int, ...] = (48, 80, 112, 112)
    patch: int = 2
    difference_scale: float = 0.22
    seed: int = 0


def schedule() -> dict[str, object]:
    """Noise schedule, the same in training and in drawing."""
    return {"num_train_timesteps": 1000, "beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction"}


def build_unet(options: Options, size: int) -> UNet2DModel:
    """Build the network: convolutions only, since the portrait already says what belongs where."""
    levels = len(options.widths)
    return UNet2DModel(
        sample_size=size // options.patch,
        in_channels=6 * options.patch**2,
        out_channels=3 * options.patch**2,
        block_out_channels=options.widths,
        layers_per_block=1,
        norm_num_groups=16,
        down_block_types=("DownBlock2D",) * levels,
        up_block_types=("UpBlock2D",) * levels,
        add_attention=False,
    )


def load_photographs(data: Path) -> dict[int, torch.Tensor]:
    """Read every person's photographs, the portrait first, as uint8 `(n, 3, size, size)`."""
    table = pq.read_table(data / "images.parquet", columns=["person", "file", "image"])
    rows = sorted(table.to_pylist(), key=lambda row: (row["person"], row["file"]))
    people: dict[int, list[np.ndarray]] = {}
    for row in rows:
        picture = np.asarray(Image.open(io.BytesIO(row["image"])).convert("RGB"))
        people.setdefault(row["person"], []).append(picture)
    return {who: torch.from_numpy(np.stack(p)).permute(0, 3, 1, 2).contiguous() for who, p in people.items()}


class Pairs:
    """Draws (portrait, other photograph) of one person, both framed and lit alike."""

    def __init__(self, people: dict[int, torch.Tensor], rng: np.random.Generator) -> None:
        self.people = [photographs for photographs in people.values() if len(photographs) > 1]
        self.rng = rng

    def batch(self, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Give `size` scenes and targets in [-1, 1]."""
        scenes, targets = [], []
        for index in self.rng.integers(len(self.people), size=size):
            photographs = self.people[index]
            other = int(self.rng.integers(1, len(photographs)))
            # Each pair serves in both directions, which doubles the portraits that training sees.
            first, second = (0, other) if self.rng.random() < 0.7 else (other, 0)
            scenes.append(photographs[first])
            targets.append(photographs[second])
        framings = [Framing.draw(int(seed)) for seed in self.rng.integers(2**62, size=size)]
        pixels = torch.stack(scenes + targets).float() / 127.5 - 1
        scene, target = frame(pixels, framings * 2).chunk(2)
        return scene, target


def diffusion_loss(
    unet: UNet2DModel,
    noise: DDPMScheduler,
    scene: torch.Tensor,
    target: torch.Tensor,
    options: Options,
    generator: torch.Generator,
) -> torch.Tensor:
    """Mean squared error of the predicted velocity."""
    clean = (target - scene) / options.difference_scale
    steps = torch.randint(0, noise.config.num_train_timesteps, (len(clean),), generator=generator)
    grain = torch.randn(clean.shape, generator=generator)
    velocity = predict(unet, noise.add_noise(clean, grain, steps), scene, steps, patch=options.patch)
    return F.mse_loss(velocity, noise.get_velocity(clean, grain, steps))


def rate_at(step: int, fraction: float, options: Options) -> float:
    """Learning rate: linear warm-up over steps, then a cosine to zero over the time given."""
    return options.learning_rate * min(1.0, (step + 1) / options.warmup) * 0.5 * (1 + math.cos(math.pi * fraction))


class Run:
    """A training run that lives in a folder."""

    def __init__(self, data: Path, state: Path, options: Options) -> None:
        self.state, self.options = state, options
        people = load_photographs(data)
        self.size = next(iter(people.values())).shape[-1]
        self.held_out = {who: p for who, p in people.items() if who % HELD_OUT_EVERY == 0}
        self.people = {who: p for who, p in people.items() if who not in self.held_out}
        torch.manual_seed(options.seed)
        self.unet = build_unet(options, self.size).to(memory_format=torch.channels_last)
        self.noise = DDPMScheduler(**schedule())
        self.optimizer = torch.optim.AdamW(self.unet.parameters(), lr=options.learning_rate, weight_decay=0.01)
        self.ema = EMAModel(self.unet.parameters(), decay=options.ema, use_ema_warmup=True, power=0.75)
        self.step, self.seconds = 0, 0.0
        self.losses: list[list[float]] = []
        self.resume()

    def resume(self) -> None:
        """Go on from the last checkpoint, where there is one."""
        path = self.state / "checkpoint.pt"
        if not path.exists():
            return
        saved = torch.load(path, weights_only=True)
        self.unet.load_state_dict(saved["unet"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.ema.load_state_dict(saved["ema"])
        self.step, self.seconds, self.losses = saved["step"], saved["seconds"], saved["losses"]
        print(f"resumed at step {self.step}, {self.seconds / 60:.1f} min", flush=True)

    def save(self) -> None:
        """Write the checkpoint beside its place and rename, so that a kill leaves the old one or the new one."""
        self.state.mkdir(parents=True, exist_ok=True)
        saved = {
            "unet": self.unet.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "ema": self.ema.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "losses": self.losses,
        }
        torch.save(saved, self.state / "checkpoint.tmp")
        (self.state / "checkpoint.tmp").replace(self.state / "checkpoint.pt")
        facts = {
            "options": asdict(self.options),
            "step": self.step,
            "images": self.step * self.options.batch,
            "seconds": round(self.seconds),
            "losses": self.losses,
            "size": self.size,
            "persons": len(self.people),
            "held_out": sorted(self.held_out),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
        }
        (self.state / "run.tmp").write_text(json.dumps(facts, indent=1))
        (self.state / "run.tmp").replace(self.state / "run.json")

    @torch.no_grad()
    def validate(self, batches: int = 8) -> float:
        """Loss of the averaged weights on the held-out persons, on the same pairs and noise every time."""
        self.ema.store(self.unet.parameters())
        self.ema.copy_to(self.unet.parameters())
        pairs = Pairs(self.held_out, np.random.default_rng(1))
        generator = torch.Generator().manual_seed(1)
        losses = [
            diffusion_loss(self.unet, self.noise, *pairs.batch(32), self.options, generator).item()
            for _ in range(batches)
        ]
        self.ema.restore(self.unet.parameters())
        return sum(losses) / len(losses)

    def train_step(self, pairs: Pairs, generator: torch.Generator) -> float:
        """Take one step and give its loss."""
        fraction = min(1.0, self.seconds / (60 * self.options.minutes))
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(self.step, fraction, self.options)
        loss = diffusion_loss(self.unet, self.noise, *pairs.batch(self.options.batch), self.options, generator)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.unet.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.step(self.unet.parameters())
        self.step += 1
        return loss.item()

    def train(self, every: float) -> None:
        """Train until the time is used, with a checkpoint and a line of progress every `every` seconds."""
        limit = 60 * self.options.minutes
        # Seeded by the step as well: a resumed run must not see the first batches again.
        pairs = Pairs(self.people, np.random.default_rng([self.options.seed, self.step]))
        generator = torch.Generator().manual_seed(self.options.seed * 1_000_003 + self.step)
        recent: list[float] = []
        saved_at, since = self.seconds, self.step
        while self.seconds < limit:
            started = time.monotonic()
            recent.append(self.train_step(pairs, generator))
            self.seconds += time.monotonic() - started
            if self.seconds - saved_at >= every or self.seconds >= limit:
                rate = (self.step - since) * self.options.batch / (self.seconds - saved_at)
                held_out = self.validate()
                self.losses.append([self.step, round(sum(recent) / len(recent), 5), round(held_out, 5)])
                self.save()
                print(
                    f"step {self.step}  loss {self.losses[-1][1]}  held out {held_out:.5f}  {rate:.1f} images/s  "
                    f"{self.seconds / 60:.1f} min done, {max(0.0, limit - self.seconds) / 60:.1f} left",
                    flush=True,
                )
                recent, saved_at, since = [], self.seconds, self.step


def main(argv: list[str] | None = None) -> int:
    """Train, or go on training."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("state", type=Path)
    parser.add_argument("--minutes", type=float, default=Options.minutes, help="time to train, in all (%(default)s)")
    parser.add_argument("--batch", type=int, default=Options.batch)
    parser.add_argument("--seed", type=int, default=Options.seed)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (%(default)s)")
    parser.add_argument("--every", type=float, default=180.0, help="seconds between checkpoints (%(default)s)")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    options = Options(minutes=args.minutes, batch=args.batch, seed=args.seed)
    Run(args.data, args.state, options).train(args.every)
    return 0


if __name__ == "__main__":
    sys.exit(main())
