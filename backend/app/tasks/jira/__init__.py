"""Jira Cloud as a destination: its sites, its fields, and issues that are created exactly once."""
