"""One router: every part, made in the order in which they need each other, and connected.

    Services, EndpointSlices --> backends --> wishes --> reconciler --> kernel
                  this Node -----^                       ^  |             |
                                                         |  +--> metrics, readiness --> events, startup taint
                                                         +------ notifications

Nothing here decides anything. What runs is started by `Router.start`.
"""

from prometheus_client import CollectorRegistry

from iam4kube.kube.client import KubeClient
from iam4kube.kube.events import EventRecorder
from iam4kube.kube.metrics import KubeMetrics
from iam4kube.kube.reflector import Reflector
from iam4kube.kube.resources import ENDPOINT_SLICES, SERVICES
from iam4kube.runtime.clock import Now, Uptime, machine_uptime
from iam4kube.runtime.metrics import LoopLag
from iam4kube.runtime.tasks import Supervisor
from ip2service.admin import admin_application, admin_listener
from ip2service.backends import Backends
from ip2service.bypass_watch import BypassWatch
from ip2service.installed import InstalledRules
from ip2service.kernel_access import Kernel
from ip2service.kernel_metrics import MeasuredTables
from ip2service.metrics import PROGRAM, RouterMetrics
from ip2service.node import NodeEvents, NodeReader
from ip2service.problems import ServiceReference
from ip2service.readiness import Readiness
from ip2service.reconciler import Reconciler
from ip2service.settings import RouterSettings
from ip2service.stale_connections import StaleConnections
from ip2service.startup_taint import StartupTaint
from ip2service.wishes import Wishes


class Router:
    """One router, assembled. Make it on the event loop that it is to run on. Starts nothing by itself."""

    def __init__(
        self,
        settings: RouterSettings,
        *,
        kernel: Kernel,
        client: KubeClient,
        now: Now,
        registry: CollectorRegistry,
        uptime: Uptime = machine_uptime,
    ) -> None:
        """`client` has to be open by the time of `start`. `uptime` is the node's."""
        self._settings = settings
        self._client = client
        self._kernel = kernel
        self._layout = kernel.layout
        self._node_name = settings.node.node_name
        self._lag = LoopLag(registry, program=PROGRAM)
        self._metrics = RouterMetrics(registry)
        kube_metrics = KubeMetrics(registry, program=PROGRAM)
        self._recorder = EventRecorder(
            client, metrics=kube_metrics, now=now, component=PROGRAM, instance=self._node_name
        )
        self._rules = self._installed_rules()
        self._stale_connections = StaleConnections(self._rules.forget_connections, forgot=self._metrics.forgot)
        self.reconciler = Reconciler(
            self._rules,
            observer=self._metrics,
            verify_interval=settings.operation.verify_interval,
            keep_connections=self._stale_connections.keep,
        )
        self._backends = Backends(_reference(settings), self._layout, node=self._node_name, changed=self._view_changed)
        self._services = Reflector(
            client,
            SERVICES,
            self._backends.services,
            metrics=kube_metrics,
            selection=self._backends.service_selection,
        )
        self._slices = Reflector(
            client,
            ENDPOINT_SLICES,
            self._backends.slices,
            metrics=kube_metrics,
            selection=self._backends.slice_selection,
        )
        self._wishes = Wishes(
            self._layout,
            self.reconciler,
            view=self._backends.view,
            age=self._slices.age,
            uptime=uptime,
            exempt_servers=settings.node.exempt_servers,
            seen=self._metrics.seen,
        )
        self._node = NodeReader(client, self._node_name, changed=self._backends.place_changed)
        self._bypass = BypassWatch(
            kernel,
            accepted=settings.bypass.accept_bypass,
            suspected=self._metrics.bypass_suspected,
        )
        self.readiness = self._new_readiness()
        self._metrics.observe(verification_age=self.readiness.verification_age, ready=lambda: self.readiness.is_ready)
        application = admin_application(missing=self.readiness.missing, registry=registry)
        self.admin = admin_listener(application, settings.operation.admin_listen)

    async def start(self, tasks: Supervisor) -> None:
        """Start everything. What keeps the rules comes first."""
        tasks.start("rules", self.reconciler.run())
        tasks.start("stale connections", self._stale_connections.run())
        tasks.start("event loop lag", self._lag.run())
        tasks.start("Kubernetes configuration", self._client.run())
        tasks.start("events", self._recorder.run())
        tasks.start("watch services", self._services.run())
        tasks.start("watch endpointslices", self._slices.run())
        tasks.start("exemptions", self._wishes.run())
        tasks.start("node", self._node.run())
        await self._bypass.try_to_look()  # before anything can be found ready: the startup taint comes only once
        tasks.start("bypass", self._bypass.run())
        tasks.start("readiness", self.readiness.run())
        if (key := self._settings.node.remove_startup_taint) is not None:
            taint = StartupTaint(self._client, node=self._node_name, key=key)
            tasks.start("startup taint", taint.run(self.readiness.until_ready))
        await self.admin.start()

    def _view_changed(self) -> None:
        self._wishes.make()

    def _installed_rules(self) -> InstalledRules:
        return InstalledRules(
            self._layout,
            rule_priority=self._settings.routing.rule_priority,
            tables=MeasuredTables(self._kernel.tables, self._metrics),
            policy=self._kernel.policy,
            connections=self._kernel.connections,
        )

    def _new_readiness(self) -> Readiness:
        return Readiness(
            routing=self.reconciler.status,
            verify_interval=self._settings.operation.verify_interval,
            watches={each.resource.plural: each for each in (self._services, self._slices)},
            service_problem=self._service_problem,
            bypass=lambda: self._bypass.problem,
            tell=NodeEvents(self._recorder, self._node_name).tell,
        )

    def _service_problem(self) -> str:
        problem = self._backends.view().broken
        return "" if problem is None else problem.text


def _reference(settings: RouterSettings) -> ServiceReference:
    service = settings.service
    return ServiceReference(
        namespace=service.service_namespace, name=service.service_name, port_name=service.router_port_name
    )
