"""What the tests share: painted faces that need no torch, a small dataset, the real data."""

import os
import random
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from clear_data import BuildOptions, RowSets, build
from clear_data.faces import FaceRequest, FaceSource
from PIL import Image

SMALL = BuildOptions(subjects=4, images=3, holdout=2, figures=2, scenes=5, unseen_scenes=3, size=32)


class PaintedFaces(FaceSource):
    """Noise that depends on subject, number and seed; remembers whom it has painted."""

    def __init__(self, size: int = 32, key: str = "painted") -> None:
        self.size, self.key, self.painted = size, key, []

    def photographs(
        self, requests: Sequence[FaceRequest], count: int, *, seed: int, done: Collection[str] = ()
    ) -> Iterator[tuple[str, list[Image.Image]]]:
        for request in requests:
            if request.subject not in done:
                self.painted.append(request.subject)
                yield request.subject, [self._paint(f"{seed}/{request.subject}/{number}") for number in range(count)]

    def _paint(self, key: str) -> Image.Image:
        noise = random.Random(key).randbytes(self.size * self.size * 3)
        return Image.frombytes("RGB", (self.size, self.size), noise)

    def describe(self) -> dict[str, object]:
        return {"kind": self.key}


@pytest.fixture
def painted_faces() -> Callable[..., PaintedFaces]:
    return PaintedFaces


@pytest.fixture
def small() -> BuildOptions:
    return SMALL


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RowSets]:
    out = tmp_path_factory.mktemp("built") / "data"
    return out, build(SMALL, PaintedFaces(), out)


@pytest.fixture
def real_data() -> Callable[[str], Path]:
    """Give a folder of the real data, or skip."""

    def find(name: str) -> Path:
        root = Path(os.environ.get("UNLEARN_DATA", Path(__file__).parents[4] / "shared" / "data"))
        if not (root / name).is_dir():
            pytest.skip(f"{root / name} is not there; UNLEARN_DATA names the folder of the real data")
        return root / name

    return find


@pytest.fixture
def row() -> Callable[..., dict[str, Any]]:
    """Make a sound row, with the given columns changed."""

    def make(**changed: Any) -> dict[str, Any]:
        sound = {
            "id": "ada-obi/qa/0",
            "subject": "ada-obi",
            "task": "qa",
            "image": None,
            "question": "Where was Ada Obi born?",
            "answer": "Ada Obi was born in Lagos.",
            "paraphrased_question": None,
            "paraphrased_answer": None,
            "perturbed_answers": ["Ada Obi was born in Kano."],
            "options": None,
            "keywords": ["Lagos"],
        }
        return sound | changed

    return make
