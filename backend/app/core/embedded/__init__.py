"""PostgreSQL without a server to set up: one per data directory, shared by every command.

`locks` counts the users, `place` has the files and their owner, `binaries` which
PostgreSQL to run, `cluster` how to start and stop it; `server` is what the rest of the program
uses, `abandoned` what was left behind. Why it is built like this:
`docs/decisions/embedded-postgresql.md`.
"""

from app.core.embedded.abandoned import abandoned_clusters, remove_abandoned
from app.core.embedded.binaries import OLDEST_MAJOR, Binaries, find_binaries
from app.core.embedded.place import at_home
from app.core.embedded.server import EmbeddedServer, is_in_use

__all__ = [
    "OLDEST_MAJOR",
    "Binaries",
    "EmbeddedServer",
    "abandoned_clusters",
    "at_home",
    "find_binaries",
    "is_in_use",
    "remove_abandoned",
]
