"""Says in one sentence if another package named `app` stands in the way of ours.

Session Tasks is imported as `app`, a name that many programs have themselves. A program that shares
a process with it imports this module first; the command does so, too.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import NoReturn

import app

OURS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "app")  # noqa: PTH100, PTH118, PTH120 - pathlib would take longer than all else here


def _hidden() -> str | None:
    """Return the place of what is imported instead of ours, if anything is."""
    path: list[str] = list(getattr(app, "__path__", ()))  # an app.py has none
    if path == [OURS]:
        return None
    if not path:
        return str(app.__file__)
    for entry in sorted(os.listdir(OURS)):  # noqa: PTH208 - as above
        name = entry.removesuffix(".py")
        if name.startswith("_") or not (name.isidentifier() and entry != "py.typed"):
            continue
        found = importlib.util.find_spec(f"app.{name}")
        places = [] if found is None else [*(found.submodule_search_locations or ())]
        if os.path.join(OURS, name) not in places:  # noqa: PTH118 - as above
            return places[0] if places else path[0]
    return None


if (_place := _hidden()) is not None:
    raise ImportError(
        f"Another package named app, {_place}, hides that of Session Tasks ({OURS}): run Session "
        "Tasks in an environment of its own, or let the other package extend its __path__ "
        "(docs/extending.md)"
    )


def main() -> NoReturn:
    """Run the command `session-tasks`, and exit with its code."""
    from app.cli import main as run  # noqa: PLC0415 - it is found by now

    run()


if __name__ == "__main__":
    sys.exit(main())
