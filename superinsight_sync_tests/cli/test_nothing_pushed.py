"""`sis run` where a push source was declared and nothing has been pushed yet."""

import hashlib
import json
from pathlib import Path

from superinsight_sync.pipeline.engine import open_engine
from superinsight_sync.state.inbox_writer import Delivery
from superinsight_sync_tests.cli.commands import sis

DECLARED = """type: superinsight_sync.PushSource
attributes:
  name: till
  streams:
    - {name: sales, primary_key: [id]}
---
type: superinsight_sync.Dataset
attributes:
  name: sold
  inputs: {sales: till/sales, orders: shop/orders}
  select: SELECT s.id, o.amount FROM sales s JOIN orders o ON o.order_id = s.id
  formats: [jsonl]
"""


def made(*selection: str) -> dict[str, int]:
    """The assets that a run makes, with their rows."""
    done = sis("run", *selection, "--json")
    assert done.code == 0, done.out + done.err
    assert done.document["errors"] == []
    return {a["asset"]: a["rows"] for a in done.document["assets"] if a["materialized"]}


def test_a_run_makes_what_it_can_and_the_rest_once_something_came(project: Path) -> None:
    folder = project / project.name / "defs" / "till"
    folder.mkdir()
    (folder / "defs.yaml").write_text(DECLARED)
    checked = sis("check", "till", "--json")
    assert checked.code == 0, checked.out
    assert checked.document["connections"][0]["details"]["nothing_yet"] == ["sales"]
    first = made("--all")
    assert {"shop/orders", "shop/raw_orders", "datasets/orders_sample", "web/visits"} <= first.keys()
    assert not {"till/raw_sales", "till/sales", "till/sales_dictionary", "datasets/sold"} & first.keys()
    assert "nothing to make it of yet" in sis("run", "till").out
    told = sis("preview", "till.sales")
    assert told.code == 2 and "nothing was pushed to it that could be a row. Push a first" in told.err

    body = json.dumps([{"id": 7}, {"id": 8}]).encode()
    digest = hashlib.sha256(body).hexdigest()
    delivery = Delivery("d1", "default", "till", "sales", "d1", digest, "json", "", body, len(body), 2)
    open_engine().inbox.accept(delivery)
    then = made("--all")
    assert then["till/raw_sales"] == then["till/sales"] == then["datasets/sold"] == 2
