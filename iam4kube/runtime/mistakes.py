"""The one exception for everything a user got wrong at start."""

from collections.abc import Iterable


class SettingsError(Exception):
    """The settings cannot be used. Every mistake is one line that names the setting, the value and the remedy."""

    def __init__(self, mistakes: Iterable[str]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(self.mistakes))
