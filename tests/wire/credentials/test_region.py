"""The region of the instance, which a new pod may reach a few seconds after its start only."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from iam4kube.credentials.region import find_region
from iam4kube.runtime.mistakes import SettingsError
from tests.support.waiting import wait_until

WAITING = "Waiting for the instance metadata service to tell the region"


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """No region in the environment or in files."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_EC2_METADATA_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)


@asynccontextmanager
async def instance_in(zone: str, port: int) -> AsyncIterator[None]:
    """A metadata service that tells its zone."""

    async def token(_request: web.Request) -> web.Response:
        return web.Response(text="a-token", headers={"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": "21600"})

    async def tell(_request: web.Request) -> web.Response:
        return web.Response(text=zone)

    application = web.Application()
    application.router.add_put("/latest/api/token", token)
    application.router.add_get("/latest/meta-data/placement/availability-zone/", tell)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield
    finally:
        await runner.cleanup()


async def test_an_instance_that_answers_late_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, unused_tcp_port: int
) -> None:
    """Refused at first, as before a router lets the pod through: said once, and asked again."""
    caplog.set_level("INFO")
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://127.0.0.1:{unused_tcp_port}")
    finding = asyncio.create_task(find_region(None))
    async with asyncio.timeout(15):
        await wait_until(lambda: WAITING in caplog.messages)
        async with instance_in("eu-west-3b", unused_tcp_port):
            assert await finding == "eu-west-3"
    assert caplog.messages.count(WAITING) == 1


async def test_an_instance_that_must_not_be_asked_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS_EC2_METADATA_DISABLED: the mistake is told at once."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    async with asyncio.timeout(5):
        with pytest.raises(SettingsError, match="no AWS region"):
            await find_region(None)


async def test_what_is_configured_is_taken_without_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting before the environment."""
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    assert await find_region("eu-west-1") == "eu-west-1"
    assert await find_region(None) == "eu-north-1"
