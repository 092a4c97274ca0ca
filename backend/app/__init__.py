"""Session Tasks: one row per session that always tells the truth about its work."""
