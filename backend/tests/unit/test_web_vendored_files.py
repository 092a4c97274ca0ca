"""What was vendored is, byte for byte, what `vendor.json` says it is."""

from __future__ import annotations

import hashlib
import json
from importlib import resources

VENDOR = resources.files("app.web") / "static" / "vendor"


def test_every_vendored_file_is_the_one_that_is_named() -> None:
    told = json.loads((VENDOR / "vendor.json").read_text(encoding="utf-8"))
    present = {file.name for file in VENDOR.iterdir()} - {"vendor.json"}
    assert {file["file"] for file in told["files"]} == present
    for file in told["files"]:
        assert hashlib.sha256((VENDOR / file["file"]).read_bytes()).hexdigest() == file["sha256"]
        assert file["version"] in file["file"] or file["file"].startswith("LICENSE")
