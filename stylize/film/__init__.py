"""Films: read frame by frame, painted along their motion, written with their sound."""
