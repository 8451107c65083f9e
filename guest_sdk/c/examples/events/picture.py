"""Writes thumbnail.json, an event for `thumbnail.wasm`: a computed landscape of 80 x 60 pixels, a PPM in base64."""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path

WIDTH, HEIGHT = 80, 60
SUN = (58, 16, 8)


def pixel(x: int, y: int) -> tuple[int, int, int]:
    """Nearest first: the field, the hills, the sun, the sky."""
    hill = 36 + 5 * math.sin(x / 9) + 3 * math.sin(x / 4 + 1)
    if y > 50 + 2 * math.sin(x / 13 + 2):
        stripe = (x + 2 * y) % 6 < 3
        return (190, 160, 60) if stripe else (170, 140, 50)
    if y > hill:
        return 40, int(110 - (y - hill) * 2), 60
    distance = math.hypot(x - SUN[0], y - SUN[1])
    if distance < SUN[2]:
        return 255, 230, 120
    glow = max(0.0, 1 - (distance - SUN[2]) / 20)
    return int(90 + y * 2 + 60 * glow), int(150 + y + 30 * glow), 235


def main() -> None:
    pixels = bytes(value for y in range(HEIGHT) for x in range(WIDTH) for value in pixel(x, y))
    image = b"P6\n%d %d\n255\n" % (WIDTH, HEIGHT) + pixels
    event = {"image": base64.b64encode(image).decode("ascii"), "width": 32, "format": "png"}
    Path(__file__).with_name("thumbnail.json").write_text(json.dumps(event) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
