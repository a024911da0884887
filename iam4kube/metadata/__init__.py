"""How pods ask: a closed subset of the EC2 metadata API, as a plain ASGI application.

Authentication, routing, identity, credentials, in this order. Everything a pod can see on the wire is decided
here and nothing is ever proxied. Operators' endpoints belong to `admin`, on another port.
"""
