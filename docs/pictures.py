"""Draw the pictures of the documentation as SVG files in docs/assets.

::

    python docs/pictures.py

They have a background, light or dark as the reader's system, so that they are readable on any page.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

ASSETS: Final = Path(__file__).parent / "assets"
WIDTH: Final = 600
NARROW: Final = 372
"""Width of pictures that fit a phone without scaling."""
_COLUMN, _ROW, _BOX_WIDTH, _BOX_HEIGHT, _EDGE = 148, 96, 124, 58, 16
_STYLE: Final = """
  .ground { fill: #f4f7f7; stroke: #c9d4d4 } .box { fill: #ffffff; stroke: #5b7a78; stroke-width: 1.5 }
  .queue { fill: #fdf0dc; stroke: #b07a1f } .ours { fill: #dcf1ee; stroke: #127a70 }
  text { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #16302e }
  .name { font-size: 15px; font-weight: 600 } .note { font-size: 12px }
  .path { font: 12px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace }
  .layer { fill: none; stroke: #c9d4d4 }
  .way { stroke: #47605e; stroke-width: 1.8; fill: none } .head { fill: #47605e }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #1b2526; stroke: #3a4a4b } .box { fill: #263233; stroke: #8aa5a3 }
    .layer { stroke: #3a4a4b } .queue { fill: #45351a; stroke: #d9a24a } .ours { fill: #123f3b; stroke: #4fc0b3 }
    text { fill: #e3eeed } .way { stroke: #a8bdbb } .head { fill: #a8bdbb }
  }
"""

BOXES: Final = [
    # column, row, class, name, note
    (0, 0, "queue", "queue", "an SQS batch"),
    (1, 0, "ours", "order", "by FIFO group"),
    (2, 0, "ours", "handlers", "bounded, in time"),
    (3, 0, "ours", "outcomes", "one per record"),
    (3, 1, "ours", "commit", "make durable"),
    (2, 1, "ours", "settle", "delays, rejects"),
    (1, 1, "ours", "respond", "failed ids"),
    (0, 2, "ours", "scatter", "cut into segments"),
    (2, 2, "queue", "dead letters", "with the reason"),
    (3, 2, "box", "ledger", "ended segments"),
    (0, 3, "box", "source", "table, file, bucket"),
    (3, 3, "ours", "fold", "when all ended"),
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
    # remaining share of the margin, and the event
    (1.0, "no more", "records start"),
    (0.5, "handlers", "are cancelled"),
    (0.25, "the response", "is built"),
    (0.0, "Lambda's", "timeout"),
]


LAYERS: Final = [
    # highest first: the packages, and their purpose
    ("cli", "the command line"),
    ("testing bench init", "tools"),
    ("_stack", "the local AWS"),
    ("_replay _report", "the mapping; a run's page"),
    ("powertools _worker _dead_letters _jobs", "entry points, jobs"),
    ("_consumer payloads", "one batch"),
    ("_breakers", "outages of a service"),
    ("sources sinks inmemory aws", "adapters"),
    ("idempotency logs otel capture folds+_folds protocols", "for users"),
    ("observers", "notifications of observers"),
    ("_ports check", "interfaces; templates"),
    ("_base", "values, no I/O"),
    ("errors", "one tree of errors"),
]
BATCH: Final = [
    # class, name, file, note
    ("queue", "An SQS batch", "", "Lambda's event"),
    ("ours", "Read", "_base/record.py", "one Record per message"),
    ("ours", "Order", "_base/ordering.py", "one lane per record or FIFO group"),
    ("ours", "Admit", "_consumer/admission.py", "which record may start, and when"),
    ("ours", "Bind and decode", "_consumer/binding.py", "the body becomes the handler's argument"),
    ("box", "Your handler", "", "returns or raises"),
    ("ours", "Classify", "_consumer/classify.py", "one Outcome per record"),
    ("ours", "Commit, settle", "_consumer/settle.py", "make durable; delays; dead letters"),
    ("ours", "Respond", "_consumer/respond.py", "the ids to be redelivered"),
]
RUN: Final = [
    ("box", "A source", "sources/", "a table, a file, a bucket, a range"),
    ("ours", "Scatter", "_jobs/scatter.py", "pin the source, cut it, send segments"),
    ("queue", "Work queue", "", "one message per segment"),
    ("ours", "Segment", "_jobs/segment_handler.py", "a consumer that reads the segment"),
    ("ours", "Commit", "_jobs/commit.py", "write markers and a counter to the ledger"),
    ("queue", "Fold queue", "", "a check, when the count is high enough"),
    ("ours", "Complete?", "_jobs/tally.py", "read the markers: which segments ended?"),
    ("ours", "Combine", "_jobs/combine.py", "many results, level by level"),
    ("ours", "Fold", "_jobs/fold_handler.py", "claim the run, fold in segment order"),
    ("box", "One output", "_jobs/output.py", "committed once"),
]
TEMPLATE: Final = [
    ("box", "A template", "", "SAM, CloudFormation, or from cdk synth"),
    ("ours", "Read", "check/reading.py", "values with their line numbers"),
    ("ours", "Translate", "check/sam.py", "SAM resources to CloudFormation"),
    ("ours", "Resolve", "check/intrinsics.py", "parameters, conditions, functions"),
    ("ours", "Model", "check/model.py", "queues, mappings, functions, permissions"),
    ("ours", "Apply the rules", "check/rules.py", "pure functions of the model"),
    ("ours", "Report", "check/report.py", "findings, and what is not known"),
]


def drawing(height: float, title: str, parts: list[str], width: int = WIDTH) -> str:
    """Return a picture: its background, then its parts."""
    ground = f'<rect class="ground" x="0.5" y="0.5" width="{width - 1}" height="{height - 1:g}" rx="10"/>'
    size = f'viewBox="0 0 {width} {height:g}" width="{width}" height="{height:g}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}'
    return "\n".join(
        [f'{head} role="img" aria-label="{title}">', f"<style>{_STYLE}</style>", ground, *parts, "</svg>\n"]
    )


def text(x: float, y: float, content: str, kind: str, anchor: str = "middle") -> str:
    """Return a line of text that is centered at a point, or starts or ends there."""
    return f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{content}</text>'


def box(x: float, y: float, width: float, height: float, kind: str) -> str:
    """Return a box, by its upper left corner."""
    return f'<rect class="box {kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6"/>'


def arrow(*points: tuple[float, float]) -> str:
    """Return a line along points, with a head at the last one. Its last part is horizontal or vertical."""
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
        parts.append(box(x - _BOX_WIDTH / 2, y - _BOX_HEIGHT / 2, _BOX_WIDTH, _BOX_HEIGHT, kind))
        parts += [text(x, y - 4, name, "name"), text(x, y + 16, note, "note")]
    parts += [_between(*way) for way in WAYS]
    queue, respond, scatter = _middle(0, 0), _middle(1, 1), _middle(0, 2)
    below, left = queue[1] + _BOX_HEIGHT / 2, respond[0] - _BOX_WIDTH / 2
    parts.append(arrow((left, respond[1]), (queue[0] + 28, respond[1]), (queue[0] + 28, below)))
    parts.append(arrow((scatter[0] - 28, scatter[1] - _BOX_HEIGHT / 2), (scatter[0] - 28, below)))
    return drawing(3 * _ROW + _BOX_HEIGHT + 2 * _EDGE, "The flow of a batch, and of a job", parts)


def deadline() -> str:
    """Return the picture of the last seconds of an invocation."""
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


def path_picture(title: str, steps: Sequence[tuple[str, str, str, str]]) -> str:
    """Return the picture of a path through the code: its steps from top to bottom, each with its file."""
    edge, height, gap = 10, 46, 16
    parts = []
    for number, (kind, name, path, note) in enumerate(steps):
        y = edge + number * (height + gap)
        parts += [
            box(edge, y, NARROW - 2 * edge, height, kind),
            text(edge + 12, y + 19, name, "name", "start"),
            text(edge + 12, y + 37, note, "note", "start"),
            text(NARROW - edge - 12, y + 19, path, "path", "end"),
        ]
        if number:
            parts.append(arrow((NARROW / 2, y - gap), (NARROW / 2, y)))
    return drawing(2 * edge + len(steps) * (height + gap) - gap, title, parts, NARROW)


def batch() -> str:
    """Return the picture of the path of a batch."""
    return path_picture("The path of a batch", BATCH)


def run() -> str:
    """Return the picture of the path of a run."""
    return path_picture("The path of a run", RUN)


def template() -> str:
    """Return the picture of the path of a template."""
    return path_picture("The path of a template", TEMPLATE)


def _lines(units: Sequence[str], width: float) -> Iterator[list[tuple[float, float, str]]]:
    """Yield lines of boxes for names that fit the width. A box is its left edge, its width, and its name."""
    line: list[tuple[float, float, str]] = []
    x = 0.0
    for unit in units:
        size = 7.3 * len(unit) + 16
        if line and x + size > width:
            yield line
            line, x = [], 0.0
        line.append((x, size, unit))
        x += size + 6
    yield line


def layers() -> str:
    """Return the picture of the packages in their layers."""
    edge, height, inner = 10, 26, NARROW - 36
    y, parts = float(edge), []
    for packages, note in LAYERS:
        lines = list(_lines(packages.split(), inner))
        last_x, last_size, _ = lines[-1][-1]
        same_line = last_x + last_size + 6.4 * len(note) < inner
        tall = len(lines) * (height + 6) + 8 + (0 if same_line else 18)
        parts.append(f'<rect class="layer" x="{edge}" y="{y:g}" width="{NARROW - 2 * edge}" height="{tall:g}" rx="6"/>')
        for number, line in enumerate(lines):
            top = y + 7 + number * (height + 6)
            for x, size, unit in line:
                parts.append(box(edge + 8 + x, top, size, height, "" if unit.startswith("_") else "ours"))
                parts.append(text(edge + 8 + x + size / 2, top + 17, unit.replace("+", ", "), "path"))
        parts.append(text(NARROW - edge - 10, y + tall - (16 if same_line else 9), note, "note", "end"))
        y += tall + 6
    return drawing(y - 6 + edge, "The packages in their layers", parts, NARROW)


PICTURES: Final = (flow, deadline, layers, batch, run, template)

if __name__ == "__main__":
    ASSETS.mkdir(exist_ok=True)
    for picture in PICTURES:
        (ASSETS / f"{picture.__name__}.svg").write_text(picture(), encoding="utf-8")
