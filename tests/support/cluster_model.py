"""Requests to a replica of which a cluster tells late, and what must hold of every answer.

Three truths, each behind the one before it: what the CNI has done, what the API server has been told, what the
watches have delivered. The model compares each answer with the first, and allows a wrong one in the one gap
that the design states: the asker's claim has not reached this replica yet, and the pod that was answered for
is, as far as has been delivered, a predecessor not cleaned up.

No answer may rest on an object as it was before what the watch has delivered of it, nor, once the watch has
been silent for 90 s and the API server can be read, on one that was replaced over 5 s ago.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from iam4kube.identity.outcomes import NoRole, Reason
from iam4kube.kube.objects import Address, Node, Pod, ServiceAccount
from iam4kube.metadata.lookup import Answer, Lookup, RoleAnswer
from tests.support.cluster import account, node, wall
from tests.support.cluster_world import ACCOUNTS, NODES, SILENT, Key, Object, Sandbox, World, loop_time


@dataclass
class Ask:
    """A request under way."""

    asker: Sandbox
    address: Address
    task: asyncio.Task[None] | None = None


class Model(World):
    """One interleaving. `step` does one thing at random and checks what must hold after everything."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.lookup = Lookup(
            identities=self.cluster.chain,
            confirmations=self.cluster.directory.confirmations,
            credentials=self.credentials,
            waits=self.cluster.waits,
            observer=lambda address, answer: None,
        )
        self.asks: list[Ask] = []
        self.answered = 0
        self.roles_answered = 0
        self.gap_used = 0
        self._reads: asyncio.Task[None] | None = None
        self._void: set[tuple[str, int]] = set()
        self._weights = [weight * self.random.choice(factors) for _, weight, factors in _DEEDS]

    # Deliveries and requests.

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
        answer = await self.lookup.answer(ask.address, deadline=loop_time() + 15)
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
        assert answer.fetched == identified.key, "credentials of another key"  # type: ignore[comparison-overlap]  # a key stands in for them
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
        if claim.deletion is not None and wall(loop_time()) > claim.deletion + 5 + 1e-3:
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


async def settle() -> None:
    """Let everything that is ready to run do so, without time passing."""
    for _ in range(8):
        await asyncio.sleep(0)
