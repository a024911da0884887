"""What the demo with the router needs of the machine: a network of its own to build in, and what the router needs."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec

from iam4kube.runtime.mistakes import SettingsError
from iam4kube.sandbox.network import isolate, obstacle

_ROUTER_PACKAGES = ("nftables", "pyroute2")
_CHECK = (sys.executable, "-m", "ip2service", "check")
_CHECK_SECONDS = 20.0
_CANNOT_TELL = 2  # its exit code where rules cannot even be read


def move_into_own_network() -> None:
    """Isolate this process for good, and see that the router can run here; to be called before there are threads.

    Raises `SettingsError` with one line that says what is missing and what to do about it.
    """
    if problem := next(_obstacles(), None):
        raise SettingsError([f"the demo with the router cannot run here: {problem}"])


def _obstacles() -> Iterator[str]:
    """Each is only looked for when there is none before it."""
    missing = [package for package in _ROUTER_PACKAGES if find_spec(package) is None]
    if missing:
        yield f"it needs the package {missing[0]!r}; install the router with `pip install 'iam4kube[router]'`"
    if shutil.which("nsenter") is None:
        yield "the program nsenter is missing (install Debian's util-linux)"
    try:
        isolate()
    except OSError as error:
        yield (
            f"no network namespace can be made: {error.strerror} "
            "(run it as root, or allow user namespaces: user.max_user_namespaces, and on Ubuntu "
            "kernel.apparmor_restrict_unprivileged_userns=0; containers need --privileged)"
        )
    yield from filter(None, [obstacle(), _router_obstacle()])


def _router_obstacle() -> str | None:
    """What the router itself says is missing: libnftables, or nf_tables in the kernel."""
    try:
        check = subprocess.run(_CHECK, check=False, capture_output=True, text=True, timeout=_CHECK_SECONDS)
    except subprocess.TimeoutExpired as error:
        return str(error)
    if check.returncode < _CANNOT_TELL:
        return None
    return (check.stderr.strip() or check.stdout.strip() or f"{' '.join(_CHECK)} failed").splitlines()[-1]
