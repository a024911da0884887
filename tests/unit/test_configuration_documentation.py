"""The pages about configuration agree with the settings."""

import pytest

from tests.support.settings_page import PAGES


@pytest.mark.parametrize("program", PAGES)
def test_page_lists_every_setting_as_the_program_declares_it(program: str) -> None:
    """Names, environment variables, defaults and meanings are those of `--help`."""
    page = PAGES[program]
    assert page.path.read_text() == page.rendered(), "run: python -m tests.support.settings_page"
