"""Somebody else's project: a shop whose orders are sessions of ours."""
