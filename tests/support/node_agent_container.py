"""One container: its process, restarted as the kubelet does it, and what its probes say of it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime

from tests.support.node_agent_api import Object
from tests.support.node_agent_probes import Probe

Start = Callable[[], Awaitable[asyncio.subprocess.Process]]

# The kubelet asks its runtime once a second which containers have been started and have ended (generic PLEG).
_RELIST_SECONDS = 1.0
# Its back-off: at once after the first end, then 10 s, doubled each time up to 5 minutes.
_FIRST_DELAY, _LONGEST_DELAY = 10.0, 300.0
_KILLED = 137


class Container:
    """`run` it. `changed` is called whenever its status is another."""

    def __init__(
        self,
        spec: Object,
        *,
        restart_policy: str,
        grace: float,
        start: Start,
        ask: Callable[[Probe], Awaitable[bool]],
        changed: Callable[[], None],
    ) -> None:
        """`grace` is the time in seconds from SIGTERM to SIGKILL when a probe has it restarted."""
        self.name = str(spec["name"])
        self.ready = False
        self.restarts = 0
        self.killed_at = 0.0
        """When the process had to be killed, on the monotonic clock; 0 when none was."""
        self._spec = spec
        self._restart_policy = restart_policy
        self._grace = grace
        self._start = start
        self._ask = ask
        self._changed = changed
        self._process: asyncio.subprocess.Process | None = None
        self._state: Object = {"waiting": {"reason": "ContainerCreating"}}
        self._last_state: Object = {}
        self._started = False
        self._stopping = asyncio.Event()

    @property
    def pid(self) -> int:
        """The process' id."""
        assert self._process is not None, "it does not run"
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it has not ended."""
        ended = self._state.get("terminated")
        return None if ended is None else int(ended["exitCode"])

    async def run(self) -> None:
        """Run it until it is stopped, or has ended for good."""
        delay = 0.0
        while True:
            await self._live()
            if self._stopping.is_set() or not self._is_restarted():
                return
            self._last_state, self._state = self._state, {"waiting": {"reason": "CrashLoopBackOff"}}
            self._changed()
            if await self._is_stopped_within(delay):
                return
            delay = min(max(2 * delay, _FIRST_DELAY), _LONGEST_DELAY)
            self.restarts += 1

    async def stop(self, grace: float) -> None:
        """SIGTERM, and after `grace` seconds SIGKILL. It is not restarted."""
        self._stopping.set()
        await self._end(grace)

    async def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        await self.stop(0.0)

    def status(self) -> Object:
        """What the kubelet writes about it."""
        image = self._spec["image"]
        return {
            "name": self.name,
            "image": image,
            "imageID": image,
            "containerID": f"process://{self._process.pid if self._process else 0}",
            "ready": self.ready,
            "started": self._started,
            "restartCount": self.restarts,
            "state": self._state,
            "lastState": self._last_state,
        }

    async def _is_stopped_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        return self._stopping.is_set()

    def _is_restarted(self) -> bool:
        return self._restart_policy == "Always" or (self._restart_policy == "OnFailure" and self.exit_code != 0)

    async def _live(self) -> None:
        """One process, from its start to its end."""
        self._process = await self._start()
        began = timestamp()
        probing = asyncio.create_task(self._probe(), name=f"probes of {self.name}")
        noticing = asyncio.get_running_loop().call_later(_RELIST_SECONDS, self._run_since, began)
        try:
            code = await self._process.wait()
            if not self._stopping.is_set():
                await asyncio.sleep(_RELIST_SECONDS)
        finally:
            noticing.cancel()
            probing.cancel()
            await asyncio.wait([probing])
        self.ready = self._started = False
        code = code if code >= 0 else 128 - code
        reason = "Completed" if code == 0 else "Error"
        ended = {"exitCode": code, "reason": reason, "startedAt": began, "finishedAt": timestamp()}
        self._state = {"terminated": ended}
        self._changed()

    def _run_since(self, began: str) -> None:
        self._state = {"running": {"startedAt": began}}
        self._changed()

    async def _probe(self) -> None:
        if (startup := Probe.of(self._spec, "startupProbe")) is not None:
            await asyncio.sleep(startup.initial_delay)
            if not await startup.verdict(self._ask):
                await self._end(self._grace)
                return
        self._started = True
        async with asyncio.TaskGroup() as probes:
            probes.create_task(self._follow_readiness())
            probes.create_task(self._follow_liveness())

    async def _follow_readiness(self) -> None:
        """Goes on while the process ends, as the kubelet's does."""
        probe = Probe.of(self._spec, "readinessProbe")
        if probe is None:
            self._be_ready(True)
            return
        await asyncio.sleep(probe.initial_delay)
        while True:
            self._be_ready(await probe.verdict(self._ask))
            await asyncio.sleep(probe.period)

    async def _follow_liveness(self) -> None:
        probe = Probe.of(self._spec, "livenessProbe")
        if probe is None:
            return
        await asyncio.sleep(probe.initial_delay)
        while await probe.verdict(self._ask):  # noqa: ASYNC110  # another process answers
            await asyncio.sleep(probe.period)
        if not self._stopping.is_set():
            await self._end(self._grace)

    def _be_ready(self, ready: bool) -> None:
        if ready is not self.ready:
            self.ready = ready
            self._changed()

    async def _end(self, grace: float) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        if grace > 0:
            process.terminate()
            try:
                async with asyncio.timeout(grace):
                    await process.wait()
            except TimeoutError:
                self.killed_at = time.monotonic()
        if process.returncode is None:
            process.kill()
            await process.wait()


def timestamp() -> str:
    """Now, as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
