"""From a change's reaching the API server to the answer that it makes possible.

Time runs from the writer's acknowledgement, which is when a kubelet knows that its status has been written; the
watch event may be there before. Roles are fetched long before: prefetch does not wait for pods.
"""

import asyncio
from collections.abc import Coroutine
from time import perf_counter
from typing import Any

from bench.client import CREDENTIALS, Reply, ask, request_bytes
from bench.cluster import Cluster
from bench.figures import Figure, milliseconds
from bench.server import Server

ROLE = "cold-role"
_ACCOUNT = "cold"
_LATE_ACCOUNT = "cold-late"
_ARN = f"arn:aws:iam::111122223333:role/bench/{ROLE}"
_LATE_ADDRESS = "127.3.0.1"
# Long enough for a request to arrive and to be waiting; the server's own deadline is 15 s.
_HEAD_START = 0.02
_DEADLINE = 10.0

_GET_ROLE = request_bytes(CREDENTIALS)
_GET_CREDENTIALS = request_bytes(CREDENTIALS + ROLE)


async def populate(cluster: Cluster) -> None:
    """Two ServiceAccounts of one role, and a pod of the second."""
    for account in (_ACCOUNT, _LATE_ACCOUNT):
        await cluster.create_account(account, _ARN)
    await cluster.create_pod("cold-late", account=_LATE_ACCOUNT)
    await cluster.give_addresses("cold-late", [_LATE_ADDRESS])


async def waiting_for_pod(server: Server, cluster: Cluster, *, times: int) -> list[Figure]:
    """A request waits for its pod's address."""
    durations = []
    for number in range(times):
        name, address = f"cold-waiting-{number}", _address(2, number)
        await cluster.create_pod(name, account=_ACCOUNT)
        durations.append(await _answered_after(server, address, cluster.give_addresses(name, [address])))
    return milliseconds("a pod's address, to the waiting request's answer", durations, p50=1.0, p99=5.0)


async def waiting_for_account(server: Server, cluster: Cluster, *, times: int) -> list[Figure]:
    """A request waits for its pod's ServiceAccount, whose role is still in hand from a moment before."""
    durations = []
    for _ in range(times):
        await cluster.delete_account(_LATE_ACCOUNT)
        await asyncio.sleep(_HEAD_START)
        created = cluster.create_account(_LATE_ACCOUNT, _ARN)
        durations.append(await _answered_after(server, _LATE_ADDRESS, created))
    return milliseconds("a ServiceAccount, to the waiting request's answer", durations, p50=1.0, p99=5.0)


async def first_credentials(server: Server, cluster: Cluster, *, times: int) -> list[Figure]:
    """An SDK that asks the moment its pod's address is known: the role's name, then its credentials."""
    durations = []
    for number in range(times):
        name, address = f"cold-first-{number}", _address(4, number)
        await cluster.create_pod(name, account=_ACCOUNT)
        await cluster.give_addresses(name, [address])
        known = perf_counter()
        for request in (_GET_ROLE, _GET_CREDENTIALS):
            _check(await ask(server.port, request, source=address))
        durations.append(perf_counter() - known)
    return milliseconds("a pod's address, to its first credentials (list, then get)", durations, p50=2.0, p99=5.0)


async def _answered_after(server: Server, address: str, change: Coroutine[Any, Any, None]) -> float:
    """Seconds from the change's acknowledgement to the answer of a request that waits for it; zero if it came first."""
    answer = asyncio.create_task(_timed_answer(server, address))
    await asyncio.sleep(_HEAD_START)
    if answer.done():
        raise RuntimeError(f"{address} was answered {answer.result()[1].content[:200]!r} before anything changed")
    await change
    acknowledged = perf_counter()
    answered, reply = await answer
    _check(reply)
    return max(0.0, answered - acknowledged)


async def _timed_answer(server: Server, address: str) -> tuple[float, Reply]:
    async with asyncio.timeout(_DEADLINE):
        reply = await ask(server.port, _GET_CREDENTIALS, source=address)
        return perf_counter(), reply


def _check(reply: Reply) -> None:
    if reply.status != 200:
        raise RuntimeError(f"the server answered {reply.content[:200]!r}")


def _address(block: int, number: int) -> str:
    return f"127.{block}.{number // 250}.{number % 250 + 1}"
