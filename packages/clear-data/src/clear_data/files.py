"""Writing so that a kill at any moment leaves the old file or folder, or the new one."""

import shutil
from pathlib import Path


def write_file(path: Path, content: bytes) -> None:
    """Write a file beside its place, then rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.tmp")
    try:
        unfinished.write_bytes(content)
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def fresh_folder(path: Path) -> Path:
    """Make an empty folder, whatever was there before."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


def require_replaceable(path: Path, mark: str) -> None:
    """Refuse to replace what was not written here: a folder is ours when it is empty or holds `mark`.

    Raises:
        ValueError: it is neither, so replacing it could destroy somebody's work.
    """
    if path.exists() and not (path / mark).exists() and (not path.is_dir() or any(path.iterdir())):
        raise ValueError(f"{path} holds no {mark}, so it is not replaced; choose another folder or empty it yourself.")


def put_in_place(finished: Path, path: Path) -> None:
    """Rename a finished folder to `path`, in place of what is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    old = path.with_name(f"{path.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        path.rename(old)
    finished.replace(path)
    shutil.rmtree(old, ignore_errors=True)
