"""All reads and writes of the database."""
