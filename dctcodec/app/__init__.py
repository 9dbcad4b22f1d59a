"""A page on this machine that compares codecs live: drop an image, move the quality, see the result."""
