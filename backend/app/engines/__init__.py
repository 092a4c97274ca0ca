"""Who runs the work: the embedded worker, and the sweeper that looks after what is left."""
