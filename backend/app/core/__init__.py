"""What everything else leans on: settings, errors, the way to PostgreSQL, logging, redaction."""
