"""Going and coming back without losing a request, in processes of their own."""

import asyncio
import signal
import time
from collections import Counter

from tests.support.balancer import Balancer
from tests.support.metadata import ROLES, TOKEN_HEADER, TOKEN_PATH, TTL_HEADER
from tests.support.world import World, ask

PODS = [f"127.0.1.{number}" for number in range(1, 21)]
RATE = 200  # new connections a second


async def request(port: int, source: str) -> str:
    """One request as a client sees it: the status, or how the connection failed."""
    try:
        return str((await ask(port, "GET", ROLES, source=source)).status)
    except (OSError, TimeoutError) as error:
        return repr(error)


async def load(port: int, *, seconds: float) -> Counter[str]:
    """Requests on connections of their own at a steady rate, whatever becomes of the earlier ones."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    requests: list[asyncio.Task[str]] = []
    async with asyncio.TaskGroup() as group:
        for number in range(int(seconds * RATE)):
            await asyncio.sleep(max(0.0, started + number / RATE - loop.time()))
            requests.append(group.create_task(request(port, PODS[number % len(PODS)])))
    return Counter(each.result() for each in requests)


async def test_sigterm_under_load_fails_no_request(world: World) -> None:
    """Two replicas behind a balancer that follows /drainz; one goes while 200 connections a second come."""
    for number, address in enumerate(PODS):
        world.add_pod(address, role=f"role-{number}", name=f"pod-{number}")
    flags = ("--drain-time=2s", "--sts-rate=100", "--sts-burst=100")
    async with world.replica(*flags) as going, world.replica(*flags) as staying:
        async with Balancer([going.ports, staying.ports]) as balancer:
            loading = asyncio.create_task(load(balancer.port, seconds=6))
            await asyncio.sleep(1.5)
            going.terminate()
            assert await going.exit_code() == 0
            outcomes = await loading
        assert outcomes == {"200": 6 * RATE}
        assert balancer.forwarded[going.ports.metadata] > RATE / 2
        assert balancer.forwarded[staying.ports.metadata] > RATE


async def test_a_replica_that_goes_says_so_and_serves_on(world: World) -> None:
    """/drainz turns at once, /readyz does not; answers close their connections; the steps end in their order."""
    world.add_pod(PODS[0], role="orders", name="orders")
    async with world.replica("--drain-time=1s") as replica:
        assert (await replica.admin("/drainz")).status == 200
        replica.terminate()
        await replica.until(lambda: "Stop requested" in replica.messages)
        await asyncio.sleep(0.1)
        assert (await replica.admin("/drainz")).status == 503
        assert (await replica.admin("/readyz")).status == 200
        assert await replica.metric("iam4kube_draining") == 1
        answered = await replica.ask("GET", ROLES, PODS[0])
        assert (answered.status, answered.headers["connection"]) == (200, "close")
        assert await replica.exit_code() == 0
    steps = [(entry["step"], entry["outcome"]) for entry in replica.log if entry["message"] == "Stop step ended"]
    assert steps == [
        ("drain", "done"),
        ("waiting requests", "done"),
        ("metadata listener", "done"),
        ("operators' listeners", "done"),
        ("the rest", "done"),
    ]
    assert replica.messages[-1] == "Stopped"


async def test_a_request_that_waits_while_the_replica_goes_gets_its_answer(world: World) -> None:
    """The watches run on: a pod that becomes known during the drain, or after it, is answered."""
    world.annotate("late", role="late")
    async with world.replica("--drain-time=200ms") as replica:
        asking = asyncio.create_task(replica.ask("GET", ROLES, PODS[0]))
        await replica.until_metric("iam4kube_metadata_waiting_requests", 1)
        replica.terminate()
        await replica.until(lambda: replica.logged("Stop step ended", step="drain"))
        world.run_pod(PODS[0], name="late")
        assert (await asking).text == "late"
        assert await replica.exit_code() == 0


async def test_a_second_signal_ends_the_replica_at_once(world: World) -> None:
    """Whoever cannot wait gets what they ask for."""
    async with world.replica("--drain-time=30s") as replica:
        replica.terminate()
        await replica.until(lambda: "Stop requested" in replica.messages)
        started = time.monotonic()
        replica.terminate()
        assert await replica.exit_code() == 128 + signal.SIGTERM
        assert time.monotonic() - started < 2


async def test_kill_and_restart_lose_nothing(world: World) -> None:
    """A token issued before `kill -9` is good after it, on the same port, and the credentials are back."""
    world.add_pod(PODS[0], role="orders", name="orders")
    async with world.replica() as before:
        port = before.ports.metadata
        token = (await before.ask("PUT", TOKEN_PATH, PODS[0], **{TTL_HEADER: "21600"})).text
        await before.credentials(PODS[0], token=token)
        await before.kill()
    async with world.replica(f"--listen=127.0.0.1:{port}") as after:
        document = await after.credentials(PODS[0], token=token)
        assert document["Code"] == "Success"
        stolen = await after.ask("GET", ROLES, PODS[1], **{TOKEN_HEADER: token})
        assert stolen.status == 401
