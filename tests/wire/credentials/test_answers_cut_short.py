"""An answer of STS that ends in the middle: botocore takes it for whole, and quotes it in its error, key and all."""

import asyncio
import contextlib
import io
import json
import os
import re
import traceback
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from iam4kube.credentials.sts import AssumeRoleSource
from iam4kube.credentials.values import Credentials, FailureKind, FetchError
from iam4kube.roles import RoleArn
from iam4kube.runtime.clock import utc_now
from iam4kube.runtime.logs import configure_logging
from tests.support.credentials import fetching, role_key
from tests.support.kept_logging import kept_logging

KEY = role_key("role")
BETWEEN = RoleArn("arn:aws:iam::222222222222:role/between")
SECRETS = ("ASIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzEXAMPLEKEY", "IQoJb3JpZ2luX2VjTHISISTHETOKEN")
_CUT_AFTER = "<SessionToken>IQoJb3JpZ2luX2VjTHISISTHETOKEN"


class Sts:
    """Answers every call with a session; the call of number `cut` (from one) with the first half of the answer."""

    def __init__(self, cut: int = 1) -> None:
        self.actions: list[str] = []
        self._cut = cut

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Listen on loopback. Gives the URL."""
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = re.search(r"(?i)content-length: (\d+)", head)
        request = await reader.readexactly(int(length[1]) if length else 0)
        action = re.search(rb"Action=(\w+)", request)
        assert action is not None
        self.actions.append(action[1].decode())
        body = _answer(self.actions[-1])
        length_told = 1500 if len(self.actions) == self._cut else len(body)
        if len(self.actions) == self._cut:
            body = body[: body.index(_CUT_AFTER) + len(_CUT_AFTER)]
        head = (
            f"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {length_told}\r\nConnection: close\r\n\r\n"
        )
        writer.write((head + body).encode())
        await writer.drain()
        writer.close()


def _answer(action: str) -> str:
    key_id, secret, token = SECRETS
    return f"""<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{action}Result>
      <AssumedRoleUser><AssumedRoleId>AROA:x</AssumedRoleId><Arn>arn:aws:sts::1:assumed-role/x/x</Arn></AssumedRoleUser>
      <Credentials><AccessKeyId>{key_id}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>
      <SessionToken>{token}</SessionToken><Expiration>2100-01-01T00:00:00Z</Expiration></Credentials>
    </{action}Result></{action}Response>"""


@pytest.fixture(params=["json", "text"])
def log(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    """All that the process logs, tracebacks included, at the noisiest level there is."""
    stream = io.StringIO()
    with kept_logging():
        configure_logging(request.param, "debug", stream)
        yield stream


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys for the server itself, and nothing of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    for name, value in {"REGION": "eu-west-1", "ACCESS_KEY_ID": "AKIAOWN", "SECRET_ACCESS_KEY": "own"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setattr("iam4kube.credentials.intermediate._RETRY", 0.0)


def _web_identity(monkeypatch: pytest.MonkeyPatch, folder: Path, url: str) -> None:
    """The server's own credentials come from STS, too."""
    (folder / "token").write_text("web-identity-token")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(folder / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::333333333333:role/server")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", url)


@contextlib.asynccontextmanager
async def _source(url: str, between: RoleArn | None = None) -> AsyncIterator[AssumeRoleSource]:
    async def admit() -> None:
        pass

    async with AssumeRoleSource(admit=admit, now=utc_now, endpoint_url=url, assume_role_arn=between) as source:
        yield source


@pytest.mark.parametrize(
    ("between", "web_identity", "cut", "calls"),
    [
        (None, False, 1, ["AssumeRole"] * 2),
        (BETWEEN, False, 1, ["AssumeRole"] * 3),
        (BETWEEN, False, 2, ["AssumeRole"] * 3),
        (None, True, 1, ["AssumeRoleWithWebIdentity"] * 2 + ["AssumeRole"]),
    ],
    ids=["a pod's role", "the role in between", "a pod's role by the one in between", "the server's web identity"],
)
async def test_nothing_of_the_answer_is_told_and_the_call_is_made_again(
    between: RoleArn | None,
    web_identity: bool,
    cut: int,
    calls: list[str],
    log: io.StringIO,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Transient trouble like any other; key ID, secret key and token are in no log line, metric or reason."""
    sts = Sts(cut)
    async with sts.serving() as url:
        if web_identity:
            _web_identity(monkeypatch, tmp_path, url)
        async with _source(url, between) as source, fetching(real=source) as world:
            world.hold(KEY)
            assert isinstance(await world.credentials(KEY), Credentials)
            metrics = generate_latest(world.registry).decode()
    assert sts.actions == calls
    assert "Credentials are not fetched" in log.getvalue()
    assert re.search(r'kind"?[=:] ?"?transient', log.getvalue())
    assert "ResponseParserError" in log.getvalue()
    for secret in SECRETS:
        assert secret not in log.getvalue()
        assert secret not in metrics


@pytest.mark.parametrize("between", [None, BETWEEN])
async def test_no_traceback_shows_the_answer(between: RoleArn | None) -> None:
    """Whoever logs the failure with its causes and contexts logs nothing of what STS said; nor does its reason."""
    async with Sts().serving() as url, _source(url, between) as source:
        with pytest.raises(FetchError) as caught:
            await source.fetch(KEY)
    assert caught.value.kind is FailureKind.TRANSIENT
    shown = "".join(traceback.format_exception(caught.value)) + caught.value.message + json.dumps(caught.value.args)
    error: BaseException | None = caught.value
    while error is not None:
        shown += f"{error!r}"
        error = error.__cause__ or error.__context__
    assert not [secret for secret in SECRETS if secret in shown]
