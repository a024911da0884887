"""What the design promises in numbers, measured: `python -m bench`, or `make bench`.

Every measurement runs the real `iam4kube serve` as a process of its own, on loopback, and asks it from outside. The
server has the first core to itself; load, API server and STS share the last. Figures of one run belong together:
throughput is a share of what a bare application reaches on the same core in the same run, and what the load
generator itself can do stands beside it.

    warm    credentials that are in hand: latency at a fixed rate, throughput as a share
    cold    from a change's reaching the API server to the answer that it makes possible
    sync    the largest supported cluster: seconds, memory, and how long the event loop is blocked
    router  the second program: from an EndpointSlice's change to the kernel, what its rules cost pods, many changes

The router is measured on a node in network namespaces; where none can be made, it says so and measures the rest.
"""
