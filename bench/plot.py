"""plot.py - one line plot as SVG, from the JSON of a bench. No dependency."""
import math
from html import escape

WIDTH, HEIGHT = 720, 320
LEFT, RIGHT, TOP, BOTTOM = 64, 250, 36, 48
COLOURS = ["#0b6e99", "#d9480f", "#2b8a3e", "#862e9c", "#c92a2a", "#495057"]


def nice_step(span, wanted=5):
    """A step of 1, 2 or 5 times a power of ten that cuts the span into about `wanted` parts."""
    raw = span / wanted
    power = 10 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)


def label(value):
    return f"{value:,.0f}" if value == round(value) else f"{value:g}"


def svg(plot):
    points = [p for p in plot["points"] if p[1] is not None and p[2] is not None]
    if not points:
        return f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}"/>\n'
    xs, ys = [p[1] for p in points], [p[2] for p in points]
    log_x = plot["log_x"] and min(xs) > 0
    at = (lambda x: math.log10(x)) if log_x else (lambda x: x)
    x_low, x_high = at(min(xs)), at(max(xs))
    x_high = x_high if x_high > x_low else x_low + 1
    step = nice_step(max(ys) or 1)
    y_high = math.ceil((max(ys) or 1) / step) * step

    def px(x):
        return LEFT + (at(x) - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)

    def py(y):
        return HEIGHT - BOTTOM - y / y_high * (HEIGHT - TOP - BOTTOM)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="12">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
           f'<text x="{LEFT}" y="20" font-size="14" font-weight="bold">{escape(plot["title"])}</text>']
    y = 0.0
    while y <= y_high * 1.0001:
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{py(y):.1f}" y2="{py(y):.1f}" stroke="#dee2e6"/>')
        out.append(f'<text x="{LEFT - 6}" y="{py(y) + 4:.1f}" text-anchor="end">{label(round(y, 9))}</text>')
        y += step
    for x in sorted(set(xs)):
        out.append(f'<text x="{px(x):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{label(x)}</text>')
    out.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(plot["x"])}</text>')
    out.append(f'<text x="14" y="{(TOP + HEIGHT - BOTTOM) / 2}" text-anchor="middle" '
               f'transform="rotate(-90 14 {(TOP + HEIGHT - BOTTOM) / 2})">{escape(plot["y"])}</text>')
    for index, series in enumerate(dict.fromkeys(p[0] for p in points)):
        colour = COLOURS[index % len(COLOURS)]
        mine = sorted((p[1], p[2]) for p in points if p[0] == series)
        path = " ".join(f"{px(x):.1f},{py(v):.1f}" for x, v in mine)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{px(x):.1f}" cy="{py(v):.1f}" r="3" fill="{colour}"/>' for x, v in mine]
        row = TOP + 8 + 18 * index
        out.append(f'<rect x="{WIDTH - RIGHT + 12}" y="{row - 8}" width="12" height="4" fill="{colour}"/>')
        out.append(f'<text x="{WIDTH - RIGHT + 30}" y="{row}">{escape(series)}</text>')
    out.append("</svg>\n")
    return "\n".join(out)
