"""The work itself: what each of the three tasks does with a session's documents."""
