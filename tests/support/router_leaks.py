"""Pods that try to reach the metadata service all the time, and the account of what came of it.

    async with trying(lab) as trials:
        async with trials.meanwhile("the router is killed"):
            await router.kill()
            await trials.more(3_000)
    assert not trials.sum["leaked"], trials.table("service mode")

The stand-in for the real service counts packets, whatever became of them: it is its word that counts.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from iam4kube.sandbox.network import METADATA_ADDRESSES
from tests.support.node_lab import REAL, LabHost, NodeLab
from tests.support.node_lab_attempts import SILENCE, Attempts, attempting
from tests.support.node_lab_probes import Result

COLUMNS = ("seconds", "attempts", "served", "refused", "unreachable", "silence", "leaked", "packets there")
"""How long it took; how many attempts, and how they ended, `leaked` being those that the real service answered; and
the packets that came as far as there."""

_AT_ONCE = 24  # in each family
_MOST = 10_000_000
_SECONDS = 170.0
_PATIENCE = 0.3  # seconds; answers take milliseconds
_OTHERS_PAUSE = 0.01  # seconds: each of these attempts costs this process a thread
_REFUSED = {"ECONNREFUSED", "ECONNRESET"}
_RESULTS = {Result.REFUSED: "refused", Result.UNREACHABLE: "unreachable", Result.TIMEOUT: "silence"}


class Trials:
    """All attempts of one test, by what happened to the node meanwhile."""

    def __init__(self, lab: NodeLab, routed: Sequence[Attempts]) -> None:
        """`routed` are those for the port that is routed."""
        self._lab = lab
        self._routed = routed
        self._others: Counter[str] = Counter()
        self.rows: dict[str, Counter[str]] = {}
        """Counts by what happened meanwhile, and by column."""

    @property
    def sum(self) -> Counter[str]:
        """All rows together."""
        return sum(self.rows.values(), Counter())

    @asynccontextmanager
    async def meanwhile(self, what: str) -> AsyncIterator[None]:
        """Count what ends during the block in a row of this name."""
        before = await self._counts()
        yield
        self.rows[what] = await self._counts() - before

    async def more(self, attempts: int) -> None:
        """Wait until so many more for port 80 have ended in each family. Raises `TimeoutError`."""
        await asyncio.gather(*(each.until(each.total + attempts) for each in self._routed))

    def table(self, title: str) -> str:
        """The account, for people."""
        rows = {**self.rows, "all": self.sum}
        width = max(map(len, (title, *rows)))
        lines = [f"{title:<{width}}" + "".join(f"{column:>15}" for column in COLUMNS)]
        for name, row in rows.items():
            lines.append(f"{name:<{width}}" + "".join(f"{row[column]:>15,}" for column in COLUMNS))
        return "\n".join(lines)

    async def try_others(self, pod: LabHost, *, until: asyncio.Event) -> None:
        """Other ports and protocols."""
        for address in itertools.cycle(METADATA_ADDRESSES):
            if until.is_set():
                return
            outcomes = await asyncio.gather(
                pod.connect(address, 8080, timeout=_PATIENCE),
                pod.ask_udp(address, 8080, timeout=_PATIENCE),
                pod.ask_udp(address, 80, timeout=_PATIENCE),
                pod.ping(address, timeout=_PATIENCE),
            )
            self._others.update(_RESULTS.get(outcome.result, "leaked") for outcome in outcomes)
            await asyncio.sleep(_OTHERS_PAUSE)

    async def _counts(self) -> Counter[str]:
        counts = sum(map(_ends, self._routed), self._others.copy())
        counts["attempts"] = counts.total()
        counts["packets there"] = (await self._lab.arrivals()).total()
        counts["seconds"] = round(asyncio.get_running_loop().time())
        return counts


def _ends(attempts: Attempts) -> Counter[str]:
    ends: Counter[str] = Counter()
    for name, count in attempts.answers.items():  # no name: accepted, and closed before the answer
        ends["leaked" if name == REAL else "served" if name else "refused"] += count
    for error, count in attempts.failures.items():
        ends["silence" if error == SILENCE else "refused" if error in _REFUSED else "unreachable"] += count
    return ends


@asynccontextmanager
async def trying(lab: NodeLab) -> AsyncIterator[Trials]:
    """Pods a and b try TCP port 80, each in a family of its own; pod c other ports and protocols in both."""
    async with AsyncExitStack() as stack:

        async def attempts(pod: str, address: str) -> Attempts:
            trial = attempting(
                lab.pod(pod), address, 80, most=_MOST, at_once=_AT_ONCE, seconds=_SECONDS, timeout=_PATIENCE
            )
            return await stack.enter_async_context(trial)

        routed = [await attempts(pod, address) for pod, address in zip("ab", METADATA_ADDRESSES, strict=True)]
        trials = Trials(lab, routed)
        ended = asyncio.Event()
        others = asyncio.create_task(trials.try_others(lab.pod("c"), until=ended), name="other ports and protocols")
        try:
            yield trials
        finally:
            ended.set()
            await others
