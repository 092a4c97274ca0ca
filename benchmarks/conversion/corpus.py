"""The documents: the specifications' examples, and files out of packages, fetched at bench time."""

from __future__ import annotations

import email
import json
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

DATA = Path(__file__).parents[2] / "backend/tests/data/commonmark"
EXAMPLES = ("commonmark-0.31.2.json", "gfm-0.29-extensions.json")
NPM = (
    *("ajv", "axios", "bootstrap", "chalk", "chart.js", "commander", "core-js", "cypress"),
    *("d3", "dayjs", "docsify", "electron", "esbuild", "eslint", "eslint-plugin-jsx-a11y"),
    *("execa", "express", "fastify", "fuse.js", "got", "graphql", "highlight.js", "husky"),
    *("immer", "jest", "joi", "jquery", "katex", "koa", "lint-staged", "lodash", "markdown-it"),
    *("marked", "mermaid", "mobx", "mocha", "mongoose", "nanoid", "nodemon", "npm-run-all"),
    *("ora", "p-limit", "pino", "pm2", "postcss", "preact", "prettier", "puppeteer"),
    *("react-hook-form", "react-select", "redux", "reveal.js", "rollup", "rxjs"),
    *("sequelize", "sharp", "simple-git", "socket.io", "stylelint", "svelte", "swiper"),
    *("swr", "three", "ts-node", "typescript", "undici", "uuid", "vite", "vitest", "vue"),
    *("webpack", "winston", "ws", "yargs", "zod"),
)  # fmt: skip
PYPI = (
    *("aiofiles", "arrow", "attrs", "black", "boltons", "click", "cookiecutter", "fastapi"),
    *("flask", "gunicorn", "hatch", "httpie", "httpx", "hypercorn", "isort", "itsdangerous"),
    *("jinja2", "litestar", "loguru", "marshmallow", "mkdocs-material", "msgspec", "nox"),
    *("pdm", "pendulum", "pipx", "poetry", "pre-commit", "pydantic", "pytest-xdist", "requests"),
    *("rich", "sqlmodel", "starlette", "structlog", "textual", "tqdm", "typer", "uvicorn"),
    *("wagtail", "httptools", "celery", "dramatiq", "fastmcp", "streamlit", "gradio", "ruff"),
)  # fmt: skip
MOST_OF_ONE_PACKAGE = 16
LARGEST = 200_000
"""Characters of a document; longer ones are change logs of many years."""

LEAST_WORDS = 30


@dataclass(frozen=True, slots=True)
class Document:
    """A document, and where it comes from."""

    name: str
    text: str


def examples() -> list[Document]:
    """The examples of CommonMark and of GFM's extensions."""
    return [
        Document(f"{name.partition('-')[0]} {example['example']}", example["markdown"])
        for name in EXAMPLES
        for example in json.loads((DATA / name).read_text(encoding="utf-8"))
    ]


def fetch(folder: Path) -> list[str]:
    """Fetch the packages; return the names of those that could not be fetched."""
    return [*_fetch_npm(folder), *_fetch_wheels(folder)]


def documents_in(folder: Path) -> list[Document]:
    """The Markdown of the packages: at most a few documents of each, none twice."""
    found: dict[str, Document] = {}
    for archive in sorted(folder.iterdir()):
        documents = _of_tarball(archive) if archive.suffix == ".tgz" else _of_wheel(archive)
        for document in documents[:MOST_OF_ONE_PACKAGE]:
            is_prose = len(document.text.split()) >= LEAST_WORDS
            if is_prose and len(document.text) <= LARGEST:
                found.setdefault(document.text, document)
    return list(found.values())


def _fetch_npm(folder: Path) -> list[str]:
    missing = []
    for start in range(0, len(NPM), 10):
        batch = NPM[start : start + 10]
        if _ran(["npm", "pack", "--silent", "--pack-destination", folder, *batch]):
            continue
        missing += [
            name
            for name in batch
            if not _ran(["npm", "pack", "--silent", "--pack-destination", folder, name])
        ]
    return missing


def _fetch_wheels(folder: Path) -> list[str]:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    pip += ["--no-deps", "--only-binary", ":all:", "--dest", str(folder)]
    return [name for name in PYPI if not _ran([*pip, name])]


def _ran(command: list[str | Path]) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=300)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _of_tarball(archive: Path) -> list[Document]:
    """README first, then the others from the root down; licences and change logs are no prose."""
    with tarfile.open(archive) as tar:
        files = [
            member
            for member in tar.getmembers()
            if member.isfile()
            and member.name.lower().endswith((".md", ".markdown"))
            and "node_modules" not in member.name
            and not any(word in member.name.lower() for word in ("license", "changelog", "history"))
        ]
        files.sort(
            key=lambda each: ("readme" not in each.name.lower(), each.name.count("/"), each.name)
        )
        documents = []
        for member in files[:MOST_OF_ONE_PACKAGE]:
            if (stream := tar.extractfile(member)) is not None:
                text = stream.read().decode("utf-8", "replace")
                documents.append(Document(f"{archive.stem}: {member.name}", text))
        return documents


def _of_wheel(archive: Path) -> list[Document]:
    with zipfile.ZipFile(archive) as wheel:
        name = next(each for each in wheel.namelist() if each.endswith(".dist-info/METADATA"))
        metadata = email.message_from_string(wheel.read(name).decode("utf-8", "replace"))
    if "markdown" not in (metadata["Description-Content-Type"] or ""):
        return []
    return [Document(f"{archive.stem}: README", str(metadata.get_payload()))]
