"""A reader's terminal: block after block, with the variables that were exported before, in one folder."""

import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.commands import run_to_end

_HERE = Path(__file__).parent
_SECONDS = 180.0
_EXPORT = re.compile(r'^declare -x (\w+)="(.*)"$', re.MULTILINE)


class Terminal:
    """In `folder`. `programs` are found before those of the machine, by their names: scripts beside this file."""

    def __init__(self, folder: Path, *, programs: Mapping[str, str], environment: Mapping[str, str]) -> None:
        self.folder = folder
        self._state = folder.parent / "exported"
        self._state.write_text("")
        programs_folder = folder.parent / "programs"
        programs_folder.mkdir()
        for name, script in programs.items():
            program = programs_folder / name
            program.write_text(f'#!/bin/sh\nexec {sys.executable} -P {shlex.quote(str(_HERE / script))} "$@"\n')
            program.chmod(0o755)
        path = f"{programs_folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        self._environment = {"PATH": path, "HOME": str(folder.parent), **environment}

    def exported(self) -> dict[str, str]:
        """What the blocks so far have exported, and what was there before."""
        return dict(_EXPORT.findall(self._state.read_text()))

    async def run(self, commands: str, *, wrapper: Sequence[str] = ()) -> str:
        """Run them; returns what they wrote. `AssertionError` where one of them fails.

        `wrapper` is the beginning of a command line that runs the rest of it somewhere else; what is exported
        there, is not kept.
        """
        state = shlex.quote(str(self._state))
        keep = "" if wrapper else f"\ndeclare -px > {state}\n"
        script = f"source {state}\n{commands}{keep}"
        ended = await run_to_end(
            *(*wrapper, "bash", "-euo", "pipefail", "-c", script),
            folder=self.folder,
            environment=self._environment,
            errors_apart=False,
            seconds=_SECONDS,
        )
        assert ended.code == 0, f"{commands}\n{ended.output}"
        return ended.output
