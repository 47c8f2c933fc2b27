"""Pixels in and out: formats, metadata, colour profiles, 16 bits."""
