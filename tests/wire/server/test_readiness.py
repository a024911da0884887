"""Readiness of the whole server: what holds it up, what does not, and what it says meanwhile."""

import asyncio

from tests.support.metadata import ROLES
from tests.support.world import World, role_arn

POD = "127.0.1.1"


async def test_r03_one_role_that_sts_refuses_does_not_keep_the_server_from_getting_ready(world: World) -> None:
    """A permanent failure counts as tried, and the good role is served."""
    world.sts.trust.deny(role_arn("refused"))
    world.add_pod("127.0.1.9", role="refused", name="refused")
    world.add_pod(POD, role="orders", name="orders")
    async with world.replica() as replica:
        report = (await replica.admin("/readyz")).json
        assert report["ready"] is True
        assert report["roles"]["not_tried"] == 0
        assert (await replica.credentials(POD))["Code"] == "Success"


async def test_r03_ten_and_more_bad_roles_hold_up_neither_readiness_nor_other_roles(world: World) -> None:
    """Thirty of them, more than any number of workers: refused, or answered by errors each time."""
    for number in range(15):
        world.sts.trust.deny(role_arn(f"refused-{number}"))
        world.annotate(f"refused-{number}", role=f"refused-{number}")
        world.sts.faults.break_down(role_arn=role_arn(f"broken-{number}"))
        world.annotate(f"broken-{number}", role=f"broken-{number}")
    for number in range(40):
        world.annotate(f"good-{number}", role=f"good-{number}")
    world.add_pod(POD, role="orders", name="orders")
    async with world.replica("--sts-rate=50", "--sts-burst=50") as replica:
        assert (await replica.credentials(POD))["Code"] == "Success"
        world.add_pod("127.0.1.2", role="late", name="late")
        async with asyncio.timeout(2):
            assert (await replica.ask("GET", ROLES, "127.0.1.2")).text == "late"


async def test_a_replica_says_what_it_waits_for_and_gets_ready_when_it_comes(world: World) -> None:
    """First a permission, then STS: each is named in numbers, and neither needs a restart."""
    world.add_pod(POD, role="orders", name="orders")
    forbidden = world.kubernetes.faults.forbid(verb="list", resource="pods")
    down = world.sts.faults.break_down()
    async with world.replica(ready=False) as replica:
        await replica.until(lambda: any("Permission missing" in message for message in replica.messages))
        answered = await replica.admin("/readyz")
        assert answered.status == 503
        [line] = [line for line in answered.json["missing"] if line.startswith("pods")]
        assert "the first list is not complete" in line
        assert "403" in line
        [log] = [entry for entry in replica.log if "Permission missing" in entry["message"]][:1]
        assert (log["verb"], log["resource"]) == ("list", "pods")
        forbidden.lift()
        await replica.until(lambda: replica.logged("Listed", resource="pods"))
        answered = await replica.admin("/readyz")
        assert answered.status == 503
        assert answered.json["missing"] != []
        assert all(not line.startswith("pods") for line in answered.json["missing"])
        down.lift()
        await replica.become_ready()
        assert (await replica.admin("/readyz")).status == 200


async def test_ready_once_stays_ready_without_kubernetes_and_sts(world: World) -> None:
    """An outage of either must not take all replicas out of the Service."""
    world.add_pod(POD, role="orders", name="orders")
    async with world.replica() as replica:
        await world.kubernetes.stop()
        await world.sts.stop()
        await replica.until(lambda: "List or watch failed" in replica.messages)
        assert (await replica.admin("/readyz")).status == 200
        assert (await replica.admin("/livez")).status == 200
        assert (await replica.credentials(POD))["Code"] == "Success"


async def test_in_use_does_not_wait_for_roles_that_no_pod_uses(world: World) -> None:
    """With one call a second, fifty idle roles would take most of a minute."""
    for number in range(50):
        world.annotate(f"idle-{number}", role=f"idle-{number}")
    world.add_pod(POD, role="orders", name="orders")
    async with world.replica("--sts-rate=1", "--sts-burst=1", "--ready-when=in-use") as replica:
        report = (await replica.admin("/readyz")).json
        assert report["ready"] is True
        assert report["roles"]["counted"] == "in-use"
        assert (await replica.credentials(POD))["Code"] == "Success"


async def test_every_part_has_its_metrics_and_the_debug_page_its_numbers(world: World) -> None:
    """Watches, tables, credentials, requests, the loop: all on one page; the state without any secret."""
    world.add_pod(POD, role="orders", name="orders")
    async with world.replica() as replica:
        document = await replica.credentials(POD)
        page = (await replica.admin("/metrics")).text
        state = await replica.debug("/debug/state")
    for name in (
        'iam4kube_watch_age_seconds{resource="pods"}',
        "iam4kube_identity_nodes 1.0",
        "iam4kube_sts_calls_total",
        "iam4kube_metadata_requests_total",
        "iam4kube_event_loop_lag_seconds_bucket",
        "iam4kube_ready 1.0",
        "iam4kube_draining 0.0",
        "iam4kube_token_key{",
        "iam4kube_build_info",
        "process_resident_memory_bytes",
    ):
        assert name in page, name
    assert state.json["identity"]["service_accounts"] == 1
    assert state.json["metadata"]["waits"] == 0
    for secret in (document["SecretAccessKey"], document["Token"], document["AccessKeyId"]):
        assert secret not in page
        assert secret not in state.text
        assert secret not in "\n".join(replica.output)
