"""Whether network namespaces can be made here."""

import shutil

from iam4kube.sandbox.network.namespace import Namespace


def obstacle() -> str | None:
    """What stands in the way of a `NodeNetwork`, with its remedy, in one line; or nothing."""
    if shutil.which("ip") is None:
        return "the program ip is missing (install Debian's iproute2)"
    try:
        namespace = Namespace()
    except OSError as error:
        return f"no network namespace can be made: {error.strerror} (run it as root, or under: unshare --map-root-user)"
    try:
        for parameter in "ipv4.ip_forward", "ipv6.conf.all.forwarding":
            namespace.set_parameter(parameter, 1)
    except OSError as error:
        remedy = "in a container, /proc/sys/net has to be writable; the kernel has to have IPv6"
        return f"a network namespace cannot forward: {error} ({remedy})"
    finally:
        namespace.close()
    return None
