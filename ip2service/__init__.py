"""The router: on every node, routes 169.254.169.254 to the iam4kube Service, and lets nothing through.

- `cli`, `program`, `assembly`: commands and exit codes; one router's life; its parts, connected.
- `backends`, `node`: what the API server says of the Service, its endpoints and this node.
- `desired`, `layout`, `ruleset`, `policy_rules`, `boot`: what the kernel should hold, as values and as text. Pure.
- `reconciler`, `installed`: keeps the kernel so.
- `kernel`: talks to it. The only package that imports the bindings of libnftables and pyroute2.
- `readiness`, `metrics`, `admin`, `inspection`: what people, probes and Prometheus see.

It imports `iam4kube.kube` and `iam4kube.runtime`, and nothing else of iam4kube: neither boto3 nor FastAPI belongs on a
worker node.
"""
