"""Files that appear complete or not at all; tensors on disk; what the package carries."""
