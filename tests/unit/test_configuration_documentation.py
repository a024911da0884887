"""docs/configuration.md agrees with the settings."""

from tests.support.settings_page import PAGE, rendered_page


def test_page_lists_every_setting_as_the_program_declares_it() -> None:
    """Names, environment variables, defaults and meanings are those of `iam4kube serve --help`."""
    assert PAGE.read_text() == rendered_page(), "run: python -m tests.support.settings_page"
