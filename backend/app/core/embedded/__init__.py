"""PostgreSQL without a server to set up: one per data directory, shared by every command.

`server` is the interface. `server_directory` has the files and their owner, `locks` counts the
clients, `binaries` finds the PostgreSQL to run, `cluster` starts and stops it, `abandoned` removes
what was left behind. The reasons are in `docs/decisions/embedded-postgresql.md`.
"""

from app.core.embedded.abandoned import abandoned_clusters, remove_abandoned
from app.core.embedded.binaries import OLDEST_MAJOR, Binaries, find_binaries
from app.core.embedded.server import EmbeddedServer, is_in_use
from app.core.embedded.server_directory import at_home

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
