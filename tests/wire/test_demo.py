"""The demo as a person runs it, and as it tells of what does not hold."""

import asyncio
import re
import signal
import time
import urllib.error
import urllib.request

import pytest

from iam4kube.cli import command
from iam4kube.sandbox.demo.cast import CART, ORDERS
from iam4kube.sandbox.demo.plain import run_demo
from iam4kube.sandbox.demo.scenes import SCENES, each_pod_gets_its_own_role
from iam4kube.sandbox.demo.stage import Stage
from iam4kube.sandbox.kubernetes import objects
from tests.support.demo_process import read_until, running

KEEP_RUNNING = """
from iam4kube.sandbox.demo.plain import run_demo
raise SystemExit(run_demo(keep_running=True, scenes=()))
"""


def fetch(url: str) -> str:
    """What is at a URL."""
    with urllib.request.urlopen(url, timeout=5) as response:
        text: str = response.read().decode()
    return text


async def test_all_of_it_holds_and_fits_on_a_terminal() -> None:
    """`iam4kube demo` ends by itself in under 30 seconds with 0, and says in 80 columns what happened."""
    began = time.monotonic()
    async with running("-m", "iam4kube", "demo") as demo:
        output, _ = await demo.communicate()
    text = output.decode()
    assert demo.returncode == 0, text
    assert time.monotonic() - began < 30
    assert re.search(rf"^All {len(SCENES)} scenes held", text, re.MULTILINE)
    assert [line for line in text.splitlines() if len(line) > 80] == []
    for line in (
        "arn:aws:sts::111122223333:assumed-role/orders/shop@orders",
        "arn:aws:sts::444455556666:assumed-role/orders/finance@orders",
        "arn:aws:sts::111122223333:assumed-role/checkout/shop@checkout",
        "arn:aws:sts::111122223333:assumed-role/search/shop@search",
        "event NoCredentials on the pod:",
        "event NoRole on the pod:",
    ):
        assert line in text
    assert "the kept token is good: its role is orders" in text


def test_what_does_not_hold_is_told_and_makes_it_fail(capsys: pytest.CaptureFixture[str]) -> None:
    """With an address that is another pod's now: both are named, the next scene plays, the exit code is 1."""

    async def swapped(stage: Stage) -> None:
        stage.kubernetes.delete("pods", "orders", namespace="shop", grace=0)
        status = objects.pod("cart", addresses=[CART.address, ORDERS.address])["status"]
        stage.kubernetes.patch("pods", "cart", {"status": status}, namespace="shop")
        await each_pod_gets_its_own_role(stage)

    async def quiet(_stage: Stage) -> None:
        pass

    assert run_demo(scenes=[("Swapped", swapped), ("Quiet", quiet)]) == 1
    text = capsys.readouterr().out
    assert f"FAILED\n      expected: {ORDERS.session_arn}\n" in text
    assert "seen:     arn:aws:sts::111122223333:assumed-role/cart/shop@cart\n" in text
    assert "2. Quiet\n      held\n" in text
    assert "1 of 2 scenes FAILED" in text


def test_an_answer_that_never_comes_is_a_failure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The demo ends by itself even when a scene does not."""

    async def endless(_stage: Stage) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("iam4kube.sandbox.demo.plain._SECONDS", 4.0)
    assert run_demo(scenes=[("Endless", endless)]) == 1
    assert "Not at the end after 4 s" in capsys.readouterr().out


async def test_it_stays_up_for_a_person_and_leaves_nothing_behind() -> None:
    """With --keep-running the printed addresses answer, until a signal ends the demo and its server."""
    async with running("-c", KEEP_RUNNING) as demo:
        text = await read_until(demo, "/debug/state")
        [ready] = re.findall(r"http://\S+/readyz", text)
        assert '"ready": true' in await asyncio.to_thread(fetch, ready)
        demo.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            await demo.communicate()
    assert demo.returncode == 0
    with pytest.raises(urllib.error.URLError, match="refused"):
        await asyncio.to_thread(fetch, ready)


async def test_a_demo_that_is_terminated_takes_its_server_along() -> None:
    """SIGTERM in the middle of a scene ends everything that was started."""
    async with running("-m", "iam4kube", "demo") as demo:
        text = await read_until(demo, "is ready")
        [server] = re.findall(r"iam4kube serve at (http://\S+)", text)
        demo.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            await demo.communicate()
    assert demo.returncode == 128 + signal.SIGTERM
    with pytest.raises(urllib.error.URLError, match="refused"):
        await asyncio.to_thread(fetch, server)


@pytest.mark.parametrize(
    ("lookup", "says"),
    [
        (
            "iam4kube.sandbox.demo.machine.find_spec",
            "needs the package 'nftables'; install the router with `pip install 'iam4kube[router]'`",
        ),
        ("shutil.which", "the program nsenter is missing (install Debian's util-linux)"),
    ],
)
def test_what_the_router_needs_is_asked_for_in_one_line(
    lookup: str, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without it the demo with the router ends with 2, before it has touched anything."""

    def touch() -> None:
        pytest.fail("the process was moved into another network")

    monkeypatch.setattr("iam4kube.sandbox.demo.machine.isolate", touch)
    monkeypatch.setattr(lookup, lambda _name: None)
    assert command(["demo", "--with-router"]) == 2
    output = capsys.readouterr()
    assert (output.out, output.err.count("\n")) == ("", 1)
    assert says in output.err
