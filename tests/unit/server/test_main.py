"""What a replica's process sees to before it serves."""

import logging
import resource

import pytest

from iam4kube.server.main import _provide_descriptors


@pytest.mark.parametrize(("connections", "lines"), [(10, 0), (10**9, 1)])
def test_more_connections_than_descriptors_are_warned_of(
    connections: int, lines: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Pods' connections would take those of the calls to STS and Kubernetes."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        _provide_descriptors(connections)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == lines
