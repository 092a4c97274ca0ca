"""The programmes, each one kind of hostility; every one ends with the checker over everything."""
