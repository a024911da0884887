"""The token key file: its steps, its defects, and how a running server follows it."""

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from iam4kube.metadata.keyfile import KeyFileError, create_key_file, read_keyring, replace_key_file
from iam4kube.metadata.keyring import Keyring, KeyringError, add_key, new_keyring, remove_key, sign_with
from iam4kube.metadata.keywatch import KeyWatch
from iam4kube.metadata.metrics import KeyMetrics
from tests.support.metadata import START

RING = new_keyring(now=START, key_id="k1")
BOTH = add_key(RING, now=START, key_id="k2")


def test_the_steps_of_a_rotation() -> None:
    """A new key verifies first, then signs; the old one goes last."""
    assert (BOTH.signing, [key.id for key in BOTH.keys]) == ("k1", ["k1", "k2"])
    switched = sign_with(BOTH, "k2")
    assert [key.id for key in remove_key(switched, "k1").keys] == ["k2"]


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (lambda: remove_key(BOTH, "k1"), "let another key sign first"),
        (lambda: remove_key(BOTH, "k3"), "the keys are 'k1', 'k2'"),
        (lambda: sign_with(BOTH, "k3"), "the keys are 'k1', 'k2'"),
        (lambda: add_key(BOTH, now=START, key_id="k1"), "occurs twice"),
        (lambda: add_key(BOTH, now=START, key_id="no.dots"), "1 to 32 characters"),
        (lambda: new_keyring(now=START, key_id=""), "1 to 32 characters"),
    ],
)
def test_a_step_that_would_break_tokens_is_refused(step: Callable[[], Keyring], says: str) -> None:
    """And the message says what to do."""
    with pytest.raises(KeyringError, match=says):
        step()


def test_generated_ids_and_secrets_differ() -> None:
    """Two keys made at the same moment."""
    first, second = new_keyring(now=START), new_keyring(now=START)
    assert first.signing != second.signing
    assert first.keys[0].secret != second.keys[0].secret
    assert len(first.keys[0].secret) == 32


def test_a_key_shows_no_secret() -> None:
    """Neither itself nor inside its ring."""
    assert "secret" not in repr(BOTH)
    assert repr(RING.keys[0].secret) not in repr(BOTH)


def test_a_file_is_written_for_its_owner_only_and_read_back(tmp_path: Path) -> None:
    """Mode 0600 whatever the umask, and nothing else is left in the folder."""
    path = tmp_path / "keys.json"
    before = os.umask(0)
    try:
        create_key_file(path, RING)
        replace_key_file(path, BOTH)
    finally:
        os.umask(before)

    assert read_keyring(path) == BOTH
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["keys.json"]


def test_an_existing_file_is_not_overwritten_by_a_new_one(tmp_path: Path) -> None:
    """Its keys may be in use."""
    path = tmp_path / "keys.json"
    create_key_file(path, RING)
    with pytest.raises(KeyFileError, match="exists"):
        create_key_file(path, BOTH)
    assert read_keyring(path) == RING


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The folder does not exist."""
    with pytest.raises(KeyFileError, match=r"absent/keys\.json cannot be written"):
        create_key_file(tmp_path / "absent" / "keys.json", RING)


def content(**changes: object) -> str:
    """A good file's text, or one with changes."""
    key = {"id": "k1", "created": "2026-11-21T08:00:00Z", "secret": "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVowMTIzNDU="}
    return json.dumps({"signing": "k1", "keys": [key], **changes})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("{", "is not a token key file"),
        ("\xff", "is not a token key file"),
        ("[]", "is not a token key file"),
        (content(keys=[]), "'k1' is to sign and is not there; the keys are none"),
        (content(signing="k2"), "'k2' is to sign and is not there"),
        (content(extra=1), "is not a token key file"),
        (content(keys=[{"id": "k1", "created": "2026-11-21T08:00:00Z", "secret": "c2hvcnQ="}]), "has 5 bytes"),
        (content(keys=[{"id": "k1", "created": "2026-11-21T08:00:00Z", "secret": "?"}]), "is not a token key file"),
        (content(keys=[{"id": "k1", "secret": "c2hvcnQ="}]), "is not a token key file"),
        (content(keys=json.loads(content())["keys"] * 2), "occurs twice"),
        (" " * (1 << 20) + content(), "is larger than"),
    ],
)
def test_a_broken_file_is_named_with_its_defect(tmp_path: Path, text: str, says: str) -> None:
    """Each on one line, and without the secret."""
    path = tmp_path / "keys.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(KeyFileError, match=says) as caught:
        read_keyring(path)
    assert str(caught.value).startswith(f"token key file {path}")
    assert "\n" not in str(caught.value)
    assert "QUJD" not in str(caught.value)


def test_a_file_that_is_not_there_or_no_file_is_named(tmp_path: Path) -> None:
    """With the command that makes one."""
    with pytest.raises(KeyFileError, match=r"does not exist; make one with `iam4kube token-key new FILE`"):
        read_keyring(tmp_path / "absent")
    with pytest.raises(KeyFileError, match="cannot be read: Is a directory"):
        read_keyring(tmp_path)


class Watched:
    """A key watch over a file, with what it told and what it exposes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.registry = CollectorRegistry()
        self.used: list[Keyring] = []
        self.watch = KeyWatch(path, keyring=RING, use=self.used.append, metrics=KeyMetrics(self.registry))

    def shown(self, key_id: str, signs: str) -> float | None:
        return self.registry.get_sample_value("iam4kube_token_key", {"key_id": key_id, "signs": signs})

    @property
    def valid(self) -> float | None:
        return self.registry.get_sample_value("iam4kube_token_key_file_valid")


def mount(folder: Path, version: str, keyring: Keyring) -> None:
    """As the kubelet does: a folder of its own for each version, and one symlink that is swapped."""
    (folder / version).mkdir()
    create_key_file(folder / version / "keys.json", keyring)
    (folder / "..tmp").symlink_to(version)
    (folder / "..tmp").rename(folder / "..data")


@pytest.fixture
def mounted(tmp_path: Path) -> Watched:
    """A watch over a mounted Secret."""
    mount(tmp_path, "..1", RING)
    (tmp_path / "keys.json").symlink_to("..data/keys.json")
    return Watched(tmp_path / "keys.json")


def test_a_swapped_mount_is_noticed_and_shown(mounted: Watched) -> None:
    """The path stays the same, what it leads to does not."""
    mounted.watch.poll()
    assert mounted.used == []
    mount(mounted.path.parent, "..2", sign_with(BOTH, "k2"))
    mounted.watch.poll()

    assert mounted.used == [sign_with(BOTH, "k2")]
    assert (mounted.shown("k1", "false"), mounted.shown("k2", "true")) == (1, 1)
    assert mounted.shown("k1", "true") is None


def test_a_broken_file_keeps_the_keys_and_says_so_once(mounted: Watched, caplog: pytest.LogCaptureFixture) -> None:
    """Until it is mended, or broken in another way."""
    mounted.path.unlink()
    for _ in range(3):
        mounted.watch.poll()
    assert (mounted.used, mounted.valid) == ([], 0)
    assert [record.levelname for record in caplog.records] == ["ERROR"]

    create_key_file(mounted.path, BOTH)
    mounted.watch.poll()
    assert (mounted.used, mounted.valid) == ([BOTH], 1)


@pytest.mark.looptime
async def test_the_file_is_looked_at_every_few_seconds(mounted: Watched) -> None:
    """A changed file is in force 5 s later."""
    polling = asyncio.create_task(mounted.watch.run())
    await asyncio.sleep(1)
    mount(mounted.path.parent, "..2", BOTH)
    await asyncio.sleep(5)
    polling.cancel()

    assert mounted.used == [BOTH]
