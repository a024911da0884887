"""The proxy on the way to the API server: looked at before it is used, and told of without its password.

A kubeconfig's `proxy-url` is used, or else what aiohttp finds in the environment at each request (`trust_env`,
aiohttp.helpers.get_env_proxy_for_url), which the official client does not look at. Many programs take
`name:password@proxy:3128` for a URL and aiohttp does not; its complaint quotes all of it.
"""

import os
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from iam4kube.kube.errors import KubeConfigError
from iam4kube.runtime.userinfo import without_userinfo

_SCHEMES: Final = ("http", "https")
_READ_BY_AIOHTTP: Final = ("http", "https", "ws", "wss")
_PORTS: Final = range(1, 65536)


def check_proxy(host: str, proxy: str | None) -> None:
    """Whether the way to the API server at this URL, by the kubeconfig's proxy if it names one, can be gone.

    Raises `KubeConfigError`.
    """
    if proxy:
        _check("proxy-url in the kubeconfig", proxy)
        return
    server = urlsplit(host)
    if server.hostname and proxy_bypass(server.hostname):
        return
    found = getproxies()
    # aiohttp parses all of them, whichever it needs.
    for scheme in _READ_BY_AIOHTTP:
        url = found.get(scheme, "").strip()  # as aiohttp does
        if url and (scheme == server.scheme or not parses(url)):
            _check(_variable(scheme, url), url)


def _check(name: str, url: str) -> None:
    if parses(url) and _is_proxy(url):
        return
    raise KubeConfigError(
        f"{name} is {without_userinfo(url)!r} (a name and password before @ are not shown); expected "
        "http://proxy:3128 or http://name:password@proxy:3128, with %-escapes for special characters in the "
        "password; or list the API server in NO_PROXY"
    )


def parses(url: str) -> bool:
    """Whether URL libraries get as far as the host and the port."""
    try:
        port = urlsplit(url).port
    except ValueError:
        return False
    return port is None or port in _PORTS


def _is_proxy(url: str) -> bool:
    # A password with / ? or # in it ends the host there: the rest is a path, and its beginning the port.
    parts = urlsplit(url)
    is_cut = "@" in parts.path + parts.query + parts.fragment
    host = parts.hostname or ""
    return parts.scheme in _SCHEMES and len(host.split()) == 1 and " " not in host and not is_cut


def _variable(scheme: str, value: str) -> str:
    """Which of the two spellings it comes from."""
    names = (f"{scheme}_proxy", f"{scheme}_proxy".upper())
    return next((name for name in names if os.environ.get(name, "").strip() == value), names[1])
