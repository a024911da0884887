"""`python -m bench [--quick] [warm|cold|sync|router ...]`: measure, and print one table."""

import argparse
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import cold, router, warm
from bench.cluster import Cluster
from bench.figures import Figure, table
from bench.load import generator
from bench.processes import OTHER_CORE, SERVER_CORE, first_line, pin, process
from bench.server import Server, serving
from bench.sync import sync
from iam4kube.kube.client import KubeClient
from iam4kube.kube.configuration import Kubeconfig
from iam4kube.runtime.lifecycle import run
from tests.support.controlplane import ControlPlane

_MEASUREMENTS = ("warm", "cold", "sync", "router")
# So that the measurement does not wait for prefetch, which is limited to 10 calls a second for AWS's sake.
_STS_RATE = 1000


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much of everything."""

    load_seconds: float
    rate_seconds: float
    times: int
    sync_share: float
    router: router.Effort


WHOLE = Effort(load_seconds=3, rate_seconds=10, times=200, sync_share=1.0, router=router.WHOLE)
QUICK = Effort(load_seconds=1, rate_seconds=2, times=30, sync_share=0.1, router=router.QUICK)

Section = tuple[str, Sequence[Figure]]


async def measure(wanted: Sequence[str], effort: Effort) -> list[Section]:
    """Run the measurements, one after the other."""
    sections: list[Section] = []
    with tempfile.TemporaryDirectory(prefix="iam4kube-bench-") as name:
        folder = Path(name)
        async with _world(folder) as (kubeconfig, environ):
            if "warm" in wanted or "cold" in wanted:
                async with _populated(kubeconfig, environ, folder) as (server, cluster):
                    if "warm" in wanted:
                        sections.append((f"warm, load by {generator()}", await _warm(server, effort, folder)))
                    if "cold" in wanted:
                        sections.append(("cold, against the emulated API server", await _cold(server, cluster, effort)))
            if "cold" in wanted and "KUBEBUILDER_ASSETS" in os.environ:
                with _control_plane(Path(os.environ["KUBEBUILDER_ASSETS"]), folder) as real:
                    async with _populated(real, environ, folder) as (server, cluster):
                        sections.append(("cold, against a real API server", await _cold(server, cluster, effort)))
            if "sync" in wanted:
                figures = await sync(share=effort.sync_share, environ=environ, folder=folder)
                sections.append(("sync, from an API that makes its lists as it is asked", figures))
            if "router" in wanted:
                sections += await _router(kubeconfig, effort, folder)
    return sections


async def _warm(server: Server, effort: Effort, folder: Path) -> list[Figure]:
    figures = await warm.latency(server, seconds=effort.rate_seconds)
    for keep_alive in (True, False):
        figures += await warm.throughput(server, keep_alive=keep_alive, seconds=effort.load_seconds, folder=folder)
    return figures


async def _cold(server: Server, cluster: Cluster, effort: Effort) -> list[Figure]:
    return [
        *await cold.waiting_for_pod(server, cluster, times=effort.times),
        *await cold.waiting_for_account(server, cluster, times=effort.times),
        *await cold.first_credentials(server, cluster, times=effort.times),
    ]


async def _router(emulated: str, effort: Effort, folder: Path) -> list[Section]:
    if "KUBEBUILDER_ASSETS" not in os.environ:
        return await router.router(emulated, "the emulated API server", effort.router, folder)
    with _control_plane(Path(os.environ["KUBEBUILDER_ASSETS"]), folder) as real:
        return await router.router(real, "a real API server", effort.router, folder)


@asynccontextmanager
async def _world(folder: Path) -> AsyncIterator[tuple[str, Mapping[str, str]]]:
    """An API server and an STS: a kubeconfig for the one, the environment for the other."""
    log = folder / "world.log"
    async with process(["bench.world", str(folder)], core=OTHER_CORE, log=log) as child:
        said: Any = await first_line(child, log)
        yield said["kubeconfig"], said["environ"]


@contextmanager
def _control_plane(assets: Path, folder: Path) -> Iterator[str]:
    """A real API server, as the tests use it: its kubeconfig."""
    own = Path(tempfile.mkdtemp(prefix="control-plane-", dir=folder))
    with ControlPlane(assets, own) as control_plane:
        yield str(control_plane.kubeconfig(own / "kubeconfig"))


@asynccontextmanager
async def _populated(
    kubeconfig: str, environ: Mapping[str, str], folder: Path
) -> AsyncIterator[tuple[Server, Cluster]]:
    """A server that has all credentials in hand."""
    async with KubeClient(Kubeconfig(paths=(Path(kubeconfig),)), user_agent="iam4kube-bench") as client:
        cluster = Cluster(client)
        await warm.populate(cluster)
        await cold.populate(cluster)
        async with serving(kubeconfig=kubeconfig, environ=environ, sts_rate=_STS_RATE, folder=folder) as server:
            await server.ready()
            yield server, cluster


def main() -> int:
    """Measure and print. Returns the exit code: a missed bar is a result, not a failure."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure what the design promises in numbers.")
    parser.add_argument("measurements", nargs="*", metavar="warm|cold|sync|router", help="which ones; all if left out")
    parser.add_argument("--quick", action="store_true", help="a tenth of everything, for a first look")
    arguments = parser.parse_args()
    if unknown := set(arguments.measurements) - set(_MEASUREMENTS):
        parser.error(f"no such measurement: {', '.join(sorted(unknown))}")
    busy = os.getloadavg()[0]
    pin(OTHER_CORE)
    sections = run(measure(arguments.measurements or _MEASUREMENTS, QUICK if arguments.quick else WHOLE))
    cores = "a core each for server and load" if SERVER_CORE != OTHER_CORE else "ONE CORE FOR ALL: bars do not apply"
    print(
        f"{os.cpu_count()} cores, {cores}; load of the machine before: {busy:.1f}, which raises every 99th percentile\n"
    )
    print(table(sections))
    return 0


if __name__ == "__main__":
    sys.exit(main())
