"""Settings of the rate-distortion search that `--effort` asks for, shared by both families."""

ROUNDS = (0, 1, 2, 3, 4, 6, 8, 12, 20, 40)
"""Rounds of each effort, 0 to 9. dct-bands makes two rounds of moves without gradients for 1, and before the others."""
CURVATURE, AFTER_SUCCESS, AFTER_FAILURE = 0.9, 0.93, 1.25
"""The error's curvature over that of the plain inverse DCT: the first value, and factors after a round that succeeds or fails."""
SHARE = 0.6
"""Share of the helpful moves that a round makes, at random. These four values were chosen on four held-out photographs."""
