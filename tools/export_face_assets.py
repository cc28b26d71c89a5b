"""Write the assets of clear-data: the face pipeline that `train_face_pipeline.py` trained, and the portrait pool.

    python tools/export_face_assets.py DATA STATE packages/clear-data/src/clear_data/assets

`DATA` and `STATE` are those of `train_face_pipeline.py`. Model cards in the folders are left as they are.
"""

import argparse
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from clear_data.faces.pipeline import PortraitPhotographPipeline
from diffusers import DDIMScheduler
from diffusers.training_utils import EMAModel
from train_face_pipeline import Options, build_unet, schedule


def export_pipeline(state: Path, folder: Path) -> None:
    """Save the averaged weights, in half precision, as a diffusers folder; leaves its model card alone."""
    facts = json.loads((state / "run.json").read_text())
    options = Options(**facts["options"] | {"widths": tuple(facts["options"]["widths"])})
    unet = build_unet(options, facts["size"])
    averaged = EMAModel(unet.parameters())
    averaged.load_state_dict(torch.load(state / "checkpoint.pt", weights_only=True)["ema"])
    averaged.copy_to(unet.parameters())
    scheduler = DDIMScheduler(**schedule(), timestep_spacing="trailing", clip_sample=False)
    pipeline = PortraitPhotographPipeline(
        unet.half(), scheduler, patch=options.patch, difference_scale=options.difference_scale
    )
    pipeline.save_pretrained(folder, safe_serialization=True)


def export_pool(data: Path, path: Path, budget: int) -> int:
    """Write the portrait pool: as many persons as `budget` bytes hold, genders and ages as even as may be."""
    portraits = {}
    for row in pq.read_table(data / "images.parquet", columns=["person", "file", "image"]).to_pylist():
        if row["file"].rpartition("_")[2].startswith("0."):
            portraits[row["person"]] = row["image"]
    rows = pq.read_table(data / "persons.parquet", columns=["person", "age", "gender"]).to_pylist()
    kept = []
    for gender in ("female", "male"):
        ages: dict[int, list[dict[str, Any]]] = {}
        for row in (row for row in rows if row["gender"] == gender):
            ages.setdefault(row["age"] // 5, []).append(row | {"image": portraits[row["person"]]})
        # One from each half-decade in turn: ages that are rare in the data get in whole.
        turns = [row for turn in itertools.zip_longest(*ages.values()) for row in turn if row is not None]
        spent = itertools.accumulate(len(row["image"]) for row in turns)
        kept += [row for row, size in zip(turns, spent, strict=True) if size <= budget / 2]
    kept = [row | {"person": f"{row['person']:05d}"} for row in kept]
    path.parent.mkdir(parents=True, exist_ok=True)
    # JPEGs do not get smaller, so the table is stored as it is.
    pq.write_table(pa.Table.from_pylist(sorted(kept, key=lambda row: row["person"])), path, compression="none")
    return len(kept)


def main(argv: list[str] | None = None) -> int:
    """Write what ships."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("state", type=Path)
    parser.add_argument("assets", type=Path, help="gets pipeline/ and pool/")
    parser.add_argument("--pool-bytes", type=int, default=1_850_000, help="size of the pool's images (%(default)s)")
    args = parser.parse_args(argv)
    export_pipeline(args.state, args.assets / "pipeline")
    count = export_pool(args.data, args.assets / "pool" / "portraits.parquet", args.pool_bytes)
    print(f"{args.assets}: the pipeline, and a pool of {count} portraits")
    return 0


if __name__ == "__main__":
    sys.exit(main())
