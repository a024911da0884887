"""What every test runs under: no task left behind, and no test without what it needs of the machine."""

import asyncio
import inspect
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.controlplane import ControlPlane
from tests.support.image_builder import images_obstacle
from tests.support.node_lab_obstacles import netns_obstacle

ASSETS_VARIABLE = "KUBEBUILDER_ASSETS"
TOOLS_VARIABLE = "TEST_TOOLS"
_left_out = pytest.StashKey[list[str]]()


def pytest_configure() -> None:
    """Say that there is no event loop outside asynchronous tests.

    looptime asks the policy for one before each test; unasked, the policy makes one that nobody closes.
    """
    asyncio.set_event_loop(None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what cannot run here, and watch over the tasks of what can."""
    config.stash[_left_out] = []
    for marker, find_obstacle in _OBSTACLES.items():
        marked = [item for item in items if item.get_closest_marker(marker)]
        if marked and (found := find_obstacle()):
            config.stash[_left_out].append(f"{len(marked)} {marker} tests left out: {found}")
            config.hook.pytest_deselected(items=marked)
            items[:] = [item for item in items if not item.get_closest_marker(marker)]
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.function):
            item.fixturenames.insert(0, "no_leftover_tasks")  # set up first, so checked after all other fixtures


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was left out, in one line for each marker."""
    for line in config.stash.get(_left_out, []):
        terminalreporter.write_line(line)


def _cluster_obstacle() -> str | None:
    if os.environ.get(ASSETS_VARIABLE):
        return None
    return f'{ASSETS_VARIABLE} is not set (export {ASSETS_VARIABLE}="$(tests/controlplane/build)")'


def _tools_obstacle() -> str | None:
    if os.environ.get(TOOLS_VARIABLE):
        return None if shutil.which("shellcheck") else "there is no shellcheck (install Debian's shellcheck)"
    return f'{TOOLS_VARIABLE} is not set (export {TOOLS_VARIABLE}="$(tests/tools/build)")'


_OBSTACLES = {
    "cluster": _cluster_obstacle,
    "netns": netns_obstacle,
    "tools": _tools_obstacle,
    "image": images_obstacle,
}


@pytest.fixture
async def no_leftover_tasks() -> AsyncIterator[None]:
    """Fails an asynchronous test that leaves tasks behind."""
    before = asyncio.all_tasks()
    yield
    for _ in range(5):  # what has been cancelled or closed needs a few turns of the loop to end
        await asyncio.sleep(0)
    leftover = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not leftover, f"tasks left behind: {sorted(task.get_name() for task in leftover)}"


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A real etcd and a real API server with RBAC, for the whole run. Only for tests marked `cluster`."""
    assets = Path(os.environ[ASSETS_VARIABLE])
    with ControlPlane(assets, tmp_path_factory.mktemp("controlplane")) as control_plane:
        yield control_plane
