"""Draws the paper's figure 10 of committed measurements, benchmarks/paper/attack-*.json, side by side.

python benchmarks/scripts/figure_10.py benchmarks/paper/figure-10.png
"""

import sys
from pathlib import Path

from paper_results import ATTACKED
from results import RESULTS, load

from dctcodec.evaluate.figure10 import plot


def main(path: Path) -> None:
    """Write the plot of the data sets that were measured."""
    measured = [name for name in ATTACKED if (RESULTS / "paper" / f"attack-{name}.json").exists()]
    path.write_bytes(plot([load(f"paper/attack-{name}") for name in measured]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
