"""The router: how soon a change is in the kernel, what its rules cost, and what many changes cost it.

The router is the real one, on a node in network namespaces, against a real API server where there is one.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Figure
from bench.processes import resident_mebibytes
from bench.router_churn import churn
from bench.router_connections import forgetting
from bench.router_cost import cost
from bench.router_node import Api, RoutedNode, api, routed_node
from bench.router_propagation import propagation
from bench.router_tables import FOREIGN_RULES, load_foreign_rules, tables
from ip2service.layout import Mode
from tests.support.node_lab_obstacles import netns_obstacle

Section = tuple[str, Sequence[Figure]]


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much of everything."""

    times: int
    load_seconds: float
    load_rounds: int
    churn_seconds: float


WHOLE = Effort(times=400, load_seconds=2, load_rounds=7, churn_seconds=60)
QUICK = Effort(times=40, load_seconds=1, load_rounds=2, churn_seconds=10)


async def router(kubeconfig: str, server: str, effort: Effort, folder: Path) -> list[Section]:
    """All that is measured of the router; where it cannot be, a section's title says why.

    `server` is what the API server behind `kubeconfig` is.
    """
    if obstacle := netns_obstacle():
        return [(f"router: not measured, {obstacle}", ())]
    async with api(kubeconfig) as opened:
        soon, many = await _soon(opened, effort, folder), await _many(opened, effort, folder)
    sections: list[Section] = [
        (f"router: an EndpointSlice's change, from {server} to the kernel's map", soon),
        (f"router in endpoints mode: many changes at {server}", many),
    ]
    calls = await tables(times=effort.times // 4) + await forgetting(times=effort.times // 10)
    sections.append(("router's calls to the kernel, endpoints mode", calls))
    return [*sections, await _cost(effort, folder)]


async def _soon(api: Api, effort: Effort, folder: Path) -> list[Figure]:
    figures: list[Figure] = []
    for mode in Mode:
        async with routed_node(mode, api, folder) as node:
            figures += await propagation(node, mode, times=effort.times)
            if mode is Mode.ENDPOINTS:
                figures += await _beside_another_table(node, effort)
    return figures


async def _beside_another_table(node: RoutedNode, effort: Effort) -> list[Figure]:
    await load_foreign_rules(node.lab.node.namespace)
    beside = f"beside {FOREIGN_RULES:,} other rules"
    figures = await propagation(node, Mode.ENDPOINTS, times=effort.times, beside=f", {beside}")
    memory = resident_mebibytes(node.router.pid)[0]
    return [*figures, Figure(name=f"resident memory {beside}", value=memory, unit="MiB")]


async def _many(api: Api, effort: Effort, folder: Path) -> list[Figure]:
    async with routed_node(Mode.ENDPOINTS, api, folder) as node:
        return await churn(node, seconds=effort.churn_seconds, folder=folder)


async def _cost(effort: Effort, folder: Path) -> Section:
    if shutil.which("wrk") is None:
        return "cost of the rules: not measured, there is no wrk in PATH", ()
    figures = await cost(seconds=effort.load_seconds, rounds=effort.load_rounds, folder=folder)
    return "cost of the rules, load by wrk", figures
