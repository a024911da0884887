"""A real etcd and a real API server on loopback ports, as envtest starts them, with RBAC on.

Synchronous, because it outlives the event loops of single tests. Its admission plugin for ServiceAccounts is off
unless asked for: tests create pods whose ServiceAccount comes late or never. There is no kubelet and no controller:
whoever needs a pod's status writes it, and a pod on a node stays terminating until it is deleted with a grace period
of zero.
"""

import base64
import json
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.token_signer import ISSUER, TokenSigner

ADMIN_TOKEN = "the-admin's-token"
NOBODY_TOKEN = "the-token-of-somebody-without-permissions"
NOBODY = "nobody"
_START_SECONDS = 60.0  # three on an idle machine
_STOP_SECONDS = 20.0
_EXPIRY_LEEWAY = 60  # seconds after its expiry for which the API server takes a token: go-jose's DefaultLeeway


class ControlPlane:
    """etcd and kube-apiserver, in `folder`, from the programs in `assets`. Use it with `with`.

    With `admit_service_accounts` a pod needs its ServiceAccount, and gets its token, as in a cluster. `flags` are more
    flags of the API server.
    """

    def __init__(
        self, assets: Path, folder: Path, *, admit_service_accounts: bool = False, flags: Sequence[str] = ()
    ) -> None:
        self._assets = assets
        self._folder = folder
        self._flags = tuple(flags)
        self._disabled_plugins = [] if admit_service_accounts else ["--disable-admission-plugins=ServiceAccount"]
        self._etcd_port, self._etcd_peer_port, self.port = _free_ports(3)
        self._signer = TokenSigner()
        self._etcd: subprocess.Popen[bytes] | None = None
        self._api_server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.service_account_key_file.write_bytes(self._signer.pem())
        (self._folder / "tokens.csv").write_text(f"{ADMIN_TOKEN},admin,1,system:masters\n{NOBODY_TOKEN},{NOBODY},2\n")
        try:
            self._start_etcd()
            self.start_api_server()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def ca_file(self) -> Path:
        """What clients trust: the API server's own self-signed certificate."""
        return self._folder / "certificates" / "apiserver.crt"

    @property
    def service_account_key_file(self) -> Path:
        """The private key that signs ServiceAccounts' tokens."""
        return self._folder / "service-accounts.key"

    def program(self, name: str) -> Path:
        """One of Kubernetes' programs, such as kube-proxy."""
        return self._assets / name

    def start_api_server(self) -> None:
        """Start it on its port and wait until it is ready. Raises `RuntimeError` with its log's end, `TimeoutError`."""
        key = self.service_account_key_file
        self._api_server = self._start(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.port}",
            f"--cert-dir={self._folder / 'certificates'}",
            "--authorization-mode=RBAC",
            f"--token-auth-file={self._folder / 'tokens.csv'}",
            f"--service-account-issuer={ISSUER}",
            f"--service-account-signing-key-file={key}",
            f"--service-account-key-file={key}",
            "--service-cluster-ip-range=10.96.0.0/16,fd00:10:96::/108",
            *self._disabled_plugins,
            *self._flags,
            "--endpoint-reconciler-type=none",
            "--shutdown-delay-duration=0s",
        )
        self._await_ready(self._api_server, "kube-apiserver")

    def kill_api_server(self) -> None:
        """SIGKILL: connections are reset, nothing is said."""
        if self._api_server is not None:
            self._api_server.kill()
            self._api_server.wait()
            self._api_server = None

    def stop_api_server(self) -> None:
        """SIGTERM: watches end in good order."""
        if self._api_server is not None:
            _terminate(self._api_server)
            self._api_server = None

    def stop(self) -> None:
        """End both programs."""
        self.stop_api_server()
        if self._etcd is not None:
            _terminate(self._etcd)
            self._etcd = None

    def pause_api_server(self) -> None:
        """SIGSTOP: connections stay open and nothing comes, as with a partition."""
        if self._api_server is not None:
            self._api_server.send_signal(signal.SIGSTOP)

    def resume_api_server(self) -> None:
        """SIGCONT."""
        if self._api_server is not None:
            self._api_server.send_signal(signal.SIGCONT)

    def forget_history(self) -> None:
        """Make every earlier resourceVersion and continue token too old. The API server is restarted by it.

        etcd's history is one half of what the API server answers from; its own cache is the other.
        """
        self.kill_api_server()
        self._compact()
        self.start_api_server()

    def _compact(self) -> None:
        etcd = f"http://127.0.0.1:{self._etcd_port}/v3/kv"
        key = base64.b64encode(b"/compactions").decode()
        revision = _json_request("POST", f"{etcd}/put", {"key": key})["header"]["revision"]  # newer than all before
        _json_request("POST", f"{etcd}/compaction", {"revision": revision, "physical": True})

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        token: str = ADMIN_TOKEN,
    ) -> Any:
        """Ask, as the administrator or with another token; returns the decoded answer.

        Raises `urllib.error.HTTPError`.
        """
        headers = {"Authorization": f"Bearer {token}", "Content-Type": content_type}
        return _json_request(method, self.url + path, body, headers=headers, context=self._tls())

    def token(self, namespace: str, name: str, *, lifetime: float) -> str:
        """A ServiceAccount's token, signed with the cluster's key: valid for so many seconds, however few.

        The API server remembers for 10 s that a token was good, so that much longer.
        """
        account = self.request("GET", f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}")
        now = int(time.time())
        uid = account["metadata"]["uid"]
        expires = now + int(lifetime) - _EXPIRY_LEEWAY
        return self._signer.sign(namespace=namespace, name=name, uid=uid, issued=now, expires=expires)

    def grant(self, rules: Sequence[Mapping[str, Sequence[str]]], *, namespace: str, account: str) -> None:
        """Let a ServiceAccount do what these rules of a ClusterRole say, in the whole cluster, and nothing else."""
        name = f"{namespace}-{account}"
        rbac = "/apis/rbac.authorization.k8s.io/v1"
        self.request("POST", f"{rbac}/clusterroles", {"metadata": {"name": name}, "rules": rules})
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
        subjects = [{"kind": "ServiceAccount", "namespace": namespace, "name": account}]
        binding = {"metadata": {"name": name}, "roleRef": role, "subjects": subjects}
        self.request("POST", f"{rbac}/clusterrolebindings", binding)
        first = rules[0]
        attributes = {"group": first["apiGroups"][0], "resource": first["resources"][0], "verb": first["verbs"][0]}
        review = {"spec": {"user": f"system:serviceaccount:{namespace}:{account}", "resourceAttributes": attributes}}
        # The authorizer reads roles from a cache of its own.
        _wait(lambda: self._allows(review), "the grant to take effect")

    def _allows(self, review: Any) -> bool:
        answer = self.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
        return bool(answer["status"]["allowed"])

    def kubeconfig(self, path: Path, *, token: str = ADMIN_TOKEN, port: int | None = None) -> Path:
        """Write a kubeconfig for whoever has this token; `port` is a forwarder's, or the API server's own."""
        url = f"https://127.0.0.1:{port or self.port}"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {"server": url, "certificate-authority": str(self.ca_file)}}],
            "users": [{"name": "client", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "client"}}],
            "current-context": "test",
        }
        path.write_text(json.dumps(config))
        return path

    def _start_etcd(self) -> None:
        client, peer = f"http://127.0.0.1:{self._etcd_port}", f"http://127.0.0.1:{self._etcd_peer_port}"
        self._etcd = self._start(
            "etcd",
            f"--data-dir={self._folder / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            # As kubeadm sets it: without, nobody tells the API server of revisions made by other resources, and
            # the watch of a resource that is never written gets no bookmarks.
            "--watch-progress-notify-interval=5s",
            "--unsafe-no-fsync",
        )

    def _start(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self._folder / f"{program}.log").open("ab") as log:
            return subprocess.Popen(
                [self._assets / program, *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _await_ready(self, process: subprocess.Popen[bytes], program: str) -> None:
        _wait(lambda: process.poll() is not None or self._is_ready(), f"{program} to become ready")
        if process.poll() is not None:
            tail = (self._folder / f"{program}.log").read_text(errors="replace")[-4000:]
            raise RuntimeError(f"{program} ended; the end of its log:\n{tail}")

    def _is_ready(self) -> bool:
        try:
            self.request("GET", "/readyz")
        except OSError:  # refused, no certificate yet, 500 while a hook is not through
            return False
        return True

    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca_file))


def _wait(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {_START_SECONDS:g} s for {what}")
        time.sleep(0.05)


def _terminate(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGCONT)
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _json_request(
    method: str,
    url: str,
    body: Any = None,
    *,
    headers: dict[str, str] | None = None,
    context: ssl.SSLContext | None = None,
) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers=headers or {})
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), *([urllib.request.HTTPSHandler(context=context)] if context else [])
    )
    with opener.open(request, timeout=10) as response:
        content = response.read()
    return json.loads(content) if content.startswith(b"{") else content.decode()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listening.getsockname()[1] for listening in sockets]
    for listening in sockets:
        listening.close()
    return ports
