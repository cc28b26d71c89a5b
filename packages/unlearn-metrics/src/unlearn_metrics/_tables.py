"""Checks of tables: types, nulls, choices, lengths, numbers. Each names file, column, row and remedy."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from unlearn_metrics._arrow import is_one_of

Floats: TypeAlias = NDArray[np.floating[Any]]


def conform(table: pa.Table, schema: pa.Schema, file: str) -> pa.Table:
    """The columns of `schema`, in its order and types; columns that it does not name are left out."""
    if missing := [name for name in schema.names if name not in table.column_names]:
        raise ValueError(f"{file}: column `{missing[0]}` is missing. It has: {', '.join(table.column_names)}.")
    columns = []
    for field in schema:
        column = table[field.name]
        if not _same_family(column.type, field.type):
            raise ValueError(f"{file}: column `{field.name}` must be {field.type}, got {column.type}. Convert it.")
        try:
            columns.append(column.cast(field.type).combine_chunks())
        except pa.ArrowInvalid as error:
            raise ValueError(f"{file}: column `{field.name}` does not fit {field.type} ({error}).") from None
        check_nulls(columns[-1], field.name, table, file)
    return pa.table(columns, schema=schema)


def _same_family(got: pa.DataType, wanted: pa.DataType) -> bool:
    if pa.types.is_list(wanted):
        is_list = pa.types.is_list(got) or pa.types.is_large_list(got)
        return is_list and _same_family(got.value_type, wanted.value_type)
    families = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)
    if pa.types.is_string(wanted):
        return bool(pa.types.is_string(got) or pa.types.is_large_string(got))
    return any(family(got) and family(wanted) for family in families)


def check_nulls(column: pa.Array, name: str, table: pa.Table, file: str) -> None:
    null = np.asarray(pc.is_null(column))
    if pa.types.is_list(column.type) and column.flatten().null_count:
        inner = np.asarray(pc.is_null(column.flatten()))
        null[np.asarray(pc.list_parent_indices(column))[inner]] = True
    if null.any():
        raise ValueError(f"{_place(table, file, name, null)} is null or holds a null. Fill it, or leave the row out.")


def check_choices(table: pa.Table, file: str, name: str, choices: tuple[str, ...]) -> None:
    bad = ~np.asarray(is_one_of(table[name], choices))
    if bad.any():
        value = table[name][int(bad.argmax())].as_py()
        raise ValueError(f"{_place(table, file, name, bad)} must be one of {', '.join(choices)}, got `{value}`.")


def check_unique(table: pa.Table, file: str, names: list[str]) -> None:
    counts = table.group_by(names).aggregate([([], "count_all")])
    twice = np.flatnonzero(np.asarray(counts["count_all"]) > 1)
    if twice.size:
        first = ", ".join(f"{name} {counts[name][int(twice[0])].as_py()!r}" for name in names)
        raise ValueError(f"{file}: {twice.size} rows occur more than once, first {first}. Keep one of each.")


def check_index(table: pa.Table, file: str) -> None:
    index, perturbed = np.asarray(table["index"]), np.asarray(is_one_of(table["kind"], ["perturbed"]))
    bad = np.where(perturbed, index < 0, index != 0)
    if bad.any():
        place = _place(table, file, "index", bad)
        raise ValueError(f"{place} must count the perturbed answers from 0, and be 0 for other kinds.")


def check_lengths(table: pa.Table, file: str, names: list[str]) -> None:
    tokens = np.asarray(pc.list_value_length(table["tokens"]))
    if (tokens == 0).any():
        raise ValueError(f"{_place(table, file, 'tokens', tokens == 0)} is empty. An answer has its end token.")
    for name in names:
        lengths = np.asarray(pc.list_value_length(table[name]))
        bad = lengths != tokens
        if bad.any():
            row = int(bad.argmax())
            place = _place(table, file, name, bad)
            raise ValueError(f"{place} has {lengths[row]} entries for {tokens[row]} tokens. Give one per token.")


def check_numbers(
    table: pa.Table, file: str, name: str, wanted: str, good: Callable[[Floats], NDArray[np.bool_]]
) -> None:
    if name not in table.column_names:
        return
    column = table[name].combine_chunks()
    is_list = pa.types.is_list(column.type)
    values = np.asarray(column.flatten() if is_list else column)
    bad = ~good(values)
    if bad.any():
        at = int(bad.argmax())
        row = int(pc.list_parent_indices(column)[at].as_py()) if is_list else at
        place = _place(table, file, name, np.arange(table.num_rows) == row)
        raise ValueError(f"{place} must be {wanted}, got {values[at]}. Look for an overflow in the model's logits.")


def _place(table: pa.Table, file: str, name: str, bad: NDArray[np.bool_]) -> str:
    row = int(bad.argmax())
    return f"{file}: column `{name}`, row {row} (id {table['id'][row].as_py()!r})"
