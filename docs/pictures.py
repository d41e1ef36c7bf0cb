"""Draws the pictures of the documentation as SVG, into docs/assets.

::

    python docs/pictures.py

They stand on a ground of their own, light or dark as the reader's system is, so that they can be read on any page.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

ASSETS: Final = Path(__file__).parent / "assets"
WIDTH: Final = 600
_COLUMN, _ROW, _BOX_WIDTH, _BOX_HEIGHT, _EDGE = 148, 96, 124, 58, 16
_STYLE: Final = """
  .ground { fill: #f4f7f7; stroke: #c9d4d4 } .box { fill: #ffffff; stroke: #5b7a78; stroke-width: 1.5 }
  .queue { fill: #fdf0dc; stroke: #b07a1f } .ours { fill: #dcf1ee; stroke: #127a70 }
  text { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #16302e }
  .name { font-size: 15px; font-weight: 600 } .note { font-size: 12px }
  .way { stroke: #47605e; stroke-width: 1.8; fill: none } .head { fill: #47605e }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #1b2526; stroke: #3a4a4b } .box { fill: #263233; stroke: #8aa5a3 }
    .queue { fill: #45351a; stroke: #d9a24a } .ours { fill: #123f3b; stroke: #4fc0b3 }
    text { fill: #e3eeed } .way { stroke: #a8bdbb } .head { fill: #a8bdbb }
  }
"""

BOXES: Final = [
    # column, row, class, name, note
    (0, 0, "queue", "queue", "a batch of SQS"),
    (1, 0, "ours", "order", "FIFO groups kept"),
    (2, 0, "ours", "handlers", "bounded, in time"),
    (3, 0, "ours", "outcomes", "one for a record"),
    (3, 1, "ours", "commit", "what must last"),
    (2, 1, "ours", "settle", "delays, rejects"),
    (1, 1, "ours", "answer", "what comes back"),
    (0, 2, "ours", "scatter", "cut into segments"),
    (2, 2, "queue", "dead letters", "with the reason"),
    (3, 2, "box", "ledger", "which have ended"),
    (0, 3, "box", "source", "table, file, bucket"),
    (3, 3, "ours", "fold", "when all have"),
    (2, 3, "box", "one output", "committed once"),
]
WAYS: Final = [
    ((0, 0), (1, 0)),
    ((1, 0), (2, 0)),
    ((2, 0), (3, 0)),
    ((3, 0), (3, 1)),
    ((3, 1), (2, 1)),
    ((2, 1), (1, 1)),
    ((2, 1), (2, 2)),
    ((3, 1), (3, 2)),
    ((3, 2), (3, 3)),
    ((3, 3), (2, 3)),
    ((0, 3), (0, 2)),
]
MOMENTS: Final = [
    # share of the margin that is left, and what happens then
    (1.0, "no further", "record starts"),
    (0.5, "what runs", "is cancelled"),
    (0.25, "the answer", "is made"),
    (0.0, "Lambda's", "timeout"),
]


def drawing(height: int, title: str, parts: list[str]) -> str:
    """Return a picture: its ground, then its parts."""
    ground = f'<rect class="ground" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="10"/>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    return "\n".join(
        [f'{head} role="img" aria-label="{title}">', f"<style>{_STYLE}</style>", ground, *parts, "</svg>\n"]
    )


def text(x: float, y: float, words: str, kind: str) -> str:
    """Return a line of text around a point."""
    return f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="middle">{words}</text>'


def arrow(*points: tuple[float, float]) -> str:
    """Return a line along points, with a head at the last one, which lies straight on from the one before."""
    (x0, y0), (x, y) = points[-2:]
    dx, dy = (x > x0) - (x < x0), (y > y0) - (y < y0)
    line = " ".join(f"{px:g},{py:g}" for px, py in points)
    head = (
        f"{x:g},{y:g} {x - 8 * dx - 4 * dy:g},{y - 8 * dy - 4 * dx:g} {x - 8 * dx + 4 * dy:g},{y - 8 * dy + 4 * dx:g}"
    )
    return f'<polyline class="way" points="{line}"/><polygon class="head" points="{head}"/>'


def _middle(column: int, row: int) -> tuple[float, float]:
    return _EDGE + column * _COLUMN + _BOX_WIDTH / 2, _EDGE + row * _ROW + _BOX_HEIGHT / 2


def _between(start: tuple[int, int], end: tuple[int, int]) -> str:
    (x0, y0), (x1, y1) = _middle(*start), _middle(*end)
    dx, dy = (x1 > x0) - (x1 < x0), (y1 > y0) - (y1 < y0)
    half = (_BOX_WIDTH / 2, _BOX_HEIGHT / 2)
    return arrow((x0 + dx * half[0], y0 + dy * half[1]), (x1 - dx * half[0], y1 - dy * half[1]))


def flow() -> str:
    """Return the picture of the flow."""
    parts = []
    for column, row, kind, name, note in BOXES:
        x, y = _middle(column, row)
        size = f'width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}" rx="6"'
        parts.append(f'<rect class="box {kind}" x="{x - _BOX_WIDTH / 2:g}" y="{y - _BOX_HEIGHT / 2:g}" {size}/>')
        parts += [text(x, y - 4, name, "name"), text(x, y + 16, note, "note")]
    parts += [_between(*way) for way in WAYS]
    queue, answer, scatter = _middle(0, 0), _middle(1, 1), _middle(0, 2)
    below, left = queue[1] + _BOX_HEIGHT / 2, answer[0] - _BOX_WIDTH / 2
    parts.append(arrow((left, answer[1]), (queue[0] + 28, answer[1]), (queue[0] + 28, below)))
    parts.append(arrow((scatter[0] - 28, scatter[1] - _BOX_HEIGHT / 2), (scatter[0] - 28, below)))
    return drawing(3 * _ROW + _BOX_HEIGHT + 2 * _EDGE, "The flow of a batch, and of a job", parts)


def deadline() -> str:
    """Return the picture of an invocation's last seconds."""
    left, right, y = 40, WIDTH - 52, 46
    start = left + 90
    parts = [
        f'<rect class="box ours" x="{left}" y="{y}" width="{start - left}" height="26"/>',
        f'<rect class="box queue" x="{start}" y="{y}" width="{right - start}" height="26"/>',
        text((left + start) / 2, y + 18, "records start", "note"),
        text((start + right) / 2, y - 14, "the margin: 5 % of the time, at least 1 s, at most half", "note"),
    ]
    for share, first, second in MOMENTS:
        x = right - share * (right - start)
        parts.append(arrow((x, y + 62), (x, y + 30)))
        parts += [text(x, y + 80, first, "note"), text(x, y + 96, second, "note")]
    return drawing(160, "The last seconds of an invocation", parts)


if __name__ == "__main__":
    ASSETS.mkdir(exist_ok=True)
    (ASSETS / "flow.svg").write_text(flow(), encoding="utf-8")
    (ASSETS / "deadline.svg").write_text(deadline(), encoding="utf-8")
