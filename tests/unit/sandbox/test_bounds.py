"""The emulated API server's own bounds: history, and readers that cannot keep up."""

import pytest

from iam4kube.sandbox.kubernetes import objects
from iam4kube.sandbox.kubernetes.errors import ApiError
from iam4kube.sandbox.kubernetes.requests import parse_request
from iam4kube.sandbox.kubernetes.resources import BY_PLURAL
from iam4kube.sandbox.kubernetes.store import Store
from iam4kube.sandbox.kubernetes.watches import Bookmark, WatchStream

PODS = BY_PLURAL["pods"]


def test_the_oldest_changes_are_compacted() -> None:
    """Beyond its limit the history forgets, and what needs it is answered with 410."""
    store = Store(history_limit=2)
    before = store.revision
    for name in ("a", "b", "c"):
        store.put(PODS, f"default/{name}", objects.pod(name))
    with pytest.raises(ApiError, match="too old resource version"):
        store.since(PODS, before)
    assert [change.key for change in store.since(PODS, before + 1)] == ["default/b", "default/c"]
    assert set(store.objects(PODS, at=before + 1)) == {"default/a"}


@pytest.mark.looptime
async def test_a_reader_that_cannot_keep_up_is_cut_off() -> None:
    """A stream whose queue overflows ends, and its client lists anew."""
    request = parse_request("GET", "/api/v1/pods", {"watch": "true", "timeoutSeconds": "300"})
    stream = WatchStream(Store(), request, bookmark_period=60)
    stream.open()
    for revision in range(10_001):
        stream.offer(Bookmark(revision))
    assert [line async for line in stream.lines()] == []
    stream.close()
