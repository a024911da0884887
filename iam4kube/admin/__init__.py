"""What operators see: liveness, readiness, metrics and debugging, on ports that pods are not routed to.

Shows state, owns none. Nothing here ever holds a secret.
"""
