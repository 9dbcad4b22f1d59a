"""Settings of the rate-distortion search that `--effort` asks for, shared by both families."""

ROUNDS = (0, 1, 2, 3, 4, 6, 8, 12, 20, 40)
"""Rounds of each effort, 0 to 9."""
CURVATURE, AFTER_SUCCESS, AFTER_FAILURE = 0.9, 0.93, 1.25
"""The error's curvature over that of the plain inverse DCT: at first, and what a round makes of it."""
SHARE = 0.6
"""Of the moves that would help, those made in a round, by chance. These four: the best of a few, on four held-out photographs."""
