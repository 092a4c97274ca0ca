"""Vendored files are, byte for byte, those that `vendor.json` names."""

from __future__ import annotations

import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

OF_PAGES = resources.files("app.web") / "static" / "vendor"
OF_TESTS = Path(__file__).parents[1] / "browser" / "vendor"


@pytest.mark.parametrize("vendor", [OF_PAGES, OF_TESTS], ids=["pages", "tests"])
def test_every_vendored_file_is_the_one_that_is_named(vendor: Traversable) -> None:
    told = json.loads((vendor / "vendor.json").read_text(encoding="utf-8"))
    present = {file.name for file in vendor.iterdir()} - {"vendor.json"}
    assert {file["file"] for file in told["files"]} == present
    for file in told["files"]:
        assert hashlib.sha256((vendor / file["file"]).read_bytes()).hexdigest() == file["sha256"]
        assert file["version"] in file["file"] or file["file"].startswith("LICENSE")
