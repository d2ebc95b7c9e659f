"""What the document promises, tried out by generated requests on a real server."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from superinsight_sync.gateway.api.app import build_routes
from superinsight_sync.security.access import AccessRules
from superinsight_sync.security.rate_limits import RateLimit
from superinsight_sync_tests.conftest import LONG
from superinsight_sync_tests.gateway.api.served import API, Served, bearer, serving, settings_for
from superinsight_sync_tests.gateway.doors import PUSH

EXAMPLES = 15
LONG_S = 120 if LONG else 0
HOOKS = 'hooks = "superinsight_sync_tests.gateway.api.fuzzing_hooks"\n'

# What these take depends on more than a schema can say: signatures, how bodies are packed, fields that come once.
# And a run that revoked its own key would end there.
PROMISES = f"""{HOOKS}
[[operations]]
include-operation-id = ["give_token", "end_session", "push_webhook", "push_batch", "push_stream"]
checks.positive_data_acceptance.enabled = false

# Uploads refuse by 412, as their protocol says, and a form may hold anything.
[[operations]]
include-path-regex = "/push/file"
checks.positive_data_acceptance.enabled = false
checks.negative_data_rejection.enabled = false
checks.missing_required_header.enabled = false

[[operations]]
include-operation-id = "revoke_key"
enabled = false
"""
# Requests about things that are there: names that are filled in are right, whatever was to be wrong with them.
KNOWN = f"""{HOOKS}
[parameters]
"path.delivery_id" = "{{delivery_id}}"
"path.key_id" = "{{key_id}}"
"path.batch" = "b1"
"path.id" = "shop"
"query.source" = "till"
"""


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A gateway that slows nobody: what is looked for lies behind the limits."""
    endless = RateLimit(1e6, 1_000_000)
    rules = AccessRules(per_key=endless, per_tenant=endless, failures=endless)
    with pytest.MonkeyPatch.context() as patch:
        with serving(settings_for(tmp_path_factory.mktemp("shop"), patch), rules) as made:
            yield made


def fuzz(served: Served, folder: Path, config: str, *options: str) -> str:
    """What schemathesis says of the whole document. Fails if a promise is broken, or an operation was left out."""
    (folder / "schemathesis.toml").write_text(config)
    command = [
        Path(sys.executable).with_name("schemathesis"),
        f"--config-file={folder / 'schemathesis.toml'}",
        "run",
        f"{served.url}{API}/openapi.json",
        f"--header=Authorization: Bearer {served.key('admin').text}",
        *([f"--max-time={LONG_S}"] if LONG_S else ["--seed=1", f"--max-examples={EXAMPLES}"]),
        *options,
    ]
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root), "HYPOTHESIS_STORAGE_DIRECTORY": str(folder)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=LONG_S + 120
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
    return done.stdout


def operations() -> int:
    """How many there are, but for the document's own address, which is not tried."""
    return sum(len(item) for item in build_routes().openapi()["paths"].values()) - 1


def asked(output: str) -> int:
    found = re.search(r"Tested: +(\d+)", output)
    assert found is not None, output
    return int(found[1])


def test_every_operation_keeps_what_the_document_promises(patient: Served, tmp_path: Path) -> None:
    output = fuzz(patient, tmp_path, PROMISES, "--phases=coverage,fuzzing")
    assert asked(output) == operations() - 1, output


def test_operations_keep_it_for_what_is_there(patient: Served, tmp_path: Path) -> None:
    with patient.client(bearer(patient.key("admin"))) as client:
        made = client.post(f"{PUSH}/batch?source=till", json=[{"a": 1}]).json()
    config = KNOWN.format(delivery_id=made["id"], key_id=patient.key("viewer").id)
    no_judgement = "--exclude-checks=positive_data_acceptance,negative_data_rejection,missing_required_header"
    output = fuzz(patient, tmp_path, config, "--phases=coverage,fuzzing", no_judgement)
    assert asked(output) == operations(), output


def test_operations_one_after_the_other_keep_it(patient: Served, tmp_path: Path) -> None:
    fuzz(patient, tmp_path, PROMISES, "--phases=stateful")
    with patient.client(bearer(patient.key("admin"))) as client:
        assert client.get("/health/ready").status_code == 200
        assert client.get(f"{API}/inbox/deliveries").status_code == 200
