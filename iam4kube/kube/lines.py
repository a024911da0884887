"""Cutting a watch's byte stream into its lines, one JSON event each."""

from collections.abc import AsyncIterator

from iam4kube.kube.errors import KubeUnreachable, OddObject

# etcd takes objects of up to 1.5 MiB by default, and a line that never ends must not fill memory.
LINE_LIMIT = 8 * 2**20


async def lines_of(pieces: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
    """Give the complete lines as they come, those that come together in one list, none of them empty.

    Raises `KubeUnreachable` when the stream ends in the middle of one, and `OddObject` for one over 8 MiB.
    """
    begun: list[bytes] = []
    size = 0
    async for piece in pieces:
        first, *rest = piece.split(b"\n")
        begun.append(first)
        size += len(first)
        if rest:
            *complete, last = (b"".join(begun), *rest)
            begun, size = [last], len(last)
            if lines := [line for line in complete if line]:
                yield lines
        if size > LINE_LIMIT:
            raise OddObject(f"a line of over {LINE_LIMIT} bytes")
    if size:
        raise KubeUnreachable("the watch was cut in the middle of a line")
