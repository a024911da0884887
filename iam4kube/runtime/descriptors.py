"""File descriptors: every connection takes one, and so does every call to Kubernetes and to AWS."""

import resource


def raise_descriptor_limit() -> int:
    """Raise the number of open files from the soft limit to the hard one, and return it.

    Containers often start with a soft limit of 1,024 (systemd's default, which containerd 2 passes on), kept low for
    programs that use `select`. Eleven pods with 100 connections each would use that up, and no call would go out.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
