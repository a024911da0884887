"""Both images, built once for all tests as their Dockerfiles say; what does not change is kept from run to run."""

import os
from pathlib import Path

import pytest

from tests.support.image import Image
from tests.support.image_builder import ImageBuilder

ROOT = Path(__file__).parents[3]
KEPT = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "image-layers"


@pytest.fixture(scope="session")
def server_image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """What Dockerfile.server makes."""
    return ImageBuilder(ROOT, folder=tmp_path_factory.mktemp("server"), kept=KEPT).build(ROOT / "Dockerfile.server")


@pytest.fixture(scope="session")
def router_image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """What Dockerfile.router makes."""
    return ImageBuilder(ROOT, folder=tmp_path_factory.mktemp("router"), kept=KEPT).build(ROOT / "Dockerfile.router")


@pytest.fixture(params=["server", "router"])
def image(request: pytest.FixtureRequest) -> Image:
    """Each of them."""
    image: Image = request.getfixturevalue(f"{request.param}_image")
    return image
