#!/usr/bin/env python3
"""Draws a chart from its description, as SVG and PNG beside it: a record can be drawn again.

usage: target/plots/bin/python perf/chart.py NAME.chart.json

The description: {"title", "note", "columns", "panels": [panel...]}. A panel has "title", "x" and
"y" (texts at the axes), "log": "", "x", "y" or "xy", and one of
    "bars":  [{"label", "value", "low", "high", "text", "ours"}...]   horizontal, the first on top;
             with "limit": the axis ends there, and what is longer is cut off
    "lines": [{"label", "x": [...], "y": [...], "low": [...], "high": [...]}...]
with "marks": [{"at", "label"}...], lines across at values (of bars down, of lines across).
The same description gives the same bytes with the same matplotlib.
"""

import json
import sys
import textwrap

import matplotlib

matplotlib.use("Agg")
matplotlib.rcParams.update({
    "svg.hashsalt": "inqueue", "svg.fonttype": "none", "font.size": 9, "axes.spines.top": False,
    "axes.spines.right": False, "axes.titlesize": 10, "axes.axisbelow": True})
import matplotlib.pyplot as plt  # noqa: E402

OURS, OTHERS, MARK = "#1f6f8b", "#b9b9b9", "#c0392b"


def bars(axes, panel):
    rows = panel["bars"]
    places = range(len(rows))
    values = [row["value"] for row in rows]
    low = [row["value"] - row.get("low", row["value"]) for row in rows]
    high = [row.get("high", row["value"]) - row["value"] for row in rows]
    axes.barh(places, values, xerr=[low, high], height=0.7, ecolor="#555555", capsize=2,
              color=[OURS if row.get("ours") else OTHERS for row in rows])
    axes.set_yticks(places, [row["label"] for row in rows])
    axes.invert_yaxis()
    limit = panel.get("limit", max(values))
    for place, row in enumerate(rows):
        text, end = row.get("text", f"{row['value']:.3g}"), row.get("high", row["value"])
        if row["value"] > limit:
            axes.annotate(f"{text}  →", (limit, place), xytext=(-6, 0), ha="right",
                          textcoords="offset points", va="center", fontsize=8)
        else:
            axes.annotate(text, (min(end, limit), place), xytext=(4, 0),
                          textcoords="offset points", va="center", fontsize=8)
    axes.margins(x=0.3)
    if "limit" in panel:
        axes.set_xlim(0, limit)
    for mark in panel.get("marks", []):
        axes.axvline(mark["at"], color=MARK, linewidth=0.9, linestyle="--", label=mark["label"])


def lines(axes, panel):
    for row in panel["lines"]:
        drawn, = axes.plot(row["x"], row["y"], marker="o", markersize=3, label=row["label"])
        if "low" in row:
            axes.fill_between(row["x"], row["low"], row["high"], color=drawn.get_color(), alpha=0.2)
    for mark in panel.get("marks", []):
        axes.axhline(mark["at"], color=MARK, linewidth=0.9, linestyle="--", label=mark["label"])
    if "y" not in panel.get("log", ""):
        axes.set_ylim(bottom=0)


def height(panel):
    return 0.8 + 0.24 * len(panel["bars"]) if "bars" in panel else 3.0


def draw(description):
    panels, columns = description["panels"], description.get("columns", 1)
    rows = [panels[at:at + columns] for at in range(0, len(panels), columns)]
    heights = [max(map(height, row)) for row in rows]
    figure, grid = plt.subplots(
        len(rows), columns, squeeze=False, figsize=(9 if columns == 1 else 5.5 * columns,
                                                    sum(heights) + 0.5 * len(rows) + 0.6),
        gridspec_kw={"height_ratios": heights}, layout="constrained")
    for axes in grid.flat:
        axes.set_visible(False)
    for axes, panel in zip(grid.flat, panels):
        axes.set_visible(True)
        axes.set_title(panel["title"], loc="left")
        axes.set_xlabel(panel.get("x", ""))
        axes.set_ylabel(panel.get("y", ""))
        axes.grid(axis="x" if "bars" in panel else "both", color="#e5e5e5")
        if "x" in panel.get("log", ""):
            axes.set_xscale("log")
        if "y" in panel.get("log", ""):
            axes.set_yscale("log")
        (bars if "bars" in panel else lines)(axes, panel)
        if panel.get("marks") or "lines" in panel:
            axes.legend(fontsize=8, frameon=False)
    figure.suptitle(description["title"], x=0.01, ha="left", fontsize=12, weight="bold")
    if description.get("note"):
        note = textwrap.fill(description["note"], 70 + 65 * columns)
        figure.supxlabel(note, x=0.01, ha="left", fontsize=7, color="#555555")
    return figure


def main():
    path = sys.argv[1]
    with open(path, encoding="utf-8") as file:
        figure = draw(json.load(file))
    stem = path.removesuffix(".json").removesuffix(".chart")
    figure.savefig(stem + ".svg", metadata={"Date": None, "Creator": "perf/chart.py"})
    figure.savefig(stem + ".png", dpi=110, metadata={"Software": "perf/chart.py"})


if __name__ == "__main__":
    main()
