"""One vocabulary for the pages, the command and the API: labels, and sentences about failures."""
