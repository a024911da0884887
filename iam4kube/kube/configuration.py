"""Where the API server is and who we are there: inside a cluster, or by a kubeconfig.

The official client reads the files. What it leaves out is added here: it never refreshes anything that came
from a kubeconfig, builds the TLS context once, goes on anonymously when a credential plugin fails, and lets a
trailing newline of a token file break the header. So a configuration is loaded as a whole, again and again,
and its fingerprint tells whether anything in it has changed.
"""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import yaml
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import ConfigException
from kubernetes.aio.config.incluster_config import InClusterConfigLoader
from kubernetes.aio.config.kube_config import KubeConfigLoader, KubeConfigMerger

from iam4kube.kube.errors import KubeConfigError
from iam4kube.kube.proxy import check_proxy, parses
from iam4kube.runtime.userinfo import without_userinfo

SERVICE_ACCOUNT_DIRECTORY: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_PLUGIN_TIMEOUT = 30.0  # seconds for a kubeconfig's credential plugin, which may ask a cloud's API


_REMEDY: Final = "correct it, or name another one with --kubeconfig, or a context of it with --context"


class ConfigurationSource(Protocol):
    """Loads the configuration anew each time it is asked."""

    @property
    def reload_every(self) -> float:
        """Seconds between two loads without a reason."""
        ...

    async def load(self) -> Configuration:
        """Read everything. Raises `KubeConfigError`."""
        ...


@dataclass(frozen=True, kw_only=True)
class InCluster:
    """The ServiceAccount that Kubernetes gives to a pod."""

    environ: Mapping[str, str]
    directory: Path = SERVICE_ACCOUNT_DIRECTORY
    reload_every: float = 60.0  # the kubelet replaces a token after 80 % of its life, of ten minutes at least

    async def load(self) -> Configuration:
        """Read token and CA. Raises `KubeConfigError`."""
        configuration = Configuration()
        loader = InClusterConfigLoader(
            token_filename=str(self.directory / "token"),
            cert_filename=str(self.directory / "ca.crt"),
            try_refresh_token=False,
            environ=self.environ,
        )
        try:
            loader.load_and_set(configuration)
        except (ConfigException, OSError) as error:
            raise KubeConfigError(
                f"in-cluster configuration in {self.directory}: {str(error).rstrip('.')}; "
                "let the pod have its token (automountServiceAccountToken), or name a file with --kubeconfig"
            ) from error
        return _finished(configuration)


@dataclass(frozen=True, kw_only=True)
class Kubeconfig:
    """One or several kubeconfig files, merged as kubectl merges them."""

    paths: tuple[Path, ...]
    context: str | None = None
    """None for the current one."""
    reload_every: float = 600.0  # a credential plugin is a process to start; a refused token reloads at once

    async def load(self) -> Configuration:
        """Read the files and run the credential plugin, if there is one. Raises `KubeConfigError`."""
        if not any(path.is_file() for path in self.paths):
            raise KubeConfigError(
                f"kubeconfig {self}: no such file; name one with --kubeconfig or KUBECONFIG, or run inside a cluster"
            )
        configuration = Configuration()
        try:
            merged = KubeConfigMerger(str(self))
            loader = KubeConfigLoader(merged.config, active_context=self.context, config_base_path=None)
            async with asyncio.timeout(_PLUGIN_TIMEOUT):
                await loader.load_and_set(configuration)
            anonymous = _lacks_plugin_credentials(merged, loader, configuration)
        except TimeoutError as error:
            raise KubeConfigError(f"kubeconfig {self}: no credentials after {_PLUGIN_TIMEOUT:.0f} s") from error
        except yaml.YAMLError as error:
            raise KubeConfigError(f"kubeconfig {self}: not YAML: {_one_line(error)}") from error
        except (ConfigException, OSError) as error:
            raise KubeConfigError(f"kubeconfig {self}: {_one_line(error)}; {_REMEDY}") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise KubeConfigError(f"kubeconfig {self}: no kubeconfig ({_one_line(error)}); {_REMEDY}") from error
        if anonymous:
            raise KubeConfigError(f"kubeconfig {self}: the credential plugin gave no credentials; run it by hand")
        return _finished(configuration)

    def __str__(self) -> str:
        return ":".join(str(path) for path in self.paths)


def find_configuration(
    *, kubeconfig: Path | None, context: str | None, environ: Mapping[str, str]
) -> ConfigurationSource:
    """Choose the source: what is named, else the cluster that we run in, else what kubectl would use.

    A context alone means a kubeconfig. Reads no file yet.
    """
    if kubeconfig is not None:
        return Kubeconfig(paths=(kubeconfig,), context=context)
    if context is None and environ.get("KUBERNETES_SERVICE_HOST"):
        return InCluster(environ=environ)
    named = [Path(path) for path in environ.get("KUBECONFIG", "").split(":") if path]
    home = Path(environ.get("HOME", "~")).expanduser()
    return Kubeconfig(paths=tuple(named) or (home / ".kube" / "config",), context=context)


def fingerprint(configuration: Configuration) -> bytes:
    """A digest of everything that decides how we connect and who we are, the files' contents included."""
    digest = hashlib.sha256()
    files = (configuration.ssl_ca_cert, configuration.cert_file, configuration.key_file)
    parts = (
        configuration.host,
        configuration.api_key.get("BearerToken"),
        configuration.verify_ssl,
        configuration.tls_server_name,
        configuration.proxy,
        *(Path(file).read_bytes() if file else None for file in files),
    )
    for part in parts:
        text = repr(part).encode()
        digest.update(len(text).to_bytes(8) + text)
    return digest.digest()


def _finished(configuration: Configuration) -> Configuration:
    _check_server(configuration.host)
    check_proxy(configuration.host, configuration.proxy)
    token = configuration.api_key.get("BearerToken")
    if token is not None:
        if not token.split()[1:]:
            raise KubeConfigError("the token is empty")
        configuration.api_key["BearerToken"] = token.strip()
    # Go's TLS, which every other Kubernetes client uses, has no such mode; it refuses the CAs of many clusters.
    configuration.disable_strict_ssl_verification = True
    return configuration


def _check_server(url: str) -> None:
    shown = without_userinfo(url)
    if not url.startswith(("http://", "https://")) or not parses(url):
        raise KubeConfigError(
            f"the server in the Kubernetes configuration is {shown!r}; expected a URL such as https://10.0.0.1:6443"
        )
    if shown != url:  # it would be in the text of every error
        raise KubeConfigError(
            f"the server in the Kubernetes configuration, {shown!r}, has a name or password in its URL; "
            "give the kubeconfig's user a token or a client certificate instead"
        )


def _lacks_plugin_credentials(merged: KubeConfigMerger, loader: KubeConfigLoader, configuration: Configuration) -> bool:
    """Whether the user has a credential plugin and the client, which only logs its failure, got nothing from it."""
    name = loader.current_context["context"].get("user")
    user = merged.config["users"].get_with_name(name, safe=True) if name else None
    if user is None or "exec" not in user["user"]:
        return False
    return "BearerToken" not in configuration.api_key and not configuration.cert_file


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
