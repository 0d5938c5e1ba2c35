"""Attribute tables: dtypes kept, rows never reordered in silence, lossless JSON."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from stimuli import StimulusSet
from stimuli.typed_table import decode_table, encode_table, table_text

numpy_columns = st.sampled_from(
    ["bool", "int8", "uint8", "int64", "uint64", "float16", "float32", "float64"]
).flatmap(lambda dtype: hnp.arrays(dtype, 3)) | hnp.arrays(">f8", 3)
dates = hnp.arrays("datetime64[ns]", 3) | hnp.arrays("datetime64[s]", 3)
nullable = st.one_of(
    st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=3, max_size=3).map(
        lambda values: pd.array(values, dtype="Int64")
    ),
    st.lists(st.none() | st.booleans(), min_size=3, max_size=3).map(lambda v: pd.array(v, dtype="boolean")),
    st.lists(st.none() | st.floats(allow_nan=False), min_size=3, max_size=3).map(
        lambda values: pd.array(values, dtype="Float64")
    ),
    st.lists(st.none() | st.text(), min_size=3, max_size=3).map(lambda v: pd.array(v, dtype="string")),
)
objects = st.lists(
    st.none() | st.text() | st.booleans() | st.integers() | st.floats(), min_size=3, max_size=3
).map(lambda values: pd.Series(values, dtype=object))
categories = st.tuples(
    st.lists(st.sampled_from(["u", "v", None]), min_size=3, max_size=3), st.booleans()
).map(lambda drawn: pd.Categorical(drawn[0], categories=["v", "u", "never"], ordered=drawn[1]))
number_categories = st.lists(st.sampled_from([0.5, 2.0]), min_size=3, max_size=3).map(pd.Categorical)
columns = st.one_of(numpy_columns, dates, nullable, objects, categories, number_categories)


class TestRoundTrip:
    @given(
        table=st.dictionaries(st.text(min_size=1).filter(lambda n: n != "stimulus_id"), columns, max_size=3)
    )
    def test_values_and_dtypes_survive_json(self, table: dict[str, object]) -> None:
        before = StimulusSet(["a", "b", "c"], attributes=table)
        columns = json.loads(json.dumps(encode_table(before.attributes), allow_nan=False))
        after = StimulusSet(["a", "b", "c"], attributes=decode_table(columns))
        native = {
            name: dtype.newbyteorder("=")
            for name, dtype in before.attributes.dtypes.items()
            if isinstance(dtype, np.dtype)
        }
        pd.testing.assert_frame_equal(after.attributes, before.attributes.astype(native), check_exact=True)
        assert table_text(after.attributes) == table_text(before.attributes)
        assert after.content_hash == before.content_hash

    @given(column=columns, other=columns)
    def test_text_to_hash_is_equal_only_for_equal_columns(self, column: object, other: object) -> None:
        first, second = (pd.Series(values, name="x").to_frame() for values in (column, other))
        if table_text(first) == table_text(second):
            native = (
                first if first["x"].dtype != np.dtype(">f8") else first.astype("float64"),
                second if second["x"].dtype != np.dtype(">f8") else second.astype("float64"),
            )
            pd.testing.assert_frame_equal(*native, check_exact=True)

    def test_missing_number_text_and_none_stay_apart(self) -> None:
        values = [[None], [float("nan")], ["nan"], ["None"], [0], [False], [0.0], [""]]
        texts = {table_text(pd.DataFrame({"x": pd.Series(value, dtype=object)})) for value in values}
        assert len(texts) == len(values)


class TestRows:
    ids = ("b", "a")

    def test_rows_are_taken_in_order(self) -> None:
        table = pd.DataFrame({"x": [1, 2]}, index=[7, 3])
        assert StimulusSet(self.ids, attributes=table).attributes["x"].to_dict() == {"b": 1, "a": 2}
        series = {"x": pd.Series([1, 2], index=[1, 0])}
        assert StimulusSet(self.ids, attributes=series).attributes["x"].to_dict() == {"b": 1, "a": 2}

    @pytest.mark.parametrize(
        "attributes",
        [
            pd.DataFrame({"x": [1, 2]}, index=["b", "a"]),
            pd.DataFrame({"x": [1, 2], "stimulus_id": ["b", "a"]}),
            {"x": (1, 2), "stimulus_id": ["b", "a"]},
            {"x": pd.Series([1, 2], index=pd.Index(["b", "a"], name="stimulus_id"))},
        ],
    )
    def test_named_rows_in_order(self, attributes: object) -> None:
        table = StimulusSet(self.ids, attributes=attributes).attributes
        assert table.columns.tolist() == ["x"]
        assert table["x"].to_dict() == {"b": 1, "a": 2}

    @pytest.mark.parametrize(
        "attributes",
        [
            pd.DataFrame({"x": [1, 2]}, index=["a", "b"]),
            pd.DataFrame({"x": [1, 2], "stimulus_id": ["a", "b"]}),
            {"x": pd.Series([1, 2], index=["a", "b"])},
        ],
    )
    def test_other_order_is_refused(self, attributes: object) -> None:
        with pytest.raises(ValueError, match="another order"):
            StimulusSet(self.ids, attributes=attributes)

    def test_unknown_row_names_list_near_ones(self) -> None:
        table = pd.DataFrame({"x": [1, 2], "stimulus_id": ["face_01", "house_1"]})
        with pytest.raises(ValueError, match="unknown 'house_1'; near 'house_1' are 'house_01'"):
            StimulusSet(["face_01", "house_01"], attributes=table)

    def test_subclasses_of_tables_become_plain(self) -> None:
        class Table(pd.DataFrame):
            @property
            def _constructor(self) -> type[pd.DataFrame]:
                return Table

        table = StimulusSet(self.ids, attributes=Table({"x": [1, 2]})).attributes
        assert type(table) is pd.DataFrame


class TestRefusals:
    @pytest.mark.parametrize(
        ("attributes", "error", "message"),
        [
            ({"x": [1]}, ValueError, "1 value for 2"),
            (pd.DataFrame({"x": [1]}), ValueError, "1 row for 2"),
            ({"x": "ab"}, TypeError, "one value a stimulus"),
            ({"x": {1, 2}}, TypeError, "one value a stimulus"),
            ({"x": np.zeros((2, 2))}, ValueError, r"got shape \(2, 2\)"),
            ({"x": [[1], [2]]}, TypeError, "holds a list"),
            ({"x": [1j, 2j]}, TypeError, "complex"),
            ({"x": pd.to_datetime(["2020", "2021"], utc=True)}, TypeError, "without zone"),
            ({"x": [pd.NA, "a"]}, TypeError, "NAType"),
            ({3: [1, 2]}, TypeError, "must be non-empty str, got 3"),
            ({"": [1, 2]}, TypeError, "must be non-empty str"),
            (pd.DataFrame([[1, 2], [3, 4]], columns=["x", "x"]), ValueError, "these repeat: 'x'"),
            ([("x", 1)], TypeError, "got list"),
            (
                pd.DataFrame({"x": [1, 2]}, index=pd.MultiIndex.from_tuples([(0, 1), (1, 0)])),
                ValueError,
                "reset_index",
            ),
        ],
    )
    def test_refused(self, attributes: object, error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            StimulusSet(["a", "b"], attributes=attributes)

    def test_unknown_dtype_in_a_file_is_refused(self) -> None:
        with pytest.raises(ValueError, match="unknown dtype"):
            decode_table([{"name": "x", "dtype": "|V8", "values": []}])
