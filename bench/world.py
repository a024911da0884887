"""`python -m bench.world FOLDER`: a Kubernetes API and an STS in a process of their own, until SIGTERM.

Prints one line of JSON once both listen: the kubeconfig, and the environment in which AWS SDKs find this STS.
"""

import asyncio
import json
import sys
from pathlib import Path

from iam4kube.runtime.lifecycle import run, stop_on_signals
from iam4kube.sandbox.kubernetes import KubernetesApi
from iam4kube.sandbox.sts import Sts


async def _serve(folder: Path) -> None:
    with stop_on_signals() as stop:
        async with KubernetesApi() as api, Sts() as sts:
            kubeconfig = await asyncio.to_thread(api.kubeconfig, folder / "kubeconfig")
            print(json.dumps({"kubeconfig": str(kubeconfig), "environ": sts.environment()}), flush=True)
            await stop.wait()


if __name__ == "__main__":
    run(_serve(Path(sys.argv[1])))
