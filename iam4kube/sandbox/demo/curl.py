"""How a person goes on alone: commands to paste into another terminal while the demo is up."""

from iam4kube.sandbox.demo.cast import ANNOTATED_WEBSITE, FINANCE_ORDERS, ORDERS, WEBSITE
from iam4kube.sandbox.demo.stage import Stage


def commands(stage: Stage) -> str:
    """Shell commands that ask the server as a pod, and as an operator."""
    replica, kubernetes = stage.replica, stage.kubernetes
    return f"""
Everything is up until Ctrl-C. In another terminal, as the pod {ORDERS}:

  POD={ORDERS.address}    # or {FINANCE_ORDERS.address}, which is {FINANCE_ORDERS}
  API={replica.url("metadata")}/latest
  ROLES=$API/meta-data/iam/security-credentials/
  TOKEN=$(curl -s --interface $POD -X PUT $API/api/token \\
      -H 'X-aws-ec2-metadata-token-ttl-seconds: 21600')
  ROLE=$(curl -s --interface $POD -H "X-aws-ec2-metadata-token: $TOKEN" $ROLES)
  curl -s --interface $POD -H "X-aws-ec2-metadata-token: $TOKEN" $ROLES$ROLE

As an operator:

  curl -s {replica.url("admin")}/readyz
  curl -s {replica.url("admin")}/metrics
  curl -s {replica.url("debug")}/debug/state

The cluster, as another one of its clients. The patch gives {WEBSITE} a role:
ask again as {WEBSITE.address}.

  CLUSTER={kubernetes.url}/api/v1
  AS="Authorization: Bearer {kubernetes.token}"
  curl -s -H "$AS" $CLUSTER/events
  curl -s -H "$AS" $CLUSTER/namespaces/shop/serviceaccounts/website -X PATCH \\
      -H 'Content-Type: application/merge-patch+json' \\
      -d '{{"metadata": {{"annotations": {{"iam.amazonaws.com/roleArn":
          "{ANNOTATED_WEBSITE.role_arn}"}}}}}}'
"""
