"""Plots as SVG: lines with their spread over a number, or bars over words.

Colours are the page's: `var(--c0)` to `var(--c5)`, and the classes `soft`, `title` and `grid`.
"""

import html
import math

WIDTH, HEIGHT = 760, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 64, 48
COLOURS = 6


class Scale:
    """Maps values to a stretch of the page, by their size or by its logarithm."""

    def __init__(self, values, start, end, log):
        self.log = log
        self.ticks = decades(values) if log else steps(values)
        self.low, self.high = self.measure(self.ticks[0]), self.measure(self.ticks[-1])
        self.start, self.end = start, end

    def measure(self, value):
        """What distances are proportional to."""
        return math.log10(value) if self.log else value

    def __call__(self, value):
        share = (self.measure(value) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


def decades(values):
    """Powers of ten around positive values."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return [10.0 ** power for power in range(low, max(high, low + 1) + 1)]


def steps(values):
    """Four to eight round numbers from zero (or below the least) to above the greatest."""
    low, high = min(0, *values), max(0, *values)
    rough = (high - low) / 6 or 1
    unit = 10 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [index * step for index in range(first, last + 1)]


def svg(plot):
    """The whole plot. `plot` is section.Plot as plain data."""
    points = [point for line in plot["lines"] for point in line["points"]]
    if not points:
        return ""
    y = Scale([value for point in points for value in point[1:]], HEIGHT - BOTTOM, TOP,
              plot["y_log"])
    draw = bars if plot["kind"] == "bars" else curves
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" '
             f'aria-label="{html.escape(plot["title"])}">',
             words(LEFT, 18, plot["title"], "title"), *rules(y),
             words(LEFT - 60, TOP - 10, plot["y"], "soft"),
             words((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, plot["x"], "soft", "middle"),
             *legend(plot["lines"]), *draw(plot, y), "</svg>"]
    return "\n".join(parts)


def words(x, y, text, kind="", anchor="start"):
    """A text."""
    return (f'<text x="{x:.0f}" y="{y:.0f}" class="{kind}" text-anchor="{anchor}">'
            f"{html.escape(text)}</text>")


def short(value):
    """A number on an axis."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def rules(y):
    """Lines across at the ticks, and what they stand for."""
    for tick in y.ticks:
        yield (f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick)}" '
               f'y2="{y(tick)}"/>')
        yield words(LEFT - 8, y(tick) + 4, short(tick), "soft", "end")


def legend(lines):
    """The names of the lines, in their colours."""
    x = LEFT
    for index, line in enumerate(lines):
        yield f'<rect x="{x}" y="28" width="12" height="12" fill="{colour(index)}"/>'
        yield words(x + 17, 38, line["name"])
        x += 34 + 7 * len(line["name"])


def colour(index):
    """Of the line with this index."""
    return f"var(--c{index % COLOURS})"


def curves(plot, y):
    """Lines with dots, and a stroke from the least to the most that was seen."""
    x = Scale([point[0] for line in plot["lines"] for point in line["points"]], LEFT + 10,
              WIDTH - RIGHT - 10, plot["x_log"])
    for tick in x.ticks:
        yield words(x(tick), HEIGHT - BOTTOM + 18, short(tick), "soft", "middle")
    for index, line in enumerate(plot["lines"]):
        track = " ".join(f"{x(point[0])},{y(point[1])}" for point in line["points"])
        yield f'<polyline points="{track}" fill="none" stroke="{colour(index)}" stroke-width="2"/>'
        for point in line["points"]:
            yield (f'<circle cx="{x(point[0])}" cy="{y(point[1])}" r="3" '
                   f'fill="{colour(index)}"/>')
            yield spread(x(point[0]), point, y, colour(index))


def spread(x, point, y, stroke):
    """From least to most, if the point says so."""
    if len(point) < 4 or point[2] is None:
        return ""
    return (f'<line x1="{x}" x2="{x}" y1="{y(point[2])}" y2="{y(point[3])}" '
            f'stroke="{stroke}" stroke-width="1"/>')


def bars(plot, y):
    """Groups of bars, one group for each word."""
    groups = list(dict.fromkeys(point[0] for line in plot["lines"] for point in line["points"]))
    room = (WIDTH - LEFT - RIGHT) / len(groups)
    width, floor = 0.8 * room / len(plot["lines"]), y(y.ticks[0] if plot["y_log"] else 0)
    for place, group in enumerate(groups):
        yield words(LEFT + (place + 0.5) * room, HEIGHT - BOTTOM + 18, str(group), "soft", "middle")
    for index, line in enumerate(plot["lines"]):
        for point in line["points"]:
            x = LEFT + (groups.index(point[0]) + 0.1) * room + index * width
            top, bottom = sorted((y(point[1]), floor))
            yield (f'<rect x="{x:.1f}" y="{top}" width="{0.92 * width:.1f}" '
                   f'height="{bottom - top:.1f}" fill="{colour(index)}"/>')
            yield spread(x + 0.46 * width, point, y, "currentColor")
