"""The base, rendered once."""

import pytest

from tests.support.manifests import BASE, Manifest, rendered


@pytest.fixture
def base() -> list[Manifest]:
    """All objects of the base. Needs kubectl, so only for tests marked `cluster`."""
    return rendered(BASE)
