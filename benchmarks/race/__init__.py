"""The race: Session Tasks, its peers and PostgreSQL's own limit, side by side in one run."""
