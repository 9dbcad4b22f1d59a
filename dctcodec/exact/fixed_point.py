"""The fixed point of the exact layers: what training, export and the integer form share."""

ACTIVATION_BITS = 4
"""Fraction bits of an activation: its unit is 1/16."""
ACTIVATION_MAX = 127
BRANCH_MIN = -128
"""What a layer of bytes adds to a stream is at least this and at most 127, in a unit of its own."""
WEIGHT_MAX = 127
SUM_LIMIT = 2**23
"""Bound on the sum of a layer's |weight| * 127: half of what float32 holds exactly, the rest is for rounding."""
STREAM_BITS = 8
"""Fraction bits of a residual stream: its unit is 1/256."""
STREAM_LIMIT = 2**15
"""A residual stream is clamped to +- this where it begins; those of `vae/unet.py` after each block, too."""
EXACT_LIMIT = 2**24
"""Whole numbers up to here are exact in float32."""
STEP = 2 ** (STREAM_BITS - ACTIVATION_BITS)
"""Units of a stream in one of an activation."""
