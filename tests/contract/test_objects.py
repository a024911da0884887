"""What reading and writing single objects relies on: versions, status, patches, graceful deletion, refusals."""

import pytest

from iam4kube.sandbox.kubernetes import objects
from tests.contract.conftest import Answer, ApiServer

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


def refusal(answer: Answer) -> tuple[int, str]:
    """The status and the reason of an answer that is a Status."""
    assert answer.body["kind"] == "Status"
    assert answer.body["code"] == answer.status
    return answer.status, answer.body["reason"]


async def test_a_new_object_gets_an_identity(server: ApiServer) -> None:
    """uid, creation time, version and namespace are the server's; one created anew is another object."""
    role_arn = "arn:aws:iam::111122223333:role/x"
    first = await server.create(objects.service_account("robot", role_arn=role_arn))
    assert first["metadata"]["namespace"] == server.namespace
    assert first["metadata"]["annotations"] == {objects.ROLE_ARN: role_arn}
    assert {"uid", "creationTimestamp", "resourceVersion"} < set(first["metadata"])
    await server.ask("DELETE", server.path("serviceaccounts", "robot"))
    second = await server.create(objects.service_account("robot"))
    assert second["metadata"]["uid"] != first["metadata"]["uid"]


async def test_a_generated_name(server: ApiServer) -> None:
    """`generateName` is a prefix."""
    account = objects.service_account("")
    account["metadata"] = {"generateName": "robot-"}
    created = await server.create(account)
    assert created["metadata"]["name"].startswith("robot-")
    assert created["metadata"]["name"] != "robot-"


async def test_what_does_not_fit_is_refused(server: ApiServer) -> None:
    """What is missing, there already, unnamed or of an unknown format is refused with its own reason."""
    path = server.path("serviceaccounts")
    account = {"metadata": {"name": "robot"}}
    await server.ask("POST", path, account)

    missing = await server.ask("GET", f"{path}/nobody")
    assert refusal(missing) == (404, "NotFound")
    assert missing.body["message"] == 'serviceaccounts "nobody" not found'
    assert refusal(await server.ask("POST", path, account)) == (409, "AlreadyExists")
    assert refusal(await server.ask("POST", path, {"metadata": {}})) == (422, "Invalid")
    elsewhere = "/api/v1/namespaces/nowhere/serviceaccounts"
    assert refusal(await server.ask("POST", elsewhere, account)) == (404, "NotFound")
    assert refusal(await server.ask("PATCH", f"{path}/nobody", {}, content_type=MERGE)) == (404, "NotFound")
    assert (await server.ask("PATCH", f"{path}/robot", {}, content_type="application/x")).status == 415


async def test_an_unknown_token_is_refused(server: ApiServer) -> None:
    """401, with a Status."""
    async with server.session.get("/api/v1/pods", headers={"Authorization": "Bearer wrong"}) as response:
        assert (response.status, (await response.json())["reason"]) == (401, "Unauthorized")


async def test_an_update_of_an_old_version_is_refused(server: ApiServer) -> None:
    """Whoever has not seen the last write gets 409; without a version the update is unconditional."""
    account = await server.create(objects.service_account("robot"))
    path = server.path("serviceaccounts", "robot")
    await server.ask("PATCH", path, {"metadata": {"labels": {"x": "y"}}}, content_type=MERGE)
    assert refusal(await server.ask("PUT", path, account)) == (409, "Conflict")
    del account["metadata"]["resourceVersion"]
    assert (await server.ask("PUT", path, account)).status == 200


async def test_a_write_that_changes_nothing_is_no_event(server: ApiServer) -> None:
    """The version stays, and a watch says nothing."""
    account = await server.create(objects.service_account("robot"))
    version = account["metadata"]["resourceVersion"]
    answer = await server.ask("PUT", server.path("serviceaccounts", "robot"), account)
    assert (answer.status, answer.body["metadata"]["resourceVersion"]) == (200, version)
    assert await server.watch(server.path("serviceaccounts"), resourceVersion=version) == []


async def test_an_object_and_its_status_are_written_apart(server: ApiServer) -> None:
    """A pod begins as Pending; its status changes through the subresource only, and nothing else does there."""
    wanted = objects.pod("web", addresses=["10.1.2.3", "fd00::3"])
    created = await server.create(wanted)
    assert created["status"]["phase"] == "Pending"
    assert "podIP" not in created["status"]

    created["status"] = wanted["status"]
    created["spec"]["containers"][0]["image"] = "elsewhere"
    path = server.path("pods", "web")
    running = (await server.ask("PUT", f"{path}/status", created)).body
    assert running["status"]["podIPs"] == [{"ip": "10.1.2.3"}, {"ip": "fd00::3"}]
    assert running["spec"]["containers"][0]["image"] == wanted["spec"]["containers"][0]["image"]

    running["status"] = {"phase": "Failed"}
    running["metadata"]["labels"]["x"] = "y"
    labelled = (await server.ask("PUT", path, running)).body
    assert (labelled["status"]["phase"], labelled["metadata"]["labels"]["x"]) == ("Running", "y")


async def test_patches_of_a_status(server: ApiServer) -> None:
    """Strategic patches merge conditions by type; merge patches replace the list, and null removes."""
    pod = await server.create(objects.pod("web"))
    path = f"{server.path('pods', 'web')}/status"
    ready, initialized = {"type": "Ready", "status": "True"}, {"type": "Initialized", "status": "True"}
    patch = {"status": {"conditions": [ready], "message": "starting"}}
    first = (await server.ask("PATCH", path, patch, content_type=STRATEGIC)).body["status"]
    assert first["message"] == "starting"

    patch = {"status": {"conditions": [initialized, {"type": "Ready", "status": "False"}], "phase": "Running"}}
    second = (await server.ask("PATCH", path, patch, content_type=STRATEGIC)).body["status"]
    assert {c["type"]: c["status"] for c in second["conditions"]} == {"Ready": "False", "Initialized": "True"}

    removal = {"status": {"conditions": [initialized], "message": None}}
    third = (await server.ask("PATCH", path, removal, content_type=MERGE)).body
    assert [condition["type"] for condition in third["status"]["conditions"]] == ["Initialized"]
    assert (third["status"]["phase"], "message" in third["status"]) == ("Running", False)
    assert third["metadata"]["uid"] == pod["metadata"]["uid"]


async def test_events_are_counted_by_patches(server: ApiServer) -> None:
    """An event is posted once, and then its count patched; it is found by what it is about."""
    pod = await server.create(objects.pod("web"))
    event = objects.event(regarding=pod, reason="NoRole", message="no role", event_type="Warning")
    created = await server.create(event)
    path = server.path("events", created["metadata"]["name"])
    patch = {"count": 2, "lastTimestamp": "2026-01-02T03:05:00Z"}
    patched = await server.ask("PATCH", path, patch, content_type=STRATEGIC)
    assert (patched.status, patched.body["count"], patched.body["message"]) == (200, 2, "no role")
    selector = "involvedObject.name=web,involvedObject.kind=Pod,reason=NoRole,type=Warning"
    found = await server.get(server.path("events"), fieldSelector=selector)
    assert [item["count"] for item in found["items"]] == [2]
    assert refusal(await server.ask("PATCH", f"{path}x", patch, content_type=STRATEGIC)) == (404, "NotFound")


async def test_a_pod_on_a_node_is_deleted_gracefully(server: ApiServer) -> None:
    """It stays with a deletionTimestamp; a delete can shorten the time, and zero ends it."""
    await server.create(objects.pod("web", node="node-a", grace=40))
    path = server.path("pods", "web")
    deleted = await server.ask("DELETE", path)
    assert deleted.status == 200
    assert deleted.body["metadata"]["deletionGracePeriodSeconds"] == 40
    assert deleted.body["metadata"]["deletionTimestamp"] > deleted.body["metadata"]["creationTimestamp"]

    longer = await server.ask("DELETE", path, {"gracePeriodSeconds": 60})
    assert longer.body["metadata"]["deletionGracePeriodSeconds"] == 40
    shorter = await server.ask("DELETE", path, {"gracePeriodSeconds": 10})
    assert shorter.body["metadata"]["deletionGracePeriodSeconds"] == 10

    version = shorter.body["metadata"]["resourceVersion"]
    assert (await server.ask("DELETE", path, {"gracePeriodSeconds": 0})).status == 200
    assert refusal(await server.ask("GET", path)) == (404, "NotFound")
    events = await server.watch(server.path("pods"), resourceVersion=version)
    assert [event["type"] for event in events] == ["MODIFIED", "DELETED"]
    assert events[0]["object"]["metadata"]["deletionGracePeriodSeconds"] == 0


@pytest.mark.parametrize("phase", ["unscheduled", "Succeeded"])
async def test_a_pod_that_does_not_run_is_deleted_at_once(server: ApiServer, phase: str) -> None:
    """Nobody has to end what runs on no node, or has ended."""
    await server.create(objects.pod("web", node="" if phase == "unscheduled" else "node-a"))
    path = server.path("pods", "web")
    if phase == "Succeeded":
        await server.ask("PATCH", f"{path}/status", {"status": {"phase": phase}}, content_type=MERGE)
    await server.ask("DELETE", path)
    assert (await server.ask("GET", path)).status == 404


async def test_a_delete_of_another_object_of_the_same_name_is_refused(server: ApiServer) -> None:
    """A uid as precondition protects the successor."""
    await server.create(objects.service_account("robot"))
    options = {"preconditions": {"uid": "00000000-0000-0000-0000-000000000000"}}
    answer = await server.ask("DELETE", server.path("serviceaccounts", "robot"), options)
    assert refusal(answer) == (409, "Conflict")


async def test_a_node_registers_with_its_status(server: ApiServer) -> None:
    """Kubelets create nodes with addresses and bootID, outside any namespace."""
    name = f"{server.namespace}-node"
    created = await server.create(objects.node(name, addresses=["10.9.8.7"], boot_id="boot-1"))
    try:
        assert "namespace" not in created["metadata"]
        assert created["status"]["nodeInfo"]["bootID"] == "boot-1"
        patch = {"status": {"nodeInfo": {"bootID": "boot-2"}}}
        rebooted = await server.ask("PATCH", f"/api/v1/nodes/{name}/status", patch, content_type=MERGE)
        assert rebooted.body["status"]["nodeInfo"]["bootID"] == "boot-2"
        assert {"type": "InternalIP", "address": "10.9.8.7"} in rebooted.body["status"]["addresses"]
    finally:
        await server.ask("DELETE", f"/api/v1/nodes/{name}")
