"""Re-reading the token key file, so that a rotation needs no restart.

Its content is polled: a mounted Secret changes by a swap of symlinks, which file notification on the path
misses, and a poll of a kilobyte costs 50 µs. A broken new file changes nothing: tokens signed a moment ago must
stay good.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from iam4kube.metadata.keyfile import KeyFileError, read_keyring
from iam4kube.metadata.keyring import Keyring
from iam4kube.metadata.metrics import KeyMetrics

logger = logging.getLogger(__name__)

POLL_SECONDS = 5.0  # beside the 60 to 90 s that the kubelet takes to write a changed Secret


class KeyWatch:
    """Owns which keyring is in force. `use` hears of each new one."""

    def __init__(self, path: Path, *, keyring: Keyring, use: Callable[[Keyring], None], metrics: KeyMetrics) -> None:
        self._path = path
        self._keyring = keyring
        self._use = use
        self._metrics = metrics
        self._complaint = ""
        metrics.show(keyring)

    async def run(self) -> None:
        """Poll for ever."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            self.poll()

    def poll(self) -> None:
        """Look once. Reads on the event loop: Secrets are mounted from memory."""
        try:
            keyring = read_keyring(self._path)
        except KeyFileError as error:
            self._complain(str(error))
            return
        self._metrics.file_is_good(True)
        self._complaint = ""
        if keyring != self._keyring:
            self._take(keyring)

    def _complain(self, complaint: str) -> None:
        self._metrics.file_is_good(False)
        if complaint != self._complaint:  # once for each defect, not with every poll
            self._complaint = complaint
            logger.error("Token key file is unusable, the keys read before stay in use", extra={"error": complaint})

    def _take(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._use(keyring)
        self._metrics.show(keyring)
        logger.info(
            "Token keys changed",
            extra={"key_ids": [key.id for key in keyring.keys], "signing_key_id": keyring.signing},
        )
