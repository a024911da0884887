"""One replica of the credential server, assembled: settings, wiring, readiness, ordered start and stop.

The only place that knows every part. Parts get what they need as arguments; none of them looks up here.
"""
