"""Attribute tables: what a stimulus set accepts as attributes of its stimuli."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from stimuli.files import count_of, near_matches
from stimuli.media import listed
from stimuli.typed_table import encode_column


def check_attributes(attributes: pd.DataFrame | Mapping[str, Any] | None, ids: np.ndarray) -> pd.DataFrame:
    """Return the attributes as a new table indexed by stimulus_id, one row a stimulus, dtypes kept.

    Rows are taken in order. Where the rows carry names (an index named `stimulus_id` or made of the ids, or a
    column `stimulus_id`), the names must stand in the order of `ids`: nothing is reordered in silence.
    """
    if attributes is None:
        attributes = {}
    if isinstance(attributes, pd.DataFrame):
        _check_row_names(attributes.index, ids, "the index of attributes")
        # A plain DataFrame even of a subclass, and a copy that its owner cannot change.
        table = pd.DataFrame(attributes, copy=True)
    elif isinstance(attributes, Mapping):
        columns = {name: _bare_values(name, values, ids) for name, values in attributes.items()}
        table = pd.DataFrame(columns, index=pd.RangeIndex(len(ids)), copy=True)
    else:
        kind = type(attributes).__name__
        raise TypeError(f"attributes must be a DataFrame or a mapping of columns, got {kind}")
    if len(table) != len(ids):
        raise ValueError(
            f"attributes has {count_of(len(table), 'row')} for {count_of(len(ids), 'stimulus_id')}; give one a stimulus"
        )
    if wrong := [name for name in table.columns if not isinstance(name, str) or not name]:
        raise TypeError(f"names of attributes must be non-empty str, got {listed(wrong)}")
    if repeated := sorted(set(table.columns[table.columns.duplicated()])):
        raise ValueError(f"names of attributes must be unique, these repeat: {listed(repeated)}")
    if "stimulus_id" in table.columns:
        _compare_ids(table["stimulus_id"].tolist(), ids, "the column stimulus_id of attributes")
        table = table.drop(columns="stimulus_id")
    table.index = pd.Index(ids.astype(object), name="stimulus_id")
    table.columns.name = None
    for name in table.columns:
        encode_column(table[name])  # raises where a column could not be hashed or saved
    return table


def _bare_values(name: object, values: Any, ids: np.ndarray) -> Any:
    """Check one column of a mapping and strip its index: pandas would reorder its values by it."""
    sequences = (list, tuple, np.ndarray, pd.Series, pd.Index, pd.api.extensions.ExtensionArray)
    if not isinstance(values, sequences):
        raise TypeError(
            f"attribute {name!r} must be a list or array, one value a stimulus, got {values!r:.60}"
        )
    if isinstance(values, np.ndarray) and values.ndim != 1:
        raise ValueError(f"attribute {name!r} must have one value a stimulus, got shape {values.shape}")
    if len(values) != len(ids):
        raise ValueError(
            f"attribute {name!r} has {count_of(len(values), 'value')} for {count_of(len(ids), 'stimulus_id')}"
        )
    if isinstance(values, pd.Series):
        _check_row_names(values.index, ids, f"the index of attribute {name!r}")
        return values.array
    return list(values) if isinstance(values, tuple) else values


def _check_row_names(index: pd.Index, ids: np.ndarray, where: str) -> None:
    if isinstance(index, pd.MultiIndex):
        raise ValueError(f"{where} has several levels; call reset_index() first")
    names = index.tolist()
    if index.name == "stimulus_id" or (len(ids) > 0 and set(names) == set(ids.tolist())):
        _compare_ids(names, ids, where)


def _compare_ids(names: list[Any], ids: np.ndarray, where: str) -> None:
    got, wanted = [str(name) for name in names], ids.tolist()
    if got == wanted:
        return
    if sorted(got) == sorted(wanted):
        raise ValueError(f"{where} has the stimulus_ids in another order; sort it with .loc[stimulus_ids]")
    unknown = [name for name in got if name not in set(wanted)]
    if not unknown:
        raise ValueError(
            f"{where} names {count_of(len(got), 'row')} for {count_of(len(wanted), 'stimulus_id')}; give one a stimulus"
        )
    near = near_matches(unknown[0], wanted)
    raise ValueError(
        f"{where} does not match stimulus_ids: unknown {listed(unknown)}"
        + (f"; near {unknown[0]!r} are {listed(near)}" if near else "")
    )
