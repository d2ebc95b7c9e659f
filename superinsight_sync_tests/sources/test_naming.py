"""Names that discovery proposes can be declared as they are, and none comes twice."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superinsight_sync.core.errors import ConfigError
from superinsight_sync.model.declaration import NAME_PATTERN, StreamSpec
from superinsight_sync.model.naming import as_name, need_columns, stream_names, topic_name, untaken

texts = st.lists(st.text(st.sampled_from("aZ9_.ä\n *"), max_size=70), max_size=20)


@settings(max_examples=200, deadline=None)
@given(texts=texts)
def test_every_text_becomes_a_valid_name_of_its_own(texts: list[str]) -> None:
    topics: set[str] = set()
    files: set[str] = set()
    for names in (
        stream_names([("s", t) for t in texts]),
        [topic_name(t, topics) for t in texts],
        [untaken(as_name(t, "files"), files) for t in texts],
    ):
        assert len(set(names)) == len(texts)
        assert all(re.fullmatch(NAME_PATTERN, n) for n in names)


def test_names_say_where_they_come_from() -> None:
    assert stream_names([("a", "Orders"), ("b", "orders"), ("a", "2024")]) == [
        "a_orders",
        "b_orders",
        "t_2024",
    ]
    taken: set[str] = set()
    found = [topic_name(t, taken) for t in ("OrderLines", "order-lines", "42")]
    assert found == ["order_lines", "order_lines_2", "topic_42"]


def test_a_cursor_or_key_that_is_no_column_is_named_with_a_close_one() -> None:
    stream = StreamSpec.model_validate({"name": "s", "table": "t", "primary_key": ["order_id", "line"]})
    need_columns(stream, ["line", "order_id"])
    with pytest.raises(ConfigError, match="there is no column 'order_id'.*Did you mean 'orderid'"):
        need_columns(stream, ["orderid", "line"])
