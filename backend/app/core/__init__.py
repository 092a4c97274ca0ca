"""The foundation: settings, errors, access to PostgreSQL, logging, redaction."""
