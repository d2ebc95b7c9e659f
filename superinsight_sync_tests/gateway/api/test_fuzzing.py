"""What the document promises, tried out by generated requests on a real server."""

import ipaddress
import os
from collections.abc import Iterator
from types import FunctionType
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    positive_data_acceptance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from superinsight_sync.gateway.api.app import build_routes
from superinsight_sync.security.access import AccessRules
from superinsight_sync.security.rate_limits import RateLimit
from superinsight_sync_tests.gateway.api.served import API, Served, bearer, serving, settings_for
from superinsight_sync_tests.gateway.doors import PUSH

EXAMPLES = 300 if os.environ.get("SIS_LONG") else 25
KEPT = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
NOT_EXPRESSED = {"give_token", "end_session", "push_webhook", "push_batch", "push_stream"}
"""What these take depends on more than a schema can say: on signatures, on how bodies are packed, on fields that
are there once."""

_networks = st.tuples(st.ip_addresses(v=4), st.integers(0, 32)) | st.tuples(
    st.ip_addresses(v=6), st.integers(0, 128)
)
schemathesis.openapi.format("ip-network", _networks.map(lambda n: str(ipaddress.ip_network(n, strict=False))))
_lines = st.lists(st.text(alphabet='{}":,[]0 \n\\ué', max_size=30)).map("\n".join)
schemathesis.openapi.media_type("application/x-ndjson", _lines.map(str.encode))

described = schemathesis.openapi.from_dict(build_routes().openapi())
short = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=not os.environ.get("SIS_LONG"),
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)


@described.auth()
class Key:
    """Sent with every request, but where a check wants to see it missing."""

    text = ""

    def get(self, case: Any, context: Any) -> str:
        return self.text

    def set(self, case: Any, data: str, context: Any) -> None:
        case.headers = {**(case.headers or {}), "Authorization": f"Bearer {data}"}


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A gateway that slows nobody: what is looked for lies behind the limits."""
    endless = RateLimit(1e6, 1_000_000)
    rules = AccessRules(per_key=endless, per_tenant=endless, failures=endless)
    with pytest.MonkeyPatch.context() as patch:
        with serving(settings_for(tmp_path_factory.mktemp("shop"), patch), rules) as made:
            patch.setattr(Key, "text", made.key("admin").text)
            yield made


@pytest.fixture(scope="module")
def known(patient: Served) -> dict[str, str]:
    """Names of things that are there."""
    with patient.client(bearer(Key.text)) as client:
        made = client.post(f"{PUSH}/batch?source=till", json=[{"a": 1}]).json()
    return {"delivery_id": made["id"], "key_id": patient.key("viewer").id, "batch": "b1", "id": "shop"}


def keeps_what_the_document_promises(case: schemathesis.Case, patient: Served) -> None:
    operation = case.operation.definition.raw["operationId"]
    excluded = [positive_data_acceptance] if operation in NOT_EXPRESSED else []
    case.call_and_validate(base_url=patient.url, excluded_checks=excluded)


def keeps_it_for_what_is_there(case: schemathesis.Case, patient: Served, known: dict[str, str]) -> None:
    given = case.path_parameters or {}
    case.path_parameters = {name: known.get(name, value) for name, value in given.items()}
    if case.path.startswith(PUSH):
        case.query = {**(case.query or {}), "source": "till"} | ({"stream": "sales"} if case.query else {})
    case.call_and_validate(base_url=patient.url, checks=KEPT)


for _operation in described.get_all_operations():
    _id = _operation.ok().definition.raw["operationId"]
    for _check in (keeps_what_the_document_promises, keeps_it_for_what_is_there):
        # A function for each: tests that share a name count as one where several processes share the work.
        _test = FunctionType(_check.__code__, globals(), f"test_{_id}_{_check.__name__}")
        _test.__annotations__ = _check.__annotations__
        globals()[_test.__name__] = described.include(operation_id=_id).parametrize()(short(_test))


def test_the_gateway_is_well_after_all_of_it(patient: Served) -> None:
    with patient.client(bearer(patient.key("admin"))) as client:
        assert client.get("/health/ready").status_code == 200
        assert client.get(f"{API}/inbox/deliveries").status_code == 200
