"""Reading documents: from files and bytes to tickets, or to an error that says what to do."""
