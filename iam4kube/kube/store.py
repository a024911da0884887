"""The objects of one watch, by namespace and name."""

from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

T = TypeVar("T")


class Store(Mapping[str, T], Generic[T]):
    """A read-only mapping from `namespace/name` (`name` for a cluster-scoped kind) to the object.

    Inside, one dictionary a namespace, with the object's own name as the key: keys of both would be 150,000
    strings of 100 bytes that nothing else needs.
    """

    def __init__(self) -> None:
        self._objects: dict[str, dict[str, T]] = {}
        self._count = 0

    def find(self, namespace: str, name: str) -> T | None:
        """The object, or None."""
        objects = self._objects.get(namespace)
        return None if objects is None else objects.get(name)

    def __getitem__(self, key: str) -> T:
        namespace, _, name = key.rpartition("/")
        return self._objects[namespace][name]

    def __iter__(self) -> Iterator[str]:
        for namespace, objects in self._objects.items():
            for name in objects:
                yield f"{namespace}/{name}" if namespace else name

    def __len__(self) -> int:
        return self._count


class OwnedStore(Store[T]):
    """The same, for the one who owns it."""

    def put(self, namespace: str, name: str, obj: T) -> T | None:
        """Store an object and return the one that it replaces."""
        objects = self._objects.setdefault(namespace, {})
        old = objects.pop(name, None)  # not replaced in place: the key would keep the old object's name alive
        if old is None:
            self._count += 1
        objects[name] = obj
        return old

    def take(self, namespace: str, name: str) -> T | None:
        """Remove and return an object, if it is there."""
        objects = self._objects.get(namespace)
        old = None if objects is None else objects.pop(name, None)
        if objects is None or old is None:
            return None
        self._count -= 1
        if not objects:
            del self._objects[namespace]
        return old

    def copy(self) -> "OwnedStore[T]":
        """A shallow copy: 2 ms for 150,000 objects."""
        twin = OwnedStore[T]()
        twin._objects = {namespace: objects.copy() for namespace, objects in self._objects.items()}
        twin._count = self._count
        return twin

    def contents(self) -> list[T]:
        """All objects."""
        return [obj for objects in self._objects.values() for obj in objects.values()]
