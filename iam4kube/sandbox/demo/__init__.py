"""The demo: what a user wants to see before trying it on a cluster, on one machine and in under half a minute.

A `stage` has everything that is real to the server: the emulated Kubernetes API and STS, the server itself in a
process of its own (`replica`), and pods that are processes with an unmodified boto3 (`pods`, `pod_program`), each
asking from its own address. On it play `scenes`, one after the other: each shows one thing on the `screen` and checks
what it shows (`expectations`), so that the exit code says whether all of it held. `cast` names the pods, and
`curl` tells a person how to go on alone.
"""

from iam4kube.sandbox.demo.plain import run_demo

__all__ = ["run_demo"]
