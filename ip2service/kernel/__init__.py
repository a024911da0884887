"""The kernel: nftables' tables, policy rules, connection tracking, links, and the notices that they changed.

The only package that imports the bindings of libnftables and pyroute2. What blocks runs in a thread (`thread.py`),
under a deadline; what only waits runs on the event loop.
"""
