"""Pixels in and out: formats, EXIF, XMP, texts, colour profiles, 16 bits."""
