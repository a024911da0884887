"""Watching Kubernetes, shared by both programs: configuration, list-and-watch, small structs, events.

The only package that imports `kubernetes`, and it uses that for configuration, authentication and transport
alone. Objects are decoded into small structs with just the fields that somebody needs. What an object
*means* (who holds an address, which role it names) does not belong here.
"""
