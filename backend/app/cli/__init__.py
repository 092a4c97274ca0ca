"""The command `session-tasks`: what people type, and what they are told.

==================== ==========================================================================
`application`        the common options, and the one place where errors end
`completion`         what the shell offers when Tab is pressed
`commands`           the table of commands; each is imported only when it is run
`exit_codes`         which error ends with which exit code, as one table
`work`               `run` and `retry`: a session taken to its end in this process
`preview`            `run --dry-run`: what documents would become, and all that is wrong
`session_commands`   `list`, `show`, `export`, `watch`, `cancel`
`operation_commands` `worker`, `sweep`, `cleanup`
`login`              a link that signs a browser in, once; `serve` prints one, too
`database_commands`  `db upgrade`, `db check`
`doctor`             is everything here that is needed, and how to mend what is not
`snapshot`           what a session's rows say at one moment, and what happened between two
`following`          one snapshot after the other, until the session's work has ended
`displays`           snapshots as bars, as lines, or not at all
`reporting`          a session, a failure and an error in words; `session_json` in JSON
`output_directory`   import files, written whole or not at all
==================== ==========================================================================
"""

from __future__ import annotations

from typing import NoReturn


def main() -> NoReturn:
    """Run the command that stands in `sys.argv`, and exit with its code."""
    import sys  # noqa: PLC0415 - nothing is imported before Ctrl-C can be answered well

    _open_missing_streams()
    try:
        from app.cli.application import run_command  # noqa: PLC0415 - see above

        sys.exit(run_command(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)


def _open_missing_streams() -> None:
    """Open `/dev/null` for standard streams that the caller closed (`session-tasks list >&-`).

    Otherwise the next file or connection would get their numbers, and what is printed go there.
    """
    import os  # noqa: PLC0415 - as above
    import sys  # noqa: PLC0415

    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8"))
