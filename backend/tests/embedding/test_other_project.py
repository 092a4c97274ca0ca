"""Somebody else's project with our wheel: own engine, `Base`, Alembic and FastAPI (`shop/`)."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from chaos.waiting import until
from sqlalchemy import make_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent
ROOT = HERE.parents[2]


@pytest.fixture(scope="module")
def their_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an empty venv in which our wheel is installed, and what it depends on."""
    folder = tmp_path_factory.mktemp("wheel")
    build = "-m pip wheel --quiet --no-deps --no-build-isolation --disable-pip-version-check"
    subprocess.run([sys.executable, *build.split(), "--wheel-dir", folder, ROOT], check=True)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", symlinks=True)
    packages = folder / "venv" / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages / "site-packages")
    # A plain directory: its .pth files, of which one names this checkout, are not read.
    (packages / "site-packages" / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "venv" / "bin" / "python"


@pytest.fixture
def environment(blank_database_url: str) -> dict[str, str]:
    url = make_url(blank_database_url)

    def searching(path: str) -> str:
        found = url.update_query_dict({"options": f"-csearch_path={path}"})
        return found.render_as_string(hide_password=False)

    return {
        name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PWD"}
    } | {
        "PYTHONPATH": str(HERE),
        "PYTHONUNBUFFERED": "1",
        "SHOP_URL": searching("session_tasks,public"),
        "SHOP_MIGRATION_URL": searching("public,session_tasks"),
        "SHOP_PLAIN_URL": searching("public"),
        "SESSION_TASKS_DATABASE_URL": blank_database_url,
        "SESSION_TASKS_DATABASE_SCHEMA": "session_tasks",
        "SESSION_TASKS_HANDLERS": "processing=shop.handlers:process",
    }


@pytest.fixture
def run(
    their_python: Path, environment: dict[str, str], tmp_path: Path
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a Python program of theirs."""

    def run_it(*arguments: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [their_python, *arguments],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    return run_it


OURS = ("-c", "from app.cli import main; main()", "db", "upgrade")
ALEMBIC = """
import sys
from alembic import command
from alembic.config import Config
config = Config()
config.set_main_option("script_location", "shop:migrations")
config.set_main_option("path_separator", "os")
getattr(command, sys.argv[1])(config, *sys.argv[2:])
"""
THEIRS = ("-c", ALEMBIC)


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_either_alembic_may_run_first_and_autogenerate_finds_nothing(
    run: Callable[..., subprocess.CompletedProcess[str]], first: str
) -> None:
    where = run("-c", "import session_tasks, app; print(app.__file__)").stdout
    assert str(ROOT) not in where
    if first == "theirs":
        run(*THEIRS, "upgrade", "0001")
        run(*OURS)
    else:
        run(*OURS)
        run(*THEIRS, "upgrade", "0001")
    run(*THEIRS, "upgrade", "head")
    run(*THEIRS, "check")
    assert "up to date already" in run(*OURS).stdout


@pytest.fixture
def shop(
    their_python: Path,
    environment: dict[str, str],
    run: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
) -> Iterator[Any]:
    """The shop's server, and a client; its log is looked through in the end."""
    run(*OURS)
    run(*THEIRS, "upgrade", "head")
    log = tmp_path / "log"
    with log.open("w") as output:
        server = subprocess.Popen(
            [their_python, "-m", "uvicorn", "shop.service:api", "--port", "0"],
            env=environment,
            cwd=tmp_path,
            stdout=output,
            stderr=output,
        )
    try:

        def address() -> str | None:
            assert server.poll() is None, log.read_text()
            said = log.read_text().partition("running on ")[2].split()
            return said[0] if said else None

        url = until(address, "the shop opens")
        once = httpx.Limits(max_keepalive_connections=0)  # closed after errors
        with httpx.Client(base_url=url, timeout=30, limits=once) as client:
            yield client
    finally:
        server.terminate()
        server.wait(30)
    said = log.read_text()
    assert said.count("Traceback") == said.count("LookupError: no lamp is left") == 1, said
    assert "Context" not in said


def test_requests_move_tasks_in_transactions_of_the_shop_s_own(
    shop: httpx.Client, their_python: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    cancelled = shop.post("/orders").json()["id"]
    assert shop.get(f"/orders/{cancelled}").json()["active"]
    assert shop.post(f"/async/orders/{cancelled}/cancel").json() == {"cancelled": True}
    assert shop.get(f"/async/orders/{cancelled}").json() == "cancelled"
    assert shop.post(f"/async/orders/{cancelled}/cancel").json() == {"cancelled": False}
    assert shop.post("/documents").json() == 1
    assert shop.post("/orders/refused").status_code == 500
    wanted = shop.post("/orders").json()["id"]
    assert shop.get("/orders").json() == [cancelled, wanted]

    worker = subprocess.Popen(
        [their_python, "-c", "from app.cli import main; main()", "worker"],
        env=environment,
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
    )
    try:
        ended = {"active": False, "task_type": "processing", "status": "completed"}
        until(lambda: shop.get(f"/orders/{wanted}").json() == ended, "the order is done")
    finally:
        worker.terminate()
        worker.wait(30)


def test_the_main_job_runs_from_the_wheel(
    their_python: Path, blank_database_url: str, tmp_path: Path
) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SESSION_T")}

    def command(*words: str) -> str:
        program = "from app.cli import main; main()"
        ended = subprocess.run(
            [their_python, "-c", program, *words],
            cwd=tmp_path,
            env=clean | {"SESSION_TASKS_DATABASE_URL": blank_database_url, "PYTHONPATH": ""},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    assert command("--version").startswith("session-tasks ")
    command("db", "upgrade")
    document = ROOT / "examples" / "click-readme.md"
    told = command("run", str(document), "--project", "SHOP", "--out", "out")
    assert "1 issue ready for Jira" in told
    assert len(list(tmp_path.glob("out/*/import-001.json"))) == 1
