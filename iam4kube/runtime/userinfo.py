"""URLs as they may be shown: the name and password in one (RFC 3986, 3.2.1) are nobody's business."""

import re

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def without_userinfo(url: str) -> str:
    """The URL without name and password, also where it is none: no scheme, a password with `/` or `#` in it."""
    scheme = _SCHEME.match(url)
    start = scheme.end() if scheme else 0
    return url[:start] + url[start:].rpartition("@")[2]
