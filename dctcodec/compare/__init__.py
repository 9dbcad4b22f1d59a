"""An image and what codecs make of it, side by side, as one HTML file."""

MATCHES = ("size", "psnr")
"""What is equal for all codecs of a comparison."""
