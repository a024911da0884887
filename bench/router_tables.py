"""How long the kernel calls of the router take, alone and beside another program's 20,000 rules."""

from collections.abc import Awaitable, Callable
from functools import partial
from time import perf_counter

from bench.figures import Figure, spread
from bench.processes import SERVER_CORE, pinned
from iam4kube.kube.objects import Address
from iam4kube.sandbox.network import Namespace
from ip2service.installed import InstalledRules
from ip2service.kernel.conntrack import ConnectionTracking
from ip2service.kernel.netlink import Netlink
from ip2service.kernel.nft import NfTables
from ip2service.kernel.policy_rules import PolicyRules
from ip2service.layout import STAND_IN, Contents, Endpoint, Family, Layout, Mode, Route

FOREIGN_RULES = 20_000
_SERVICES = FOREIGN_RULES // 4
_FOREIGN_SECONDS = 120.0
_PRIORITY = 89
_PORT = 8181


async def tables(*, times: int) -> list[Figure]:
    """Transactions that replace one of three endpoints, and verifications of everything."""
    with pinned(SERVER_CORE), Namespace() as namespace:
        async with NfTables(enter=namespace.enter) as nft, Netlink(enter=namespace.enter) as netlink:
            layout = Layout(mode=Mode.ENDPOINTS)
            rules = InstalledRules(
                layout,
                rule_priority=_PRIORITY,
                tables=nft,
                policy=PolicyRules(netlink, intercepted=layout.intercepted, priority=_PRIORITY),
                connections=ConnectionTracking(netlink),
            )
            await rules.prepare()
            alone = await _calls(rules, "alone", times=times)
            await load_foreign_rules(namespace)
            return alone + await _calls(rules, f"beside {FOREIGN_RULES:,} other rules", times=times)


async def load_foreign_rules(namespace: Namespace) -> None:
    """A table as kube-proxy writes one for 5,000 Services of one endpoint: 10,000 chains, and a map of verdicts."""
    async with NfTables(enter=namespace.enter, deadline=_FOREIGN_SECONDS) as nft:
        await nft.apply(_foreign_table())


async def _calls(rules: InstalledRules, where: str, *, times: int) -> list[Figure]:
    transactions = [await _seconds(partial(rules.apply, _contents(number))) for number in range(times)]
    verifications = [await _seconds(rules.verify) for _ in range(times)]
    return [
        *spread(f"{where}: a transaction that replaces an endpoint", transactions),
        *spread(f"{where}: a verification", verifications),
    ]


async def _seconds(call: Callable[[], Awaitable[object]]) -> float:
    started = perf_counter()
    await call()
    return perf_counter() - started


def _contents(number: int) -> Contents:
    prefixes = {Family.IPV4: "10.1.0.", Family.IPV6: "fd00:10:1::"}
    return Contents(
        routes={
            family: Route(
                frontend=STAND_IN[family],
                gate=True,
                endpoints=tuple(Endpoint(Address(f"{prefix}{host}"), _PORT) for host in (1, 2, 3 + number % 2)),
            )
            for family, prefix in prefixes.items()
        }
    )


def _foreign_table() -> str:
    numbers = range(_SERVICES)
    chains = "".join(_foreign_chains(number) for number in numbers)
    verdicts = ", ".join(f"{_cluster_ip(number)} . tcp . 80 : goto service-{number}" for number in numbers)
    return (
        f"table ip foreign {{\n{chains}"
        "\tmap services {\n\t\ttype ipv4_addr . inet_proto . inet_service : verdict\n"
        f"\t\telements = {{ {verdicts} }}\n\t}}\n"
        "\tchain prerouting {\n\t\ttype nat hook prerouting priority dstnat;\n"
        "\t\tip daddr . meta l4proto . th dport vmap @services\n\t}\n}\n"
    )


def _foreign_chains(number: int) -> str:
    pod = f"10.{200 + number // 62_500}.{number // 250 % 250}.{number % 250 + 1}"
    return (
        f"\tchain endpoint-{number} {{\n"
        f"\t\tip saddr {pod} meta mark set meta mark or 0x4000\n"
        "\t\tcounter\n"
        f"\t\tmeta l4proto tcp dnat to {pod}:8080\n\t}}\n"
        f"\tchain service-{number} {{\n\t\tnumgen random mod 1 vmap {{ 0 : goto endpoint-{number} }}\n\t}}\n"
    )


def _cluster_ip(number: int) -> str:
    return f"10.96.{number // 250}.{number % 250 + 1}"
