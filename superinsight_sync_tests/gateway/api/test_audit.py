"""What keys do through the API is in their tenant's audit log, with the address that it came from."""

from superinsight_sync_tests.gateway.api.served import API, Served, bearer
from superinsight_sync_tests.gateway.doors import PUSH


def test_what_a_key_did_is_in_the_log_of_its_tenant_alone(served: Served) -> None:
    admin, far = served.key("admin"), served.key("admin", tenant="other")
    with served.client(bearer(admin)) as client:
        made = client.post(f"{API}/keys", json={"name": "n", "role": "viewer"}).json()
        assert client.delete(f"{API}/keys/{made['id']}").status_code == 204
        pushed = client.post(f"{PUSH}/batch?source=till", json=[{"a": 1}])
        body = client.get(f"{API}/inbox/deliveries/{pushed.json()['id']}/body")
        assert body.status_code == 200
        page = client.get(f"{API}/audit", params={"actor": admin.id}).json()
    assert [(r["action"], r["object"]) for r in page["records"]] == [
        ("delivery.read", pushed.json()["id"]),
        ("key.revoke", made["id"]),
        ("key.make", made["id"]),
    ]
    first = page["records"][0]
    assert first["actor_kind"] == "key" and first["origin"].startswith("127.0.") and page["next"] is None
    with served.client(bearer(far)) as client:
        assert client.get(f"{API}/audit", params={"actor": admin.id}).json()["records"] == []
        assert client.get(f"{API}/audit", params={"limit": 0}).status_code == 422


def test_pages_of_the_log_join(served: Served) -> None:
    admin = served.key("admin")
    with served.client(bearer(admin)) as client:
        whole = client.get(f"{API}/audit", params={"limit": 500}).json()["records"]
        first = client.get(f"{API}/audit", params={"limit": 1}).json()
        rest = client.get(f"{API}/audit", params={"limit": 499, "before": first["next"]}).json()
    assert [r["seq"] for r in first["records"] + rest["records"]] == [r["seq"] for r in whole]


def test_sessions_are_in_the_log_under_their_key(served: Served) -> None:
    admin = served.key("admin")
    form = {"grant_type": "client_credentials", "client_id": admin.id, "client_secret": admin.secret}
    with served.client() as client:
        given = client.post(f"{API}/auth/token", data=form).json()
        old = {"grant_type": "refresh_token", "refresh_token": given["refresh_token"]}
        assert client.post(f"{API}/auth/token", data=old).status_code == 200
        assert client.post(f"{API}/auth/token", data=old).status_code == 400
    found = [r for r in served.state.audit.list("acme") if r["object"] == admin.id][:2]
    assert [(r["action"], r["actor"]) for r in found] == [
        ("session.stolen", admin.id),
        ("session.begin", admin.id),
    ]
    assert found[0]["origin"].startswith("127.0.")
