"""Tables as plain JSON values with their dtypes: read back exactly, and stable to hash."""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

_NULLABLE_FLOATS = ("Float32", "Float64")
_NULLABLE = (
    *("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64"),
    *(*_NULLABLE_FLOATS, "boolean", "string"),
)


def encode_table(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Write every column of a table as plain JSON values, in order; the index is left out."""
    return [{"name": name, **encode_column(table[name])} for name in table.columns]


def decode_table(columns: list[dict[str, Any]]) -> dict[str, pd.Series]:
    """Read the columns written by `encode_table`."""
    return {column["name"]: decode_column(column) for column in columns}


def table_text(table: pd.DataFrame) -> str:
    """Give a text that differs whenever names, order, dtypes or values of columns differ: what is hashed."""
    return json.dumps(encode_table(table), allow_nan=False, ensure_ascii=True)


def encode_column(column: pd.Series) -> dict[str, Any]:
    """Write a column as plain JSON values with its dtype, so that `decode_column` gives it back exactly.

    Raises
    ------
    TypeError
        The dtype, or a value in a column of Python objects, has no lossless plain form.
    """
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        categories = encode_column(pd.Series(dtype.categories, name=column.name))
        codes = column.cat.codes.tolist()
        return {"dtype": "category", "values": codes, "categories": categories, "ordered": dtype.ordered}
    if isinstance(dtype, np.dtype) and dtype.kind == "M":
        # Whole counts of the column's unit: dates as text would lose nanoseconds.
        return {"dtype": dtype.newbyteorder("<").str, "values": column.to_numpy().astype("int64").tolist()}
    if isinstance(dtype, np.dtype) and dtype.kind in "biuf" and dtype != np.longdouble:
        return {"dtype": dtype.newbyteorder("<").str, "values": [_plain(value) for value in column.tolist()]}
    if str(dtype) in _NULLABLE:
        values = [None if value is pd.NA else _plain(value) for value in column.tolist()]
        return {"dtype": str(dtype), "values": values}
    if isinstance(dtype, np.dtype) and dtype.kind == "O":
        return {"dtype": "object", "values": [_encode_object(value, column.name) for value in column]}
    raise TypeError(
        f"attribute {column.name!r} has dtype {dtype}; allowed are numbers, bool, text, dates without zone, "
        "and categories of those"
    )


def decode_column(encoded: Mapping[str, Any]) -> pd.Series:
    """Read a column written by `encode_column`."""
    dtype, values = encoded["dtype"], encoded["values"]
    if dtype == "category":
        categories = pd.Index(decode_column(encoded["categories"]))
        return pd.Series(pd.Categorical.from_codes(values, categories=categories, ordered=encoded["ordered"]))
    if dtype == "object":
        return pd.Series([_decode_object(value) for value in values], dtype=object)
    if dtype.startswith("<M8"):
        return pd.Series(np.array(values, dtype="int64").view(dtype))
    if dtype.startswith("<f") or dtype in _NULLABLE_FLOATS:
        values = [float(value) if isinstance(value, str) else value for value in values]
    return pd.Series(pd.array(values, dtype=dtype)) if dtype in _NULLABLE else _numpy_column(values, dtype)


def _numpy_column(values: list[Any], dtype: str) -> pd.Series:
    if np.dtype(dtype).kind not in "biuf":
        raise ValueError(f"the table holds a column of unknown dtype {dtype!r}")
    return pd.Series(np.array(values, dtype=dtype))


def _plain(value: Any) -> Any:
    """Write NaN and infinities, which JSON lacks, by name; its shortest digits give back all other floats."""
    value = value.item() if isinstance(value, np.generic) else value
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


def _encode_object(value: Any, name: object) -> Any:
    value = value.item() if isinstance(value, np.bool_ | np.integer | np.floating | np.str_) else value
    if isinstance(value, str):
        value.encode()  # a lone surrogate could not be written to a file
        return value
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}
    if value is None or isinstance(value, bool | int | float):
        return value
    raise TypeError(
        f"attribute {name!r} holds a {type(value).__name__}: {value!r:.40}; give numbers, bools, str, or "
        "None or NaN where it is missing"
    )


def _decode_object(value: Any) -> Any:
    return float(value["float"]) if isinstance(value, dict) else value
