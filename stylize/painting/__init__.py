"""One photo: how it is to look, its tiles, its masks, the width of its strokes, the recipe that it keeps."""
