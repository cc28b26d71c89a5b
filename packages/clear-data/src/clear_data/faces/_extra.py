"""What an optional dependency that is missing looks like."""

from importlib.util import find_spec


def need_generate() -> None:
    """Refuse, naming the extra, where a package that drawing needs is not installed; imports none of them."""
    missing = [name for name in ("torch", "diffusers", "transformers") if find_spec(name) is None]
    if missing:
        raise ImportError(f'Drawing faces needs {", ".join(missing)}: pip install "clear-data[generate]".')
