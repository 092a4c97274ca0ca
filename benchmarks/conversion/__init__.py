"""Markdown to ADF by every converter that installs, on the same documents."""
