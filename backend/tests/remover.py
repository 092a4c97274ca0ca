"""Removes what a test run leaves, however it ends: processes, embedded servers, its folder.

    python -m tests.remover FOLDER

Started by the run, it waits until its standard input ends, which a kill brings about, too.
"""

from __future__ import annotations

import shutil
import sys
from contextlib import suppress
from pathlib import Path

import psutil
from chaos.waiting import until

from app.core.embedded import abandoned_clusters, cluster
from app.core.embedded.binaries import remove_unused_copies
from app.core.embedded.server_directory import ServerDirectory


def _kill_processes(folder: Path) -> None:
    """Kill what the run started; all of it inherited a variable that names the folder."""
    own = psutil.Process()
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process != own and str(folder) in process.environ().values():
                process.kill()


def _stop_servers(folder: Path) -> None:
    for entry in folder.rglob("postgresql"):
        if (entry / "cluster").is_dir():
            cluster.shut_down(ServerDirectory.of(entry.parent))


def _remove(folder: Path) -> None:
    def is_gone() -> bool:  # what was just killed may still be writing
        shutil.rmtree(folder, ignore_errors=True)
        return not folder.exists()

    until(is_gone, f"{folder} is gone")


def main(folder: Path) -> None:
    """Wait for the end of the run, and remove what it left."""
    sys.stdin.read()
    _kill_processes(folder)
    _stop_servers(folder)
    _remove(folder)
    for one in abandoned_clusters():
        if folder in one.data_dir.parents:
            one.remove()
    remove_unused_copies()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
