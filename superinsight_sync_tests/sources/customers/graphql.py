import json
import os
from datetime import datetime
from typing import Any

import graphene
import pytest

from superinsight_sync_tests.servers.api import Asked, Reply, answer, fake_api
from superinsight_sync_tests.servers.ports import free_port
from superinsight_sync_tests.sources.customers import Customer, rows

QUERY = """query($after: String, $since: String) { orders(after: $after, since: $since) {
    nodes { id note amount updated_at } pageInfo { hasNextPage endCursor } } }  # the newest"""
_PAGE = 250


class Order(graphene.ObjectType):  # type: ignore[misc]
    id = graphene.Int()
    note = graphene.String()
    amount = graphene.Float()
    updated_at = graphene.String()


class PageInfo(graphene.ObjectType):  # type: ignore[misc]
    has_next_page = graphene.Boolean(name="hasNextPage")
    end_cursor = graphene.String(name="endCursor")


class Orders(graphene.ObjectType):  # type: ignore[misc]
    nodes = graphene.List(Order)
    page_info = graphene.Field(PageInfo, name="pageInfo")


class Root(graphene.ObjectType):  # type: ignore[misc]
    orders = graphene.Field(Orders, after=graphene.String(), since=graphene.String())

    def resolve_orders(self, info: Any, after: str | None = None, since: str | None = None) -> Orders:
        first = datetime.fromisoformat(since) if since else None
        found = [r for r in rows() if first is None or r[3] >= first]
        start = int(after or 0)
        end = start + _PAGE
        nodes = [
            Order(id=n, note=note, amount=float(amount), updated_at=at.isoformat())
            for n, note, amount, at in found[start:end]
        ]
        return Orders(nodes=nodes, page_info=PageInfo(has_next_page=end < len(found), end_cursor=str(end)))


SCHEMA = graphene.Schema(query=Root, auto_camelcase=False)


def _api(asked: Asked) -> Reply:
    if asked.headers.get("authorization") != "Bearer right":
        return answer({"errors": [{"message": "who?"}]}, 401)
    sent = json.loads(asked.body)
    done = SCHEMA.execute(sent["query"], variables=sent.get("variables"))
    errors = [{"message": str(e)} for e in done.errors or ()]
    return answer({"data": done.data, **({"errors": errors} if errors else {})}, 400 if errors else 200)


def customer(request: pytest.FixtureRequest) -> Customer:
    served = fake_api()
    api = served.__enter__()
    request.addfinalizer(lambda: served.__exit__(None, None, None))
    api.otherwise = _api
    os.environ["GRAPHQL_KEY_OF_TESTS"] = "right"
    os.environ["GRAPHQL_WRONG_KEY"] = "wr0ng-key"
    right = {"type": "bearer", "value": "{{ env.GRAPHQL_KEY_OF_TESTS }}"}
    wrong = {"type": "bearer", "value": "{{ env.GRAPHQL_WRONG_KEY }}"}
    connection = {"kind": "graphql", "base_url": f"{api.url}/graphql", "auth": right, "allow_private": True}
    options = {
        "columns": {"amount": "decimal(12,2)", "updated_at": "timestamp"},
        "increment": {"since_param": "since"},
    }
    return Customer(
        connection,
        {"query": QUERY, "options": options},
        ({"query": "{ orderz { nodes { id } } }"}, "400"),
        wrong_password=({**connection, "auth": wrong}, "wr0ng-key"),
        unreachable={**connection, "base_url": f"http://127.0.0.1:{free_port()}"},
    )
