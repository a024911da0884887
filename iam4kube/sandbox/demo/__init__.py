"""The demo: what a user wants to see before trying it on a cluster, on one machine and in under half a minute.

A stage has everything that is real to the server: the emulated Kubernetes API and STS (`base_stage`), the server
itself in a process of its own (`programs`), and pods that are processes with an unmodified boto3 (`pods`,
`pod_program`), each asking from its own address. On it play scenes, one after the other (`show`): each shows one
thing on the `screen` and checks what it shows (`expectations`), so that the exit code says whether all of it held.
`cast` names the pods.

There are two. `plain` runs everywhere: its `stage` is on loopback, with `scenes`, and `curl` tells a person how to go
on alone. `routed` has the router, too: its `routed_stage` is made of network namespaces, in a network of its own
(`machine`), with a stand-in for the real metadata service (`instance_metadata`), `routed_scenes` and `nsenter`.
"""
