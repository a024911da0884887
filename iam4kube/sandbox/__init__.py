"""A world in one process: a Kubernetes API and an STS to run against, on real sockets.

The demo and the tests share it. It imitates the outside and knows nothing of the server's inside: the same
contract tests run against it and against the real thing.
"""
