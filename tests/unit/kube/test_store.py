"""The store: a mapping by `namespace/name` that keeps no key twice."""

import pytest

from iam4kube.kube.store import OwnedStore


def test_it_is_a_mapping() -> None:
    """Objects are found, counted and iterated by `namespace/name`, or by `name` in the cluster's scope."""
    store: OwnedStore[int] = OwnedStore()
    store.put("shop", "web", 1)
    store.put("", "node-1", 2)
    assert dict(store) == {"shop/web": 1, "node-1": 2}
    assert (store.get("shop/web"), store.get("shop/none"), store.get("none/web")) == (1, None, None)
    with pytest.raises(KeyError):
        store["shop/none"]


def test_put_and_take_return_what_was_there() -> None:
    """The count follows, and an empty namespace leaves nothing behind."""
    store: OwnedStore[int] = OwnedStore()
    assert store.put("shop", "web", 1) is None
    assert store.put("shop", "web", 2) == 1
    assert len(store) == 1
    assert store.take("shop", "web") == 2
    assert store.take("shop", "web") is None
    assert (len(store), store._objects) == (0, {})


def test_a_copy_is_its_own() -> None:
    """What is taken from the copy stays in the store."""
    store: OwnedStore[int] = OwnedStore()
    store.put("shop", "web", 1)
    twin = store.copy()
    twin.take("shop", "web")
    assert (store.contents(), twin.contents()) == ([1], [])


def test_the_key_is_the_name_of_the_object_that_is_there() -> None:
    """A replaced object's name string is not kept alive by its successor's key."""
    store: OwnedStore[int] = OwnedStore()
    first, second = "".join(("we", "b")), "".join(("w", "eb"))
    store.put("shop", first, 1)
    store.put("shop", second, 2)
    (key,) = store._objects["shop"]
    assert key is second
