"""An environment for the peers alone: nothing of theirs gets into ours, nor the other way round."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
REQUIREMENTS = HERE / "requirements.txt"
FOLDER = ROOT / ".venv-race"

PEERS = ("pgqueuer", "chancy", "oban", "saq", "procrastinate", "dbos", "celery")


@dataclass(slots=True)
class PeerEnvironment:
    """Where the peers are installed, and why those that are not could not be.

    Attributes:
        versions: of every package in it.
        missing: peer to reason.

    """

    python: Path
    versions: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def peer_environment() -> PeerEnvironment:
    """The environment, made or brought up to the pinned requirements.

    A peer that cannot be installed (it wants another Python, say) keeps no other from racing.
    """
    environment = PeerEnvironment(FOLDER / "bin" / "python")
    stamp = FOLDER / ".installed"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if stamp.exists() and json.loads(stamp.read_text())["requirements"] == wanted:
        environment.missing = json.loads(stamp.read_text())["missing"]
    else:
        shutil.rmtree(FOLDER, ignore_errors=True)
        venv.create(FOLDER, with_pip=True)
        for lines in _groups(REQUIREMENTS.read_text()):
            reason = _install(environment.python, lines)
            if reason is not None:
                environment.missing[lines[0].partition("==")[0].partition("[")[0]] = reason
        stamp.write_text(json.dumps({"requirements": wanted, "missing": environment.missing}))
    listed = subprocess.run(
        [environment.python, "-m", "pip", "list", "--format", "json"],
        capture_output=True,
        check=True,
    )
    environment.versions = {
        each["name"].lower(): each["version"] for each in json.loads(listed.stdout)
    }
    return environment


def _groups(text: str) -> list[list[str]]:
    """Requirements, one group per peer: paragraphs, without comments."""
    paragraphs = (
        [line for line in each.splitlines() if line[:1] != "#"] for each in text.split("\n\n")
    )
    return [[line.strip() for line in each if line.strip()] for each in paragraphs if any(each)]


def _install(python: Path, lines: list[str]) -> str | None:
    """Install one group; why that failed, or None."""
    done = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *lines],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return None
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    reason = errors[-1].removeprefix("ERROR: ") if errors else done.stderr[-300:]
    return f"{reason} (Python {sys.version_info.major}.{sys.version_info.minor})"
