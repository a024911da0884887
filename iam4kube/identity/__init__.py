"""Who is asking: source address to Pod to ServiceAccount to role.

Owns the tables built from the watches and answers from them alone, synchronously; what is not certain is
either waited for, confirmed with a live read, or refused. Knows nothing of HTTP, tokens or STS.
"""
