"""The real controller manager and scheduler beside a control plane: Deployments and DaemonSets do what they say.

Synchronous, as the control plane is. Both listen nowhere: that they work is seen by what they write.
"""

import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.controlplane import ControlPlane

_CONTROLLERS = (
    "deployment-controller",
    "replicaset-controller",
    "daemonset-controller",
    "job-controller",
    "endpointslice-controller",
    "disruption-controller",
    "node-lifecycle-controller",
    "serviceaccount-controller",
    "root-ca-certificate-publisher-controller",
)
_DELETING = ("garbage-collector-controller", "namespace-controller")
_STOP_SECONDS = 10.0


class Controllers:
    """kube-controller-manager and kube-scheduler, with their logs in `folder`. Use it with `with`.

    With `deleting` what belongs to a deleted object goes with it, which costs more of the machine.
    """

    def __init__(self, control_plane: ControlPlane, folder: Path, *, deleting: bool = False) -> None:
        self._control_plane = control_plane
        self._folder = folder
        self._controllers = (*_CONTROLLERS, *(_DELETING if deleting else ()))
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        try:
            kubeconfig = self._control_plane.kubeconfig(self._folder / "controllers.kubeconfig")
            common = (f"--kubeconfig={kubeconfig}", "--leader-elect=false", "--secure-port=0", "--kube-api-qps=200")
            self._start(
                "kube-controller-manager",
                *common,
                f"--controllers={','.join(self._controllers)}",
                f"--root-ca-file={self._control_plane.ca_file}",
                f"--service-account-private-key-file={self._control_plane.service_account_key_file}",
            )
            self._start("kube-scheduler", *common)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End both programs."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

    def _start(self, program: str, *arguments: str) -> None:
        with (self._folder / f"{program}.log").open("ab") as log:
            command: list[str | Path] = [self._control_plane.program(program), *arguments]
            self._processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log))
