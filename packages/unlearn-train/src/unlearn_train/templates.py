"""Chat templates that are given beside a model."""

from pathlib import Path


def read_template(path: Path) -> str:
    """Read a file that holds a Jinja chat template.

    Raises:
        ValueError: the file is missing, no text, or empty.
    """
    try:
        template = path.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError):
        raise ValueError(f"{path} is no file; `--chat-template` takes one that holds a Jinja chat template.") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"the chat template {path} is no text in UTF-8 ({error}).") from error
    if not template.strip():
        raise ValueError(f"the chat template {path} is empty; leave `--chat-template` out to use the model's own.")
    return template
