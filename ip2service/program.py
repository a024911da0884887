"""The life of one router's process: from settings to exit code.

The guards come first. They are in place before anything is asked of the API server, and they stay if there is no
usable configuration for it: only a mistake that the settings themselves show leaves the node as it was.
"""

import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

from iam4kube import __version__
from iam4kube.kube.connection import new_client, opened
from iam4kube.runtime.clock import Now, utc_now
from iam4kube.runtime.lifecycle import StopStep, run_last, run_until, stop_on_signals
from iam4kube.runtime.logs import configure_logging
from iam4kube.runtime.metrics import new_registry
from iam4kube.runtime.mistakes import SettingsError
from iam4kube.runtime.settings import unknown_variables
from iam4kube.runtime.tasks import Supervisor, TaskDied
from ip2service.assembly import Router
from ip2service.kernel_access import open_kernel
from ip2service.metrics import PROGRAM
from ip2service.mistakes import kernel_mistakes
from ip2service.settings import PREFIX, RouterSettings

logger = logging.getLogger(__name__)

_EXIT_FAILED = 1
_STOP_BOUND = 1.0
"""Seconds for what is under way on the admin port. The whole stop takes under two."""
_GUARDS_STAY = (
    "the guards are in place and stay, though the router ends here: pods of this node do not reach the real metadata "
    "service; mend this and start the router, or remove the guards with `ip2service uninstall`, with the same settings"
)


def route(settings: RouterSettings, environ: Mapping[str, str]) -> int:
    """Run the router until it is told to stop. Returns the exit code; raises `SettingsError` for mistakes."""
    configure_logging(settings.logs.log_format, settings.logs.log_level)
    logging.getLogger("pyroute2").setLevel(logging.INFO)  # at debug level it tells each step of each of its sockets
    for line in unknown_variables(RouterSettings, environ, PREFIX):
        logger.warning("Unknown environment variable", extra={"hint": line})
    code = 0
    try:
        run_last(_route(settings, environ))
    except* TaskDied:  # logged where it died; the kubelet starts the process again
        code = _EXIT_FAILED
    return code


async def _route(settings: RouterSettings, environ: Mapping[str, str]) -> None:
    with stop_on_signals() as stop:
        await run_until(stop, _running_router(settings, environ))
    hint = "remove them from this node with `ip2service uninstall`"
    logger.info("Stopped; the rules stay in place", extra={"hint": hint})


@asynccontextmanager
async def _running_router(settings: RouterSettings, environ: Mapping[str, str]) -> AsyncIterator[Sequence[StopStep]]:
    async with open_router(settings, environ) as router, Supervisor() as tasks:
        await router.start(tasks)
        yield [StopStep("admin", lambda: router.admin.stop(_STOP_BOUND / 2), _STOP_BOUND)]


@asynccontextmanager
async def open_router(
    settings: RouterSettings, environ: Mapping[str, str], *, now: Now = utc_now
) -> AsyncIterator[Router]:
    """A router with its guards in place and its address bound; nothing runs yet. Raises `SettingsError`."""
    registry = new_registry(program=PROGRAM, version=__version__)
    client = new_client(settings.kubernetes, environ, user_agent=f"{PROGRAM}/{__version__}")
    async with AsyncExitStack() as stack:
        with kernel_mistakes():
            opening = open_kernel(settings.routing.layout, rule_priority=settings.routing.rule_priority)
            kernel = await stack.enter_async_context(opening)
        router = Router(settings, kernel=kernel, client=client, now=now, registry=registry)
        router.admin.bind()
        stack.push_async_callback(router.admin.stop, 0.0)
        with kernel_mistakes():
            await stack.enter_async_context(kernel.notices(router.reconciler.notice))
            await router.reconciler.prepare()
        if not router.reconciler.status.problem:
            logger.info("Guards are in place")
        with _guards_stay():
            await stack.enter_async_context(opened(client))
        yield router


@contextmanager
def _guards_stay() -> Iterator[None]:
    """Whoever hears of a mistake thinks that nothing was done."""
    try:
        yield
    except SettingsError as error:
        raise SettingsError([*error.mistakes, _GUARDS_STAY]) from error
