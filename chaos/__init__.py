"""The promises of Session Tasks against a hostile machine; `python -m chaos` runs all of it."""
