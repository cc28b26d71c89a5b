"""Photographs of the subjects: drawn by the pipeline that ships, by any other pipeline, or read from a folder.

Importing this needs no torch; drawing needs the extra `[generate]`.
"""

from clear_data.faces._base import FaceRequest, FaceSource, Person
from clear_data.faces.diffusion import PipelineFaces, PipelineOptions
from clear_data.faces.folder import FolderFaces
from clear_data.faces.framing import Framing
from clear_data.faces.pool import PortraitPool
from clear_data.faces.portrait import PortraitFaces

__all__ = [
    "FaceRequest",
    "FaceSource",
    "FolderFaces",
    "Framing",
    "Person",
    "PipelineFaces",
    "PipelineOptions",
    "PortraitFaces",
    "PortraitPool",
]
