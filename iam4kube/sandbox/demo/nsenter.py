"""How a person goes on alone in the demo with the router: commands that run inside its namespaces."""

from pathlib import Path

from iam4kube.sandbox.demo.routed_stage import CHECK, RoutedStage


def commands(stage: RoutedStage) -> str:
    """Shell commands that ask as a pod, and look at the node."""
    pod, router = stage.pods[0], stage.router
    return f"""
Everything is up until Ctrl-C. In another terminal, as the same user, as the pod
{pod}:

  IN="nsenter {_namespaces()}"
  POD={pod.process_id}
  API=http://169.254.169.254/latest
  TOKEN=$($IN --target $POD curl -s -X PUT $API/api/token \\
      -H 'X-aws-ec2-metadata-token-ttl-seconds: 21600')
  $IN --target $POD curl -s -H "X-aws-ec2-metadata-token: $TOKEN" \\
      $API/meta-data/iam/security-credentials/

On the node: what it does with all that in words, the rules, and the router's
metrics:

  NODE={router.process_id}
  $IN --target $NODE \\
      {" ".join(CHECK)}
  $IN --target $NODE nft list ruleset
  $IN --target $NODE curl -s {router.url("admin")}/metrics
"""


def _namespaces() -> str:
    """Root has not made a user namespace, and cannot enter the one that it is in."""
    *_, mapped_users = Path("/proc/self/uid_map").read_text().split()
    return "--user --preserve-credentials --net" if mapped_users == "1" else "--net"
