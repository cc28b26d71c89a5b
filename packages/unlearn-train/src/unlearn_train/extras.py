"""What comes with an extra, and what to say where it is not there."""

import importlib
from importlib.metadata import PackageNotFoundError, version

EXTRAS = {
    "clear_data": "data",
    "deepspeed": "deepspeed",
    "unlearn_metrics": "eval",
    "unlearn_metrics.scoring": "eval",
    "unlearn_metrics.report": "eval",
}


def need(*modules: str) -> None:
    """Import what an extra brings.

    Raises:
        ImportError: it is not installed; the message names the extra.
    """
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ImportError(
                f'this needs {module} ({error}); install it with `pip install "unlearn-train[{EXTRAS[module]}]"`.'
            ) from error


def installed_version(name: str) -> str | None:
    """Return the version of a distribution, None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
