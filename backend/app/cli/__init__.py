"""The command line interface `session-tasks`.

==================== ==========================================================================
`application`        the common options and the error handler of all commands
`completion`         shell completion
`commands`           the table of commands; each is imported only when it is run
`exit_codes`         the exit code of each error, as one table
`work`               `run` and `retry`: run a session to its end in this process
`preview`            `run --dry-run`: what documents would become, and every problem in them
`session_commands`   `list`, `show`, `export`, `watch`, `cancel`
`operation_commands` `worker`, `sweep`, `cleanup`
`login`              a link that signs a browser in once; `serve` prints one, too
`database_commands`  `db upgrade`, `db check`
`doctor`             check the installation, and say how to fix what fails
`snapshot`           read a session's state; list the events between two snapshots
`following`          yield a session's snapshots until its work has ended
`displays`           show snapshots as bars, as lines, or not at all
`reporting`          a session, a failure and an error as text; `session_json` as JSON
`output_directory`   write import files, all or none
==================== ==========================================================================
"""

from __future__ import annotations

from typing import NoReturn


def main() -> NoReturn:
    """Run the command in `sys.argv`, and exit with its code."""
    import sys  # noqa: PLC0415 - nothing is imported before Ctrl-C can be handled

    _open_missing_streams()
    try:
        from app.cli.application import run_command  # noqa: PLC0415 - see above

        sys.exit(run_command(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)


def _open_missing_streams() -> None:
    """Open `/dev/null` for standard streams that the caller closed (`session-tasks list >&-`).

    Otherwise the next file or connection would get their numbers, and receive printed output.
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
