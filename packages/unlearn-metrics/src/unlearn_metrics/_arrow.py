"""Small steps between Arrow and NumPy."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from unlearn_metrics.functional._inputs import Floats


def floats(values: Floats) -> pa.Array:
    """A float64 array, null where `values` are NaN."""
    return pa.array(values, pa.float64(), mask=np.isnan(values))


def is_one_of(column: pa.ChunkedArray, values: Sequence[str]) -> pa.ChunkedArray:
    """Where a column of strings has one of these values."""
    return pc.is_in(column, value_set=pa.array(values, pa.string()))
