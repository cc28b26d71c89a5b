"""Evaluation logs of other toolkits, read into rows of metrics: TOFU's and OpenUnlearning's.

Such logs hold mean losses and texts, no token log-probabilities. So they are read into what `row_metrics` makes of
evidence, a table with one line per row; what a log does not hold stays null there and is named as missing later.
"""

from unlearn_metrics.logs._log import Log
from unlearn_metrics.logs._read import COMMON_NAMES, is_log, read_log

__all__ = ["COMMON_NAMES", "Log", "is_log", "read_log"]
