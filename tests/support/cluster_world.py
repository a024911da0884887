"""A cluster as it really is: CNI, kubelets and API server, doing at random what clusters do.

It knows who holds each address, what the API server has been told of it, and in which versions. What a replica
has been told of those is `cluster_model`'s.
"""

import asyncio
import random
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from iam4kube.kube.objects import Address, Node, Pod, ServiceAccount
from iam4kube.roles import RoleKey
from tests.support.cluster import Cluster, account, node, pod, wall

Object = Pod | ServiceAccount | Node
Key = tuple[str, str]

ADDRESSES = tuple(Address(f"10.0.0.{last}") for last in range(1, 4))
NODES = ("node-1", "node-2", "node-3", "node-4")
ACCOUNTS = ("orders", "billing", "plain")
SILENT = 90.0  # seconds after which a watch is not relied upon
BELIEVED = 5.2  # seconds for which a live read counts: 5 s of memory, 150 ms of reading


@dataclass
class Sandbox:
    """A pod as its node runs it."""

    name: str
    uid: str
    node: str
    service_account: str
    address: Address | None = None
    alive: bool = True
    writes: int = 0


class InstantCredentials:
    """Has the credentials of every role that it was given, and counts who waits for the others."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.ready: set[RoleKey] = set()
        self.waiting = 0

    def lookup(self, key: RoleKey) -> Any:
        """The key, in place of credentials."""
        return key if key in self.ready else None

    @contextmanager
    def demand(self, key: RoleKey, *, namespace: str) -> Iterator[None]:
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1

    def expire(self, key: RoleKey) -> None:
        self.ready.discard(key)

    def arrive(self, key: RoleKey) -> None:
        self.ready.add(key)
        self._cluster.waits.wake(key)


@dataclass
class Version:
    """An object as it stood in the API from one moment on; None: there was none."""

    since: float
    item: Object | None


@dataclass
class Watch:
    """What one watch has delivered, and what it has not delivered yet: positions in each object's history."""

    history: dict[Key, list[Version]] = field(default_factory=dict)
    position: dict[Key, int] = field(default_factory=dict)
    queue: deque[tuple[Key, int]] = field(default_factory=deque)

    def write(self, key: Key, item: Object | None) -> None:
        """The API server takes a version in."""
        versions = self.history.setdefault(key, [Version(0.0, None)])
        versions.append(Version(loop_time(), item))
        self.queue.append((key, len(versions) - 1))

    def delivered(self, key: Key) -> Object | None:
        """The object as the watch has last shown it."""
        return self.history[key][self.position[key]].item if key in self.position else None

    def current(self, key: Key) -> Object | None:
        """The object as the API server has it."""
        return self.history[key][-1].item if key in self.history else None

    def all_current(self) -> list[Object]:
        """Every object that there is."""
        return [versions[-1].item for versions in self.history.values() if versions[-1].item is not None]

    def since_delivered(self, key: Key) -> list[Object | None]:
        """The versions that are no older than what has been delivered."""
        return [version.item for version in self.history[key][self.position.get(key, 0) :]]

    def of_late(self, key: Key) -> list[Object | None]:
        """The versions that stood at some time within the reach of a live read."""
        versions = self.history[key]
        ends = [later.since for later in versions[1:]] + [float("inf")]
        return [v.item for v, end in zip(versions, ends, strict=True) if end >= loop_time() - BELIEVED]


class World:
    """One cluster. Each `do_` does one thing at random."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.cluster = Cluster(max_stale=600)
        self.credentials = InstantCredentials(self.cluster)
        self.watches: dict[type[Object], Watch] = {Pod: Watch(), ServiceAccount: Watch(), Node: Watch()}
        self.sandboxes: list[Sandbox] = []
        self.lost = {"node-4"}  # not there yet; comes as lost ones come back
        self.serial = 0
        self.rebooting = 1
        self.stalled = False

    def write(self, item: Object) -> None:
        """The API server takes an object in; its watch will deliver it some time later."""
        self.watches[type(item)].write(object_key(item), item)
        if isinstance(item, Pod | ServiceAccount):
            self.cluster.api.put(item)

    def erase(self, item: Object) -> None:
        """The API server forgets an object."""
        self.watches[type(item)].write(object_key(item), None)
        if isinstance(item, Pod):
            del self.cluster.api.pods[item.namespace, item.name]
        elif isinstance(item, ServiceAccount):
            del self.cluster.api.accounts[item.namespace, item.name]

    def holder(self, address: Address) -> Sandbox | None:
        """Who really holds an address."""
        return next((box for box in self.sandboxes if box.address == address and box.alive), None)

    def _free(self) -> list[Address]:
        return [address for address in ADDRESSES if self.holder(address) is None]

    def _boxes(self) -> list[Sandbox]:
        return [box for box in self.sandboxes if box.alive]

    def _pod(self, box: Sandbox) -> Pod | None:
        found = self.watches[Pod].current(("shop", box.name))
        return found if isinstance(found, Pod) and found.uid == box.uid else None

    def _node(self, name: str) -> Node | None:
        found = self.watches[Node].current(("", name))
        return found if isinstance(found, Node) else None

    def do_schedule(self) -> None:
        """A pod is made and bound to a node; it has no address yet."""
        names = [n for n in NODES if n not in self.lost and self._node(n) is not None]
        if not names:
            return
        self.serial += 1
        # A StatefulSet makes its pods anew under the old name.
        name = self.random.choice(["orders-0", "orders-1", f"orders-{self.serial + 10}"])
        if self.watches[Pod].current(("shop", name)) is not None:
            return
        box = Sandbox(name, f"uid-{self.serial}", self.random.choice(names), self.random.choice(ACCOUNTS))
        self.sandboxes.append(box)
        self.write(pod(box.name, uid=box.uid, node=box.node, service_account=box.service_account))

    def do_give_address(self) -> None:
        """The CNI gives a pod an address; nobody has told the API server yet."""
        waiting = [b for b in self._boxes() if b.address is None and b.node not in self.lost]
        free = self._free()
        if waiting and free:
            box = self.random.choice(waiting)
            box.address = self.random.choice(free)

    def do_write_status(self) -> None:
        """A kubelet writes a pod's status, late."""
        self._write_status([b for b in self._boxes() if b.node not in self.lost])

    def _write_status(self, boxes: list[Sandbox]) -> None:
        boxes = [b for b in boxes if b.address is not None and self._pod(b) is not None]
        if not boxes:
            return
        box = self.random.choice(boxes)
        known = self._pod(box)
        assert known is not None
        assert box.address is not None
        box.writes += 1
        self.write(msgspec.structs.replace(known, addresses=(box.address,), status_mark=box.writes))

    def do_hand_over(self) -> None:
        """A pod ends, is or is not cleaned up, and its address is given to the pod that has waited longest."""
        holders = [b for b in self._boxes() if b.address is not None]
        waiting = [b for b in self._boxes() if b.address is None and b.node not in self.lost]
        if not holders or not waiting:
            return
        ended = self.random.choice(holders)
        ended.alive = False
        known = self._pod(ended)
        if known is not None and self.random.random() < 0.7:
            self.erase(known)
        waiting[0].address = ended.address
        if self.random.random() < 0.3:
            self._write_status(waiting[:1])

    def do_delete_pod(self) -> None:
        """Somebody deletes a pod: it has its grace period."""
        pods = [p for p in self.watches[Pod].all_current() if isinstance(p, Pod) and p.deletion is None]
        if pods:
            doomed = self.random.choice(pods)
            self.write(msgspec.structs.replace(doomed, deletion=wall(loop_time() + self.random.choice([0, 1, 30]))))

    def do_stop_sandbox(self) -> None:
        """A terminating or completed pod's network is taken down; its status is written later, or never."""
        if boxes := self._boxes():
            self.random.choice(boxes).alive = False

    def _kill_overdue(self) -> None:
        """The kubelet kills what has outlived its grace period; the object may be stuck for ever."""
        for box in self._boxes():
            known = self._pod(box)
            if known is not None and known.deletion is not None and known.deletion < wall(loop_time()):
                box.alive = False

    def do_write_finished(self) -> None:
        """A kubelet writes that a pod's containers have all ended."""
        dead = [b for b in self.sandboxes if not b.alive and b.node not in self.lost]
        pods = [p for b in dead if (p := self._pod(b)) is not None and not p.finished]
        if pods:
            done = self.random.choice(pods)
            self.write(msgspec.structs.replace(done, finished=True, running=False, status_mark=done.status_mark + 1000))

    def do_remove_pod(self) -> None:
        """A dead pod's object goes: at the kubelet's word, or forced, or by the garbage collector."""
        pods = [p for b in self.sandboxes if not b.alive and (p := self._pod(b)) is not None]
        if pods:
            self.erase(self.random.choice(pods))

    def do_lose_node(self) -> None:
        """An instance dies: its pods are no more and their addresses are free, but nobody writes that."""
        names = [name for name in NODES if name not in self.lost and self._node(name) is not None]
        if len(names) > 1:
            name = self.random.choice(names)
            self.lost.add(name)
            for box in self.sandboxes:
                if box.node == name:
                    box.alive = False

    def do_notice_lost_node(self) -> None:
        """The node controller marks a lost node, later removes it; a new instance may come by the same name."""
        if not self.lost:
            return
        name = self.random.choice(sorted(self.lost))
        known = self._node(name)
        if known is None:
            if any(b.node == name and self._pod(b) is not None for b in self.sandboxes):
                return  # its pods are collected first
            self.lost.discard(name)
            self.rebooting += 1
            self.write(node(name, boot_id=f"boot-{self.rebooting}"))
        elif known.ready:
            self.write(replace_node(known, ready=False))
        else:
            self.erase(known)

    def do_register_anew(self) -> None:
        """A node's object is deleted while its kubelet runs on, which makes it anew."""
        names = [name for name in NODES if name not in self.lost and self._node(name) is not None]
        if names:
            known = self._node(self.random.choice(names))
            assert known is not None
            self.erase(known)
            self.write(known)

    def do_reboot(self) -> None:
        """A node reboots: every pod on it loses its address; the node says so first, its pods later."""
        names = [name for name in NODES if name not in self.lost and self._node(name) is not None]
        if not names:
            return
        name = self.random.choice(names)
        for box in self.sandboxes:
            if box.node == name:
                box.address = None
        known = self._node(name)
        assert known is not None
        self.rebooting += 1
        self.write(replace_node(known, boot_id=f"boot-{self.rebooting}"))

    def do_annotate(self) -> None:
        """A ServiceAccount gets a role, another one, or none; or it is deleted; or made anew."""
        name = self.random.choice(ACCOUNTS)
        known = self.watches[ServiceAccount].current(("shop", name))
        if known is not None and self.random.random() < 0.2:
            self.erase(known)
            return
        role = None if name == "plain" else f"arn:aws:iam::111122223333:role/{name}-{self.random.randrange(2)}"
        self.write(account(name, role if self.random.random() < 0.8 else None))

    def do_fetch(self) -> None:
        """STS answers for one of the roles that are held."""
        missing = [key for key in self.cluster.sink.held if key not in self.credentials.ready]
        if missing:
            self.credentials.arrive(self.random.choice(missing))

    def do_expire(self) -> None:
        """Credentials run out while STS is down."""
        if self.credentials.ready:
            self.credentials.expire(self.random.choice(sorted(self.credentials.ready, key=repr)))

    def do_break_api(self) -> None:
        """The API server stops answering live reads, or answers again, or answers slowly."""
        self.cluster.api.down = self.random.random() < 0.3
        self.cluster.api.delay = self.random.choice([0.0, 0.01, 1.0])

    def do_stall(self) -> None:
        """The watches fall silent, or (sooner) speak again."""
        self.stalled = not self.stalled and self.random.random() < 0.5
        self.cluster.watches.heard = loop_time() - self.random.choice([0, 100]) if self.stalled else None


def replace_node(known: Node, *, ready: bool = True, boot_id: str | None = None) -> Node:
    """The node as the kubelet or the node controller writes it next."""
    return msgspec.structs.replace(known, ready=ready, boot_id=boot_id or known.boot_id)


def loop_time() -> float:
    """The loop's clock, in seconds."""
    return asyncio.get_running_loop().time()


def object_key(item: Object) -> Key:
    """What an object is known by."""
    return getattr(item, "namespace", ""), item.name
