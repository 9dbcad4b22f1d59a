"""What a page shows, as JSON: images with their versions, and a set of images with its curves."""

from typing import Any

import numpy as np

from dctcodec.compare.comparison import Comparison
from dctcodec.compare.embed import METHOD, Region, embedded
from dctcodec.compare.version import Version, row_as_json
from dctcodec.tiles import TILE


def image_document(comparison: Comparison, region: Region, limit: int, method: int = METHOD) -> dict[str, Any]:
    """One image: its size, the region that is shown (left, top, width, height), and its versions, the original first, with lossless
    images of at most `limit` characters in all, encoded by WebP's `method`."""
    versions = comparison.versions
    region, urls = embedded([comparison.original, *(version.image for version in versions)], region, limit, method)
    original: dict[str, Any] = {"name": "original", "settings": "", "note": "", "figures": None, "points": [], "maps": []}
    return {
        "name": comparison.name,
        "size": comparison.original.size,
        "region": [region.left, region.top, region.width, region.height],
        "versions": [original | {"url": urls[0]}, *(_version_document(*pair) for pair in zip(versions, urls[1:], strict=True))],
    }


def _version_document(version: Version, url: str) -> dict[str, Any]:
    return {
        "name": version.name,
        "settings": version.settings,
        "note": version.note,
        "figures": row_as_json(version.figures),
        "points": [row_as_json(point) for point in version.points],
        "maps": [] if version.tile_bits is None else [tile_map("Bits per tile", "bits", version.tile_bits)],
        "url": url,
    }


def tile_map(name: str, unit: str, values: np.ndarray) -> dict[str, Any]:
    """A figure of each tile, (h, w) on the grid of tiles. The page offers each as a map."""
    return {
        "name": name,
        "unit": unit,
        "tile": TILE,
        "columns": values.shape[1],
        "values": np.round(values.astype(float), 1).flatten().tolist(),
    }
