"""The measures of identity, with an embedder that reads the mean colour."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from clear_data.faces import FolderFaces
from clear_data.faces.identity import FaceEmbedder, SFace, identification, measure_identity, pixel_difference
from PIL import Image


class MeanColour(FaceEmbedder):
    def embed(self, images: Sequence[Image.Image]) -> np.ndarray:
        colours = np.stack([np.asarray(image, dtype=float).mean(axis=(0, 1)) for image in images])
        return colours / np.linalg.norm(colours, axis=1, keepdims=True)


def patch(*colour: int) -> Image.Image:
    return Image.new("RGB", (4, 4), colour)


def test_figures() -> None:
    groups = [[patch(200, 0, 0), patch(190, 0, 0)], [patch(0, 0, 99), patch(0, 0, 90)]]
    figures = measure_identity(groups, MeanColour())
    assert (figures.subjects, figures.photographs, figures.identification) == (2, 4, 1.0)
    assert figures.same == pytest.approx(1) and figures.different == pytest.approx(0)
    assert figures.difference == pytest.approx((10 / 3 + 9 / 3) / 2) and figures.closest == pytest.approx(3)


def test_a_swapped_photograph_is_a_miss() -> None:
    red, blue = [1.0, 0.0], [0.0, 1.0]
    vectors = np.array([red, red, blue, blue, blue, red])
    assert identification(vectors, np.array([0, 0, 0, 1, 1, 1])) == pytest.approx(4 / 6)


def test_too_few_photographs_are_refused() -> None:
    with pytest.raises(ValueError, match="two subjects with two photographs"):
        measure_identity([[patch(1, 1, 1)] * 2], MeanColour())
    with pytest.raises(ValueError, match=r"got 2 with \[1, 2\]"):
        measure_identity([[patch(1, 1, 1)] * 2, [patch(1, 1, 1)]], MeanColour())


def test_pixel_difference() -> None:
    assert pixel_difference(patch(0, 10, 20), patch(3, 10, 14)) == pytest.approx(3)


def test_sface_tells_real_people_apart(real_data: Callable[[str], Path]) -> None:
    pytest.importorskip("cv2", reason="needs the extra [faces]")
    source = FolderFaces(real_data("faces"))
    people = [source.album(person.id, 3) for person in source.persons()[:6]]
    groups = [[image.resize((64, 64), Image.Resampling.BOX) for image in images] for images in people]
    figures = measure_identity(groups, SFace())
    assert figures.identification == 1.0
    assert figures.same > 0.7 > 0.4 > figures.different


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ImportError, match=r'pip install "clear-data\[faces\]"'):
        SFace()
