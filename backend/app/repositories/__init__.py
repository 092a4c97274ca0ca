"""The transactions over the truth."""
