"""How long it takes to look for the connections of an endpoint that is gone, among those that a node tracks."""

import socket
from functools import partial
from time import perf_counter

from pyroute2.netlink.nfnetlink.nfctsocket import NFCTAttrTuple, NFCTSocket

from bench.figures import Figure, spread
from bench.processes import SERVER_CORE, pinned
from iam4kube.kube.objects import Address
from iam4kube.sandbox.network import Namespace
from ip2service.kernel.conntrack import ConnectionTracking
from ip2service.kernel.netlink import Netlink
from ip2service.layout import STAND_IN, Family
from tests.support.router_process import ROUTER_PORT

CONNECTIONS = 1_000
_SERVER, _POD = Address("10.2.0.1"), Address("10.1.0.1")
_ENTRY_SECONDS = 600
_FIRST_PORT = 10_000


async def forgetting(*, times: int) -> list[Figure]:
    """All connections are to an endpoint that stays, so that each time there are as many."""
    with pinned(SERVER_CORE), Namespace() as namespace:
        namespace.run(_track)
        async with Netlink(enter=namespace.enter) as netlink:
            tracking = ConnectionTracking(netlink)
            forget = partial(tracking.forget, frontends=STAND_IN, port=ROUTER_PORT, keep={_SERVER})
            durations = []
            for _ in range(times):
                started = perf_counter()
                if await forget():
                    raise RuntimeError("a connection was forgotten whose endpoint stays")
                durations.append(perf_counter() - started)
    return spread(f"a look for a gone endpoint's connections among {CONNECTIONS:,}", durations)


def _track() -> None:
    number = int(socket.AF_INET)
    with NFCTSocket(nfgen_family=number) as table:
        for port in range(_FIRST_PORT, _FIRST_PORT + CONNECTIONS):
            tcp = partial(NFCTAttrTuple, family=number, proto=socket.IPPROTO_TCP)
            opened = tcp(saddr=_POD, daddr=STAND_IN[Family.IPV4], sport=port, dport=ROUTER_PORT)
            answered = tcp(saddr=_SERVER, daddr=_POD, sport=ROUTER_PORT, dport=port)
            table.entry("add", timeout=_ENTRY_SECONDS, tuple_orig=opened, tuple_reply=answered)
        if len(list(table.dump())) < CONNECTIONS:
            raise RuntimeError("the kernel does not track the connections that were made up")
