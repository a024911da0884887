"""Loopback pods: each asks from its own address, with an SDK that was not told about any of it."""

import asyncio
import sys
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from iam4kube.sandbox.pods import LoopbackPod

ASK = "import urllib.request, os; print(urllib.request.urlopen(os.environ['AWS_EC2_METADATA_SERVICE_ENDPOINT']).read())"


@pytest.fixture
async def server() -> AsyncIterator[tuple[str, int]]:
    """A server that tells clients their address."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=str(request.remote))

    application = web.Application()
    application.router.add_get("/", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    yield str(host), int(port)
    await runner.cleanup()


async def test_a_process_asks_from_the_pods_address(server: tuple[str, int]) -> None:
    """Two pods, two sources."""
    async with LoopbackPod("127.8.0.1", server=server) as first, LoopbackPod("127.8.0.2", server=server) as second:
        assert await first.run(sys.executable, "-c", ASK) == (0, "b'127.8.0.1'\n")
        assert await second.run(sys.executable, "-c", ASK) == (0, "b'127.8.0.2'\n")


async def test_nothing_of_the_callers_environment_comes_first(
    server: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither credentials nor profiles nor proxies of whoever runs this reach the pod."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "HTTP_PROXY", "AWS_CONTAINER_CREDENTIALS_FULL_URI"):
        monkeypatch.setenv(name, "wrong")
    async with LoopbackPod("127.8.0.1", server=server) as pod:
        environment = pod.environment({"AWS_REGION": "eu-central-1"})
    assert "wrong" not in environment.values()
    assert {name for name in environment if name.startswith("AWS_")} == {
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        "AWS_CONFIG_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_REGION",
    }


async def test_another_server_takes_over(server: tuple[str, int]) -> None:
    """A pod whose server refuses sees just that, and reaches the next one without being told."""
    async with LoopbackPod("127.8.0.1", server=("127.0.0.1", 1)) as pod:
        code, output = await pod.run(sys.executable, "-c", ASK)
        assert code != 0
        assert "Connection reset" in output or "closed connection" in output
        pod.server = server
        assert await pod.run(sys.executable, "-c", ASK) == (0, "b'127.8.0.1'\n")


async def test_a_command_that_takes_too_long_is_killed(server: tuple[str, int]) -> None:
    """Its deadline is the end of it."""
    async with LoopbackPod("127.8.0.1", server=server) as pod:
        with pytest.raises(TimeoutError):
            await pod.run(sys.executable, "-c", "import time; time.sleep(60)", deadline=0.2)


async def test_a_pod_that_ends_closes_its_connections(server: tuple[str, int]) -> None:
    """Nothing of it is left."""
    async with LoopbackPod("127.8.0.1", server=server) as pod:
        port = int(pod.endpoint.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    assert await reader.read() is not None
    assert reader.at_eof()
    writer.close()


async def test_only_loopback_addresses_are_pods() -> None:
    """Anything else could not be bound, or would be somebody's."""
    with pytest.raises(ValueError, match=r"must be in 127\.0\.0\.0/8"):
        LoopbackPod("10.0.0.1", server=("127.0.0.1", 1))
