"""Owns the lab's report: one HTML page with its charts as SVG, no script and nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import log10

from tenantry.lab.fleets import REVIEW, STOP
from tenantry.lab.table import COMPARED, Results, compared, goals

WIDTH, ROW, LEFT = 860, 34, 330
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1c2430; background: #fff }
body { max-width: 960px; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem }
h2 { font-size: 1.15rem; margin-top: 2.2rem }
table { border-collapse: collapse; width: 100%; font-size: .9rem }
th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid #d8dee6; vertical-align: top }
.no { color: #9f2b1c; font-weight: 600 }
.yes { color: #17653a; font-weight: 600 }
.told { color: #5a6675 }
svg { width: 100%; height: auto }
p { max-width: 46rem }
"""


def page(found: Results) -> str:
    """Return the whole report."""
    rows = "".join(
        f"<tr><td>{escape(goal.what)}</td><td>{escape(goal.to_reach)}</td><td>{escape(goal.reached)}</td>{_met(goal.met)}</tr>"
        for goal in goals(found)
    )
    ways = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in compared(found))
    heads = "".join(f"<th>{escape(head)}</th>" for head in COMPARED)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Tenantry: simulation</title>'
        f"<style>{STYLE}</style></head><body><h1>The guard in simulation</h1>"
        f"<p>Policy {escape(found.policy)}, seed {found.seed}; {found.size.tenants:,} healthy tenants, "
        f"{found.size.trials:,} trials of each bad sender, "
        f"{found.size.fleets:,} fleets under each way of isolation. The same seed and sizes give the same figures.</p>"
        f"<h2>What was to be reached</h2><table><tr><th>what</th><th>to reach</th><th>reached</th><th></th></tr>{rows}</table>"
        f"<h2>Mails until a bad sender is caught</h2><p>From the middle one (dark) to the 95th of 100 (light); "
        f"the mark is what was to be reached. Logarithmic.</p>{_caught(found)}"
        f"<h2>Worst bounce rate of the account, fleet by fleet</h2><p>By its newest 10,000 mails. The lines are Amazon's: "
        f"review at {REVIEW * 100:.0f} %, pause at {STOP * 100:.0f} %.</p>{_rates(found)}"
        f"<h2>Ways to keep tenants apart</h2><table><tr>{heads}</tr>{ways}</table></body></html>"
    )


def _met(met: bool | None) -> str:
    words, look = {True: ("met", "yes"), False: ("not met", "no"), None: ("told", "told")}[met]
    return f'<td class="{look}">{words}</td>'


def _svg(height: int, title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}" font-size="13"'
        f' font-family="system-ui, sans-serif">{"".join(parts)}</svg>'
    )


def _text(x: float, y: float, words: str, anchor: str = "start", color: str = "#1c2430") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}">{escape(words)}</text>'


def _box(x: float, y: float, width: float, color: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 1):.1f}" height="16" fill="{color}"/>'


def _mark(x: float, top: float, bottom: float, color: str) -> str:
    return f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}" stroke="{color}" stroke-dasharray="4 3"/>'


def _caught(found: Results) -> str:
    span = WIDTH - LEFT - 90

    def at(mails: int) -> float:
        return LEFT + (log10(max(mails, 1)) - 1) / 3 * span  # from 10 to 10,000

    parts = []
    for number, (aim, result) in enumerate(found.aims):
        y = number * ROW + 10
        parts.append(_text(LEFT - 8, y + 13, aim.words, "end"))
        middle, last = result.quantile(0.5), result.quantile(0.95)
        if middle is not None and last is not None:
            parts.append(_box(LEFT, y, at(last) - LEFT, "#9cc3e6"))
            parts.append(_box(LEFT, y, at(middle) - LEFT, "#2b6ca3"))
            parts.append(_text(at(max(last, aim.within)) + 8, y + 13, f"{middle:,} – {last:,}"))
        parts.append(_mark(at(aim.within), y - 4, y + 20, "#9f2b1c"))
    base = len(found.aims) * ROW + 10
    parts += [_text(at(mails), base + 14, f"{mails:,}", "middle", "#5a6675") for mails in (10, 100, 1_000, 10_000)]
    return _svg(base + 24, "mails until caught", parts)


def _rates(found: Results) -> str:
    span = WIDTH - LEFT - 20
    most = 0.14

    def at(rate: float) -> float:
        return LEFT + min(rate, most) / most * span

    parts = []
    base = len(found.ways) * ROW + 10
    for number, (way, played) in enumerate(found.ways.items()):
        y = number * ROW + 18
        parts.append(_text(LEFT - 8, y + 4, way.value, "end"))
        for one in played:
            color = "#9f2b1c" if one.account_stopped else "#2b6ca3"
            parts.append(f'<circle cx="{at(one.bounce_peak):.1f}" cy="{y}" r="4" fill="{color}" fill-opacity=".45"/>')
    for rate, words in ((0.0, "0"), (REVIEW, "5 %"), (STOP, "10 %")):
        color = "#9f2b1c" if rate else "#d8dee6"
        parts.append(
            f'<line x1="{at(rate):.1f}" x2="{at(rate):.1f}" y1="4" y2="{base}" stroke="{color}" stroke-dasharray="4 3"/>'
        )
        parts.append(_text(at(rate), base + 14, words, "middle", "#5a6675"))
    parts.append(_text(LEFT + span, base + 32, "red: stopped by Amazon, for bounces or complaints", "end", "#9f2b1c"))
    return _svg(base + 42, "worst bounce rate by way of isolation", parts)
