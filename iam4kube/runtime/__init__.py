"""One process's life, shared by both programs: settings, logs, metrics, listeners, waits, start and stop.

What belongs here knows nothing of Kubernetes, AWS or the metadata API. What needs one of them belongs to
the package of that name.
"""
