"""`python -m bench.bulk_api PORT PODS ACCOUNTS NODES`: lists of the largest supported cluster, until SIGTERM.

An emulator that keeps 150,000 pods as objects would need gigabytes and be slower than what it is to measure. This one
makes each page when it is asked for, from one realistic object and what differs: 2 ms for 500 pods of 7.7 kB. Watches
stay open and silent, like those of a cluster in which nothing happens for a while.
"""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import uvicorn

from iam4kube.sandbox.kubernetes import objects

POD_BYTES = 7_700
_PODS_OF_A_NODE = 30
_VERSION = "1000000"
_MARKS = ("@NAME@", "@ACCOUNT@", "@NODE@", "@ADDRESS@", "@UID@")


class Template:
    """An object's JSON with gaps, filled in the order in which they stand."""

    def __init__(self, obj: dict[str, Any]) -> None:
        pieces, text = [], json.dumps(obj, separators=(",", ":"))
        while marks := [(text.index(mark), mark) for mark in _MARKS if mark in text]:
            start, mark = min(marks)
            pieces.append((text[:start].encode(), mark))
            text = text[start + len(mark) :]
        self._pieces, self._end = pieces, text.encode()

    def fill(self, values: dict[str, bytes]) -> bytes:
        """The object, with these values by mark."""
        return b"".join([part for piece, mark in self._pieces for part in (piece, values[mark])] + [self._end])


@dataclass(frozen=True)
class Collection:
    """All objects of one kind, made when they are asked for."""

    size: int
    item: Callable[[int], bytes]

    def page(self, start: int, limit: int) -> Iterator[bytes]:
        """A list's body."""
        end = min(start + limit, self.size)
        left = f',"continue":"{end}","remainingItemCount":{self.size - end}' if end < self.size else ""
        yield b'{"kind":"List","apiVersion":"v1","metadata":{"resourceVersion":"%b"%b},"items":[' % (
            _VERSION.encode(),
            left.encode(),
        )
        yield b",".join(map(self.item, range(start, end)))
        yield b"]}"


def collections(pods: int, accounts: int, nodes: int) -> dict[str, Collection]:
    """The cluster by path. Pods are spread over accounts and nodes; every account names a role of its own."""
    pod, account, node = _pod_template(), _account_template(), _node_template()

    def pod_item(number: int) -> bytes:
        return pod.fill(
            {
                "@NAME@": b"pod-%d" % number,
                "@ACCOUNT@": b"account-%d" % (number % accounts),
                "@NODE@": b"node-%d" % (number // _PODS_OF_A_NODE % nodes),
                "@ADDRESS@": b"100.%d.%d.%d" % (64 + number // 62_500, number // 250 % 250, number % 250 + 1),
                "@UID@": b"00000000-0000-4000-8000-%012d" % number,
            }
        )

    def account_item(number: int) -> bytes:
        uid = b"00000000-0000-4000-9000-%012d" % number
        return account.fill({"@NAME@": b"account-%d" % number, "@UID@": uid})

    def node_item(number: int) -> bytes:
        address = b"10.%d.%d.%d" % (number // 62_500, number // 250 % 250, number % 250 + 1)
        uid = b"00000000-0000-4000-a000-%012d" % number
        return node.fill({"@NAME@": b"node-%d" % number, "@ADDRESS@": address, "@UID@": uid})

    return {
        "/api/v1/pods": Collection(pods, pod_item),
        "/api/v1/serviceaccounts": Collection(accounts, account_item),
        "/api/v1/nodes": Collection(nodes, node_item),
    }


def _pod_template() -> Template:
    pod = objects.pod("@NAME@", namespace="bench", service_account="@ACCOUNT@", addresses=["@ADDRESS@"], node="@NODE@")
    pod["metadata"] |= {"uid": "@UID@", "resourceVersion": _VERSION}
    # Half of a real pod is who wrote which of its fields: strings within deep objects, which a decoder has to skip.
    owned: dict[str, Any] = {
        "f:status": {f'k:{{"type":"Condition-{number}"}}': {".": {}, "f:type": {}} for number in range(10)}
    }
    entry = {"manager": "kubelet", "operation": "Update", "apiVersion": "v1", "fieldsV1": owned}
    fields: list[dict[str, Any]] = []
    pod["metadata"]["managedFields"] = fields
    while len(json.dumps(pod, separators=(",", ":"))) < POD_BYTES:
        fields.append(entry)
    return Template(pod)


def _account_template() -> Template:
    role = "arn:aws:iam::111122223333:role/bench/@NAME@"
    account = objects.service_account("@NAME@", namespace="bench", role_arn=role)
    account["metadata"] |= {"uid": "@UID@", "resourceVersion": _VERSION}
    return Template(account)


def _node_template() -> Template:
    node = objects.node("@NAME@", addresses=["@ADDRESS@"])
    node["metadata"] |= {"uid": "@UID@", "resourceVersion": _VERSION}
    return Template(node)


def application(cluster: dict[str, Collection]) -> Any:
    """The API: lists, silent watches, and 404 for all the rest."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        query = parse_qs(scope["query_string"].decode())
        collection = cluster.get(scope["path"])
        status = 200 if collection is not None else 404
        await send(
            {"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]}
        )
        if collection is not None and "watch" in query:
            await _stay_silent(receive, send)
            return
        if collection is not None:
            start, limit = (
                int(query.get(name, [default])[0]) for name, default in (("continue", "0"), ("limit", "500"))
            )
            for part in collection.page(start, limit):
                await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return answer


async def _stay_silent(receive: Any, send: Any) -> None:
    await send({"type": "http.response.body", "body": b"", "more_body": True})
    while (await receive())["type"] != "http.disconnect":
        pass


def main() -> None:
    """Serve."""
    port, pods, accounts, nodes = map(int, sys.argv[1:])
    uvicorn.run(
        application(collections(pods, accounts, nodes)),
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
    )


if __name__ == "__main__":
    main()
