"""A cluster that knows who really holds each address, driven at random against the tables and the chain.

Three truths, each behind the one before it: what the CNI has done, what the API server has been told, what the
watches have delivered. The model compares each answer with the first, and allows a wrong one in the one gap
that the design states: the asker's claim has not reached this replica yet, and the pod that was answered for
is, as far as has been delivered, a predecessor not cleaned up.

No answer may rest on an object as it was before what the watch has delivered of it, nor, once the watch has
been silent for 90 s and the API server can be read, on one that was replaced over 5 s ago.
"""

import asyncio
import random
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from iam4kube.identity.outcomes import NoRole, Reason
from iam4kube.kube.objects import Address, Node, Pod, ServiceAccount
from iam4kube.metadata.lookup import Answer, Lookup, RoleAnswer
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


@dataclass
class Ask:
    """A request under way."""

    asker: Sandbox
    address: Address
    task: asyncio.Task[None] | None = None


class InstantCredentials:
    """Has the credentials of every role that it was given, and counts who waits for the others."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.ready: set[RoleKey] = set()
        self.waiting = 0

    def lookup(self, key: RoleKey) -> object | None:
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
        versions.append(Version(_time(), item))
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
        return [v.item for v, end in zip(versions, ends, strict=True) if end >= _time() - BELIEVED]


class Model:
    """One interleaving. `step` does one thing at random and checks what must hold after everything."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.cluster = Cluster(max_stale=600)
        self.credentials = InstantCredentials(self.cluster)
        self.lookup = Lookup(
            identities=self.cluster.chain,
            confirmations=self.cluster.directory.confirmations,
            credentials=self.credentials,  # type: ignore[arg-type]  # hands out the key in place of credentials
            waits=self.cluster.waits,
            observer=lambda address, answer: None,
        )
        self.watches: dict[type[Object], Watch] = {Pod: Watch(), ServiceAccount: Watch(), Node: Watch()}
        self.sandboxes: list[Sandbox] = []
        self.lost = {"node-4"}  # not there yet; comes as lost ones come back
        self.asks: list[Ask] = []
        self.answered = 0
        self.roles_answered = 0
        self.gap_used = 0
        self.serial = 0
        self.rebooting = 1
        self.stalled = False
        self._reads: asyncio.Task[None] | None = None
        self._void: set[tuple[str, int]] = set()
        self._weights = [weight * self.random.choice(factors) for _, weight, factors in _DEEDS]

    # The world: the CNI, the kubelets, the API server.

    def write(self, item: Object) -> None:
        """The API server takes an object in; its watch will deliver it some time later."""
        self.watches[type(item)].write(_key(item), item)
        if isinstance(item, Pod | ServiceAccount):
            self.cluster.api.put(item)

    def erase(self, item: Object) -> None:
        """The API server forgets an object."""
        self.watches[type(item)].write(_key(item), None)
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
            self.write(msgspec.structs.replace(doomed, deletion=wall(_time() + self.random.choice([0, 1, 30]))))

    def do_stop_sandbox(self) -> None:
        """A terminating or completed pod's network is taken down; its status is written later, or never."""
        if boxes := self._boxes():
            self.random.choice(boxes).alive = False

    def _kill_overdue(self) -> None:
        """The kubelet kills what has outlived its grace period; the object may be stuck for ever."""
        for box in self._boxes():
            known = self._pod(box)
            if known is not None and known.deletion is not None and known.deletion < wall(_time()):
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
        self.cluster.watches.heard = _time() - self.random.choice([0, 100]) if self.stalled else None

    # The replica: deliveries and requests.

    def do_deliver(self) -> None:
        """One watch delivers its next events."""
        waiting = [kind for kind, watch in self.watches.items() if watch.queue]
        if waiting and not self.stalled:
            kind = self.random.choice(waiting)
            for _ in range(min(self.random.randint(1, 6), len(self.watches[kind].queue))):
                self._deliver(kind)

    def do_relist(self) -> None:
        """A watch was lost: a list takes its place, and what vanished is reported last."""
        if self.stalled:
            return
        kind = self.random.choice(list(self.watches))
        watch = self.watches[kind]
        watch.queue.clear()
        vanished = [key for key in watch.position if watch.current(key) is None]
        for key in sorted(watch.history.keys() - set(vanished)) + vanished:
            watch.queue.append((key, len(watch.history[key]) - 1))
        self.cluster.watches.listing = kind is Pod
        while watch.queue:
            self._deliver(kind)
        self.cluster.watches.listing = False

    def _deliver(self, kind: type[Object]) -> None:
        watch = self.watches[kind]
        key, position = watch.queue.popleft()
        old = watch.delivered(key)
        watch.position[key] = position
        new = watch.delivered(key)
        if old is not None and new is not None and old.uid != new.uid:
            self.cluster.feed(old, None)
            old = None
        if old is not None or new is not None:
            self.cluster.feed(old, new)
        if isinstance(old, Node) and isinstance(new, Node) and old.boot_id != new.boot_id:
            self._note_reboot(new)

    def _note_reboot(self, rebooted: Node) -> None:
        """What has been delivered of this node's pods was written before the reboot that we know of now."""
        pods = self.watches[Pod]
        for key in pods.position:
            known = pods.delivered(key)
            if isinstance(known, Pod) and known.node == rebooted.name:
                self._void.add((known.uid, known.status_mark))

    def do_ask(self) -> None:
        """A pod asks from the address that it really has."""
        askers = [box for box in self._boxes() if box.address is not None]
        if not askers or len(self.asks) > 6:
            return
        asker = self.random.choice(askers)
        assert asker.address is not None
        ask = Ask(asker, asker.address)
        ask.task = asyncio.get_running_loop().create_task(self._ask(ask))
        self.asks.append(ask)

    async def _ask(self, ask: Ask) -> None:
        answer = await self.lookup.answer(ask.address, deadline=_time() + 15)
        self.answered += 1
        self._check_answer(ask, answer)

    def do_hang_up(self) -> None:
        """A client gives up."""
        if self.asks and (task := self.random.choice(self.asks).task) is not None:
            task.cancel()

    # What must hold.

    async def start(self) -> None:
        """Nodes and ServiceAccounts exist and are known."""
        self._reads = asyncio.create_task(self.cluster.directory.confirmations.run())
        for name in sorted(set(NODES) - self.lost):
            self.write(node(name))
        for name in ACCOUNTS:
            self.write(account(name, None if name == "plain" else f"arn:aws:iam::111122223333:role/{name}-0"))
        await self.flush()
        self.cluster.sync()

    async def step(self) -> None:
        """Do one thing at random, let it take effect, check; sometimes let time pass, and check again."""
        ((do, _, _),) = self.random.choices(_DEEDS, self._weights)
        do(self)
        await settle()
        self.check()
        if self.random.random() < 0.25:
            await asyncio.sleep(self.random.choice([0.01, 0.2, 1, 1, 6, 95]))
            self._kill_overdue()
        await settle()
        self.check()

    def check(self) -> None:
        """No wrong answer among those given, and nobody asleep whose answer is there."""
        done = [ask for ask in self.asks if ask.task is not None and ask.task.done()]
        self.asks = [ask for ask in self.asks if ask not in done]
        for ask in done:
            if ask.task is not None and not ask.task.cancelled():
                ask.task.result()
        for ask in self.asks:
            self._check_asleep(ask)

    def _check_answer(self, ask: Ask, answer: Answer) -> None:
        if isinstance(answer, NoRole) and answer.reason == Reason.NO_ANNOTATION:
            self._check_role(answer.pod.service_account, None)
        if not isinstance(answer, RoleAnswer):
            return
        self.roles_answered += 1
        identified = answer.identified
        assert answer.fetched == identified.key, "credentials of another key"  # type: ignore[comparison-overlap]
        assert identified.key.session_name == f"shop@{identified.pod.service_account}", "another session's name"
        self._check_role(identified.pod.service_account, identified.key.arn)
        asker = self.holder(ask.address)
        if asker is not ask.asker or identified.pod.uid == asker.uid:
            return  # the connection died with its pod, or the answer is its own
        self.gap_used += 1
        assert not self._has_reached_us(asker), f"{identified.pod.name}'s role for {asker.name}, whose claim was known"
        assert self._is_predecessor(identified.pod), f"{identified.pod.name} was known to hold the address no longer"

    def _check_role(self, service_account: str, role: str | None) -> None:
        """The answer's role is what its ServiceAccount names as far as may be believed."""
        believable = self._believable(ServiceAccount, ("shop", service_account))
        roles = {item.role_arn for item in believable if isinstance(item, ServiceAccount)}
        assert role in roles, f"{service_account} was known to name {role} no longer"

    def _believable(self, kind: type[Object], key: Key) -> list[Object | None]:
        watch = self.watches[kind]
        believable = watch.since_delivered(key)
        if self._is_silent() and not self._reads_fail():
            return [item for item in believable if item in watch.of_late(key)]
        return believable

    def _is_silent(self) -> bool:
        return self.cluster.watches.age() > SILENT

    def _reads_fail(self) -> bool:
        return self.cluster.directory.confirmations.api_is_down

    def _has_reached_us(self, asker: Sandbox) -> bool:
        """Whether the asker's claim to its address has been delivered, in the status that it wrote last."""
        known = self.watches[Pod].delivered(("shop", asker.name))
        if not isinstance(known, Pod) or known.uid != asker.uid:
            return False
        if (known.uid, known.status_mark) in self._void:
            return False  # it claimed the address under an earlier boot, and has said nothing since
        return asker.address in known.addresses and known.status_mark == asker.writes and asker.writes > 0

    def _is_predecessor(self, claim: Pod) -> bool:
        """Whether nothing that reached us says that the answered pod holds its address no longer."""
        if claim.finished or (claim.uid, claim.status_mark) in self._void:
            return False
        if claim.deletion is not None and wall(_time()) > claim.deletion + 5 + 1e-3:
            return False
        if self.watches[Node].delivered(("", claim.node)) is None:
            return False
        return claim in self._believable(Pod, ("shop", claim.name))

    def _check_asleep(self, ask: Ask) -> None:
        """A waiting request whose own answer can be had now was not woken."""
        if not self.cluster.waits.is_waited_for(("address", ask.address)):
            return  # it is reading live, not asleep
        if self._is_behind(ask.asker):
            return  # a live read told it more than the watch has: it sleeps until the watch says so too
        peeked = self.lookup.peek(ask.address)
        if isinstance(peeked, RoleAnswer) and peeked.identified.pod.uid == ask.asker.uid:
            raise AssertionError(f"{ask.asker.name} sleeps although its role is there")

    def _is_behind(self, asker: Sandbox) -> bool:
        pods, accounts = self.watches[Pod].queue, self.watches[ServiceAccount].queue
        return any(key == ("shop", asker.name) for key, _ in pods) or any(
            key == ("shop", asker.service_account) for key, _ in accounts
        )

    async def flush(self) -> None:
        """Everything written is delivered."""
        for kind in (Node, ServiceAccount, Pod):
            while self.watches[kind].queue:
                self._deliver(kind)
        await settle()

    async def finish(self) -> None:
        """The world comes to rest: who can be answered is, and nothing is left behind."""
        self.stalled, self.cluster.watches.heard = False, None
        self.cluster.api.down, self.cluster.api.delay = False, 0.0
        await self.flush()
        for key in list(self.cluster.sink.held):
            self.credentials.arrive(key)
        await settle()
        self.check()
        await self._cancel([ask.task for ask in self.asks if ask.task is not None])
        assert len(self.cluster.waits) == 0, "a wait was left behind"
        assert not self.cluster.waits._waiting, "a key was left behind"
        assert self.credentials.waiting == 0, "a demand was left behind"
        await self.stop()
        assert not self.cluster.directory.confirmations._flights, "a read was left behind"

    async def stop(self) -> None:
        """End what runs, however the interleaving went."""
        tasks: list[asyncio.Task[Any]] = [ask.task for ask in self.asks if ask.task is not None]
        await self._cancel(tasks if self._reads is None else [*tasks, self._reads])

    async def _cancel(self, tasks: Sequence[asyncio.Task[Any]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


_ALWAYS = (1,)
_SWARM = (0, 1, 1, 5)  # each interleaving does much of some things and nothing of others: rare mixtures come up
_DEEDS = (
    (Model.do_schedule, 8, _ALWAYS),
    (Model.do_give_address, 8, _ALWAYS),
    (Model.do_write_status, 9, _ALWAYS),
    (Model.do_hand_over, 2, _SWARM),
    (Model.do_delete_pod, 2, _SWARM),
    (Model.do_stop_sandbox, 2, _SWARM),
    (Model.do_write_finished, 2, _SWARM),
    (Model.do_remove_pod, 2, _SWARM),
    (Model.do_lose_node, 1, _SWARM),
    (Model.do_notice_lost_node, 1, _SWARM),
    (Model.do_register_anew, 1, _SWARM),
    (Model.do_reboot, 1, _SWARM),
    (Model.do_annotate, 2, _SWARM),
    (Model.do_fetch, 10, _ALWAYS),
    (Model.do_expire, 1, _SWARM),
    (Model.do_break_api, 1, _SWARM),
    (Model.do_stall, 1, _SWARM),
    (Model.do_deliver, 22, _ALWAYS),
    (Model.do_relist, 1, _SWARM),
    (Model.do_ask, 20, _ALWAYS),
    (Model.do_hang_up, 1, _SWARM),
)


def replace_node(known: Node, *, ready: bool = True, boot_id: str | None = None) -> Node:
    """The node as the kubelet or the node controller writes it next."""
    return msgspec.structs.replace(known, ready=ready, boot_id=boot_id or known.boot_id)


async def settle() -> None:
    """Let everything that is ready to run do so, without time passing."""
    for _ in range(8):
        await asyncio.sleep(0)


def _time() -> float:
    return asyncio.get_running_loop().time()


def _key(item: Object) -> Key:
    return getattr(item, "namespace", ""), item.name
