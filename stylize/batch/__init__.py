"""Many photos: which they are, what is done to each, what is done already, on one machine and on many."""
