"""The metadata API of one replica: token keys, limits, application and listener, from the settings."""

from prometheus_client import CollectorRegistry

from iam4kube.metadata.application import Application, Lookups
from iam4kube.metadata.authentication import Authenticator, TokenPolicy
from iam4kube.metadata.guard import ConnectionGuard
from iam4kube.metadata.keyfile import KeyFileError, read_keyring
from iam4kube.metadata.keyring import Keyring, new_keyring
from iam4kube.metadata.keywatch import KeyWatch
from iam4kube.metadata.limits import ConnectionLimits, WaitingLimits
from iam4kube.metadata.metrics import ConnectionMetrics, KeyMetrics, MetadataMetrics
from iam4kube.metadata.protocol import guarded_protocol
from iam4kube.metadata.tokens import Tokens
from iam4kube.metadata.waiting import WaitingRoom
from iam4kube.runtime.clock import Now
from iam4kube.runtime.listener import Listener
from iam4kube.runtime.mistakes import SettingsError
from iam4kube.runtime.tasks import Supervisor
from iam4kube.server.settings import MetadataSettings


def load_keyring(settings: MetadataSettings, *, now: Now) -> Keyring:
    """The token keys that the settings name, or a new one. Raises `SettingsError`."""
    if settings.token_key_file is None:
        return new_keyring(now=now())
    try:
        return read_keyring(settings.token_key_file)
    except KeyFileError as error:
        raise SettingsError([f"--token-key-file: {error}"]) from error


class MetadataApi:
    """Where pods ask. `lookups` is whom it asks."""

    def __init__(
        self, settings: MetadataSettings, *, keyring: Keyring, lookups: Lookups, now: Now, registry: CollectorRegistry
    ) -> None:
        tokens = Tokens(keyring, now=now)
        metrics = MetadataMetrics(registry)
        key_metrics = KeyMetrics(registry)
        key_metrics.show(keyring)
        self._key_watch = (
            None
            if settings.token_key_file is None
            else KeyWatch(settings.token_key_file, keyring=keyring, use=tokens.use, metrics=key_metrics)
        )
        self.waiting = WaitingRoom(
            WaitingLimits(total=settings.max_waiting, per_source=settings.max_waiting_per_source)
        )
        application = Application(
            lookups=lookups,
            authenticator=Authenticator(tokens, policy=TokenPolicy(settings.imds_tokens), refused=metrics.refused),
            waiting=self.waiting,
            metrics=metrics,
            request_deadline=settings.request_deadline,
        )
        limits = ConnectionLimits(
            connections=settings.max_connections, connections_per_source=settings.max_connections_per_source
        )
        guard = ConnectionGuard(respond=application.respond, limits=limits, metrics=ConnectionMetrics(registry))
        self.listener = Listener(
            application, settings.listen, name="metadata", setting="--listen", protocol=guarded_protocol(guard)
        )

    def start(self, tasks: Supervisor) -> None:
        """Begin to follow the token key file, where there is one."""
        if self._key_watch is not None:
            tasks.start("token keys", self._key_watch.run())
