"""Attribute tables: which columns a stimulus set accepts, and their lossless form in JSON."""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from stimuli.files import near_matches
from stimuli.media import listed

_NUMPY_KINDS = "biufM"
_NULLABLE = (
    "boolean",
    "Int8",
    "Int16",
    "Int32",
    "Int64",
    "UInt8",
    "UInt16",
    "UInt32",
    "UInt64",
    "Float32",
    "Float64",
)


def check_attributes(attributes: pd.DataFrame | Mapping[str, Any] | None, ids: np.ndarray) -> pd.DataFrame:
    """Return the attributes as a new table indexed by stimulus_id, one row a stimulus, dtypes kept.

    Rows are taken in order. Where the table names its rows (an index named, or a column called, `stimulus_id`, or
    an index made of the ids), the names must stand in the order of `ids`.
    """
    if attributes is None:
        attributes = {}
    if not isinstance(attributes, pd.DataFrame | Mapping):
        raise TypeError(
            f"attributes must be a DataFrame or a mapping of columns, got {type(attributes).__name__}"
        )
    if isinstance(attributes, pd.DataFrame):
        table = pd.DataFrame(attributes, copy=True)
        _check_row_names(table, ids)
    else:
        table = _table_of(attributes, ids)
    if "stimulus_id" in table.columns:
        _compare_ids(table["stimulus_id"].tolist(), ids, "the column stimulus_id of attributes")
        table = table.drop(columns="stimulus_id")
    if len(table) != len(ids):
        raise ValueError(f"attributes has {len(table)} rows for {len(ids)} stimulus_ids; give one a stimulus")
    if wrong := [name for name in table.columns if not isinstance(name, str) or not name]:
        raise TypeError(f"names of attributes must be non-empty str, got {listed(wrong)}")
    if repeated := sorted(set(table.columns[table.columns.duplicated()])):
        raise ValueError(f"names of attributes must be unique, these repeat: {listed(repeated)}")
    table.index = pd.Index(np.asarray(ids, dtype=object), name="stimulus_id")
    table.columns.name = None
    for name in table.columns:
        encode_column(table[name])
    return table


def _table_of(columns: Mapping[str, Any], ids: np.ndarray) -> pd.DataFrame:
    for name, values in columns.items():
        if isinstance(values, str) or not hasattr(values, "__len__"):
            raise TypeError(f"attribute {name!r} must have one value a stimulus, got {values!r:.60}")
        if len(values) != len(ids):
            raise ValueError(f"attribute {name!r} has {len(values)} values for {len(ids)} stimulus_ids")
        if np.ndim(values) > 1:
            raise ValueError(
                f"attribute {name!r} must have one value a stimulus, got shape {np.shape(values)}"
            )
    # Values without their own index: pandas would align Series by it and silently reorder them.
    bare = {
        name: values.array
        if isinstance(values, pd.Series)
        else list(values)
        if isinstance(values, tuple)
        else values
        for name, values in columns.items()
    }
    return pd.DataFrame(bare, index=pd.RangeIndex(len(ids)), copy=True)


def _check_row_names(table: pd.DataFrame, ids: np.ndarray) -> None:
    if isinstance(table.index, pd.MultiIndex):
        raise ValueError("attributes must not have a MultiIndex; call reset_index() first")
    names = table.index.tolist()
    if table.index.name == "stimulus_id" or (len(ids) and set(names) == set(ids.tolist())):
        _compare_ids(names, ids, "the index of attributes")


def _compare_ids(names: list[Any], ids: np.ndarray, where: str) -> None:
    if names == ids.tolist():
        return
    if sorted(map(str, names)) == sorted(ids.tolist()):
        raise ValueError(f"{where} has the stimulus_ids in another order; sort it with .loc[stimulus_ids]")
    unknown = [str(name) for name in names if str(name) not in set(ids.tolist())]
    near = near_matches(unknown[0], ids.tolist()) if unknown else []
    raise ValueError(
        f"{where} does not match stimulus_ids"
        + (f": unknown {listed(unknown)}" if unknown else f": {len(names)} rows for {len(ids)} ids")
        + (f"; near {unknown[0]!r} are {listed(near)}" if near else "")
    )


def encode_column(column: pd.Series) -> dict[str, Any]:
    """Write a column as plain JSON values with its dtype, so that `decode_column` gives it back exactly.

    Raises
    ------
    TypeError
        The column's dtype, or a value in a column of text, has no lossless plain form.
    """
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        categories = encode_column(pd.Series(dtype.categories, name=column.name))
        codes = column.cat.codes.tolist()
        return {
            "dtype": "category",
            "values": codes,
            "categories": categories,
            "ordered": bool(dtype.ordered),
        }
    if isinstance(dtype, np.dtype) and dtype.kind in _NUMPY_KINDS and dtype != np.longdouble:
        # Times as whole counts of their unit; floats in JSON's shortest digits, which read back to the same bits.
        values = column.to_numpy().astype("int64").tolist() if dtype.kind == "M" else column.tolist()
        return {"dtype": dtype.newbyteorder("<").str, "values": [_encode_float(value) for value in values]}
    if str(dtype) in _NULLABLE or isinstance(dtype, pd.StringDtype):
        missing = column.isna().tolist()
        values = [
            None if gone else _encode_float(value)
            for gone, value in zip(missing, column.tolist(), strict=True)
        ]
        return {"dtype": str(dtype), "values": values}
    if dtype == object:
        return {"dtype": "object", "values": [_encode_object(value, column.name) for value in column]}
    raise TypeError(
        f"attribute {column.name!r} has dtype {dtype}; allowed are numbers, bool, text, dates without time zone "
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
    decoded = [
        float(value) if isinstance(value, str) and dtype[:2] in ("<f", "Fl") else value for value in values
    ]
    if dtype.startswith("<M8"):
        return pd.Series(np.array(decoded, dtype="int64").view(dtype))
    return pd.Series(decoded, dtype=dtype if dtype[0] not in "<|" else np.dtype(dtype))


def _encode_float(value: Any) -> Any:
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


def _encode_object(value: Any, name: object) -> Any:
    if value is None or isinstance(value, bool | str):
        return value if not isinstance(value, str) else str(value)
    if isinstance(value, float) and math.isnan(value):
        return {"float": "nan"}
    raise TypeError(
        f"attribute {name!r} mixes text with {type(value).__name__} {value!r:.40}; a column holds numbers, or text "
        "with None or NaN where it is missing"
    )


def _decode_object(value: Any) -> Any:
    return float("nan") if isinstance(value, dict) else value


def encode_table(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Write every column of a table as plain JSON values, in order."""
    return [{"name": name, **encode_column(table[name])} for name in table.columns]


def decode_table(columns: list[dict[str, Any]]) -> dict[str, pd.Series]:
    """Read the columns written by `encode_table`."""
    return {column["name"]: decode_column(column) for column in columns}


def table_text(table: pd.DataFrame) -> str:
    """Give a text that differs whenever names, order, dtypes or values of columns differ: what is hashed."""
    return json.dumps(encode_table(table), allow_nan=False, ensure_ascii=True)
