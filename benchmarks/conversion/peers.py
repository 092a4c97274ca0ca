"""The converters: what has to be installed for each, and the process that each one runs in."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PYPI = (
    *("md-adf", "adf-bridge", "adflux", "marklas", "marklassian", "md2adf", "md-to-adf"),
    "html-to-adf",
)
NPM = {
    "npm marklassian": ("marklassian",),
    "npm md-to-adf": ("md-to-adf",),
    "npm @atlaskit/editor-markdown-transformer": (
        "@atlaskit/editor-markdown-transformer",
        "@atlaskit/editor-json-transformer",
        "@atlaskit/adf-schema",
    ),
    "npm @razroo/html-to-adf": ("@razroo/html-to-adf",),
    "npm html-to-adf-converter": ("html-to-adf-converter", "jsdom"),
}
FROM_HTML = frozenset({"html-to-adf", "npm @razroo/html-to-adf", "npm html-to-adf-converter"})
"""These take HTML: they are given what comrak makes of the Markdown, and its time is not theirs."""

NPM_INSTALL = [
    "npm",
    "install",
    "--no-audit",
    "--no-fund",
    "--ignore-scripts",
    "--legacy-peer-deps",
]
PATIENCE_SECONDS = 900
"""For one answer; a converter that takes longer is listed as not run."""


class NotRunError(Exception):
    """A converter does not install, or does not answer."""


@dataclass(frozen=True, slots=True)
class Converter:
    """A converter that is there.

    Attributes:
        name: as it is listed.
        version: of its package.
        command: starts its driver.
        folder: where that is started.

    """

    name: str
    version: str
    command: tuple[str, ...]
    folder: Path


def own(name: str, python: str) -> Converter:
    """This checkout's converter, or another one's: the Python of its environment."""
    return Converter(name, "", (python, str(HERE / "driver.py"), name), HERE)


def installed_reference(folder: Path) -> Converter:
    """The reference: comrak and Lexbor."""
    return _from_pypi("reference", ("comrak", "selectolax"), folder)


def installed(folder: Path) -> tuple[list[Converter], dict[str, str]]:
    """Install every peer; return those that are there, and why the others are not."""
    found: list[Converter] = []
    missing: dict[str, str] = {}
    for name in PYPI:
        with _told(name, missing):
            found.append(_from_pypi(name, (name,), folder))
    for name, packages in NPM.items():
        with _told(name, missing):
            found.append(_from_npm(name, packages, folder))
    return found, missing


@contextlib.contextmanager
def _told(name: str, missing: dict[str, str]) -> Any:
    try:
        yield
    except NotRunError as error:
        missing[name] = str(error)


def _from_pypi(name: str, packages: tuple[str, ...], folder: Path) -> Converter:
    environment = folder / f"venv-{name}"
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    python = environment / "bin/python"
    _run([uv, "venv", "--quiet", "--python", sys.executable, environment])
    _run([uv, "pip", "install", "--quiet", "--python", python, *packages])
    code = f"import importlib.metadata as m; print(*(m.version(p) for p in {packages!r}))"
    version = _run([python, "-c", code]).strip()
    return Converter(name, version, (str(python), str(HERE / "driver.py"), name), folder)


def _from_npm(name: str, packages: tuple[str, ...], folder: Path) -> Converter:
    node = shutil.which("node")
    if node is None:
        raise NotRunError("node is not here")
    home = folder / name.replace("/", "-").replace(" ", "-")
    home.mkdir()
    (home / "package.json").write_text('{"private": true}')
    _run([*NPM_INSTALL, *packages], home)
    package = json.loads((home / "node_modules" / packages[0] / "package.json").read_text())
    return Converter(name, package["version"], (node, str(HERE / "driver.mjs"), name), home)


def _run(command: list[Any], folder: Path | None = None) -> str:
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words, cwd=folder, capture_output=True, text=True, check=False, timeout=300
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise NotRunError(str(error)) from error
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise NotRunError(lines[-1][:200])
    return done.stdout


class Process:
    """A converter at work on a list of documents."""

    def __init__(self, converter: Converter, documents: Path) -> None:
        self.name = converter.name
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        self._process = subprocess.Popen(
            [*converter.command, str(documents)],
            cwd=converter.folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            self._answer()
        except NotRunError:
            self.close()
            raise

    def convert(self, file: Path) -> list[dict[str, Any]]:
        """The result of each document: `adf` (and `title`), or `error`."""
        self._ask("convert", file)
        results: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
        file.unlink()
        return results

    def seconds(self, chosen: Path) -> float:
        """How long the chosen documents take."""
        return float(self._ask("time", chosen))

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def _ask(self, command: str, file: Path) -> str:
        if self._process.stdin is None:
            raise NotRunError("no standard input")
        try:
            self._process.stdin.write(f"{command} {file}\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise NotRunError("it ended") from error
        return self._answer()

    def _answer(self) -> str:
        if self._process.stdout is None:
            raise NotRunError("no standard output")
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(PATIENCE_SECONDS):
                raise NotRunError(f"no answer in {PATIENCE_SECONDS} s")
        line = self._process.stdout.readline().strip()
        if not line:
            raise NotRunError("it ended")
        return line
