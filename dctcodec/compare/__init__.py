"""Comparison of codecs on one image, as one HTML file."""

MATCHES = ("size", "psnr")
"""What is equal for all codecs of a comparison."""
Crop = tuple[int, int, int | None, int | None]
"""Width, height, left and top of the part of an image to show, pixels; None for the middle."""
