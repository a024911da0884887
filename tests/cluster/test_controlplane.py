"""The control plane that the other cluster tests stand on: permissions, tokens, and what happens to it on demand."""

import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.support.controlplane import NOBODY_TOKEN, ControlPlane

pytestmark = pytest.mark.cluster

ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"


def status(control_plane: ControlPlane, path: str, token: str) -> int:
    """What a GET with this token is answered with."""
    request = urllib.request.Request(control_plane.url + path, headers={"Authorization": f"Bearer {token}"})
    tls = ssl.create_default_context(cafile=str(control_plane.ca_file))
    try:
        with urllib.request.urlopen(request, context=tls) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_permissions_are_enforced(control_plane: ControlPlane) -> None:
    """Somebody without any gets 403, a ServiceAccount what it was granted, an expired token 401."""
    control_plane.request("POST", ACCOUNTS, {"metadata": {"name": "reader"}})
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    control_plane.grant(rules, namespace="default", account="reader")
    token = control_plane.token("default", "reader", lifetime=60)

    assert status(control_plane, "/api/v1/pods", NOBODY_TOKEN) == 403
    assert status(control_plane, "/api/v1/pods", token) == 200
    assert status(control_plane, "/api/v1/nodes", token) == 403
    expired = control_plane.token("default", "reader", lifetime=-60)
    assert status(control_plane, "/api/v1/pods", expired) == 401


def test_a_kill_loses_nothing(control_plane: ControlPlane) -> None:
    """After SIGKILL nobody listens; after the start every object is there."""
    control_plane.request("POST", ACCOUNTS, {"metadata": {"name": "survivor"}})
    control_plane.kill_api_server()
    with pytest.raises(urllib.error.URLError):
        control_plane.request("GET", "/readyz")
    control_plane.start_api_server()
    assert control_plane.request("GET", f"{ACCOUNTS}/survivor")["metadata"]["name"] == "survivor"


def test_a_kubeconfig_names_one_user(control_plane: ControlPlane, tmp_path: Path) -> None:
    """It holds the server's address, what to trust, and the token that was asked for."""
    config = json.loads(control_plane.kubeconfig(tmp_path / "config", token="secret").read_text())
    assert config["clusters"][0]["cluster"]["server"] == control_plane.url
    assert Path(config["clusters"][0]["cluster"]["certificate-authority"]).exists()
    assert config["users"][0]["user"] == {"token": "secret"}
