"""The router: on every node, routes 169.254.169.254 to the iam4kube Service, and lets nothing through.

Only its place is here yet. It may import `iam4kube.kube` and `iam4kube.runtime`, and nothing else of
iam4kube: neither boto3 nor FastAPI belongs on a worker node.
"""
