"""What a watch can be told: which objects, which sizes and times, how long to wait after failures."""

from dataclasses import dataclass
from typing import Final, Protocol


class Delays(Protocol):
    """Back-off: how long to wait after a failure. `runtime.backoff`."""

    def next_delay(self) -> float:
        """Seconds."""
        ...


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which objects of a kind. All of them by default."""

    namespace: str = ""
    label_selector: str = ""
    field_selector: str = ""

    def query(self) -> dict[str, str]:
        """The selectors, as query parameters."""
        selectors = {"labelSelector": self.label_selector, "fieldSelector": self.field_selector}
        return {name: selector for name, selector in selectors.items() if selector}


@dataclass(frozen=True, kw_only=True)
class WatchLimits:
    """Sizes and times of list and watch, in seconds."""

    page_size: int = 500
    """Objects a page. client-go's; pages of 5,000 pods blocked the event loop for 154 ms."""
    list_timeout: float = 60.0
    """For each page."""
    watch_seconds: tuple[float, float] = (300.0, 600.0)
    """After which the server ends the watch, drawn at random: client-go's, so that not all come back at once."""
    idle_timeout: float = 70.0
    """Silence after which a watch counts as dead. The API server sends a bookmark every 60 s, but none while its
    own version does not advance: a kind that nobody writes to can be silent for hours (kube-apiserver 1.34)."""
    proven_after: float = 1.0
    """A watch that has been accepted, and has said nothing else for this long, counts as heard of: the server is
    there, and has no change to tell. An expired version is told at once."""
    short_watch: float = 1.0
    """A watch that ends in good order before this, without any event, counts as failed. client-go's."""


EVERYTHING: Final = Selection()
DEFAULT_LIMITS: Final = WatchLimits()
