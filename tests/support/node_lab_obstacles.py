"""Whether tests of the router can run here."""

import ctypes
import shutil

from iam4kube.sandbox.network import obstacle

_PROGRAMS = ("nft", "iptables")
_PACKAGES = "Debian's nftables, libnftables1, iptables, iproute2"
_LIBRARY = "libnftables.so.1"


def netns_obstacle() -> str | None:
    """What stands in the way of tests marked `netns`, with its remedy, in one line; or nothing."""
    for program in _PROGRAMS:
        if shutil.which(program) is None:
            return f"there is no {program} in PATH (install {_PACKAGES}; they are in /usr/sbin)"
    try:
        ctypes.CDLL(_LIBRARY)
    except OSError:
        return f"there is no {_LIBRARY} (install {_PACKAGES})"
    return obstacle()
