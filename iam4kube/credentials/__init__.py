"""What pods get: role credentials, fetched ahead of time, kept fresh, one bad role hurting no other.

Owns the cache, the queue and the sources of credentials. Knows role keys and namespaces, but neither pods
nor Kubernetes nor HTTP. With `sandbox`, the only package that imports boto3.
"""
