"""An image and what codecs make of it, side by side, as one HTML file."""
