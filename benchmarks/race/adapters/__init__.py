"""One programme per library, all with one protocol: see `protocol`.

Each runs in a process of its own, as `python -m benchmarks.race.adapters.NAME ACT …`, in the
environment of the peers, where Session Tasks is not installed; so nothing here imports it except
`session_tasks`, which runs in ours.
"""
