"""What a race writes down: a table for each section, what was asked, a chart, and each round.

`section` is a section of perf/race, with its rows as they were measured.
"""

import os

import aims
from aims import CAT, CP, CP_SYNC, GENERATE, INSPECT, OURS, PYTHON
from measure import chart, figures, markdown, record, write_csv, write_json


def cell(value, form):
    return "" if value is None else format(value, form)


def row_figures(section, row):
    """A row as it is written down: seconds, rates, and ratios to the copies."""
    out = figures(row)
    middle = out["seconds"]["median"]
    messages = section.count(row.name)
    out["messages_per_second"] = messages / middle if row.name not in (CAT, CP, CP_SYNC) else None
    whole = section.bytes and row.name not in section.counted
    out["mb_per_second"] = section.bytes / 1e6 / middle if whole else None
    for key, other in (("x_cat", CAT), ("x_cp", CP), ("x_cp_sync", CP_SYNC)):
        measured = aims.ratio(row.name, other)(section) if row.name not in section.counted else None
        out[key] = measured and measured[0]
    return out


HEAD = ["command", "seconds", "least to most", "processor", "MB/s", "messages/s", "x cat", "x cp",
        "x cp + sync", "MiB"]


def table(section):
    lines = []
    for row in section.rows:
        made = row_figures(section, row)
        name = f"**{row.name}**" if row.name in OURS else row.name
        seconds = made["seconds"]
        processor = made["processor"]["median"]
        lines.append([
            name, f"{seconds['median']:.3f}", f"{seconds['min']:.3f} to {seconds['max']:.3f}",
            cell(processor or None, ".3f"), cell(made["mb_per_second"], ",.0f"),
            cell(made["messages_per_second"], ",.0f"), cell(made["x_cat"], ".2f"),
            cell(made["x_cp"], ".2f"), cell(made["x_cp_sync"], ".2f"),
            cell(row.anonymous / 1024 if row.anonymous else None, ".0f")])
    used = [at for at in range(len(HEAD)) if any(line[at] for line in lines)]
    return markdown([HEAD[at] for at in used], [[line[at] for at in used] for line in lines])


def title(section):
    size = f", {section.bytes / 1e6:,.0f} MB" if section.bytes >= 1e6 else ""
    return f"{section.title}: {section.messages:,} messages{size}"


def aims_table(compared):
    return markdown(["aim", "input", "asked", "measured", "in a round", "met"], [
        [one["aim"], one["input"], f"{one['side']} {one['asked']:g}", f"{one['measured']:.3g}",
         f"{one['min']:.3g} to {one['max']:.3g}", "met" if one["met"] else "**missed**"]
        for one in compared])


def where(about):
    return (f"{about['date']}, commit {about['commit']}; {about['processors']}, "
            f"{about['memory_gib']} GiB, {about['kernel']}, {about['filesystem']}; {about['rustc']}, "
            f"Python {about['python']}, Postfix {about['postfix'] or 'none'}; seed {about['seed']}; "
            f"page-cached, medians of {about['rounds']} rounds in turn.")


def text(sections, compared, about):
    parts = [where(about), f"Command: `{about['command']}`.\n"]
    for section in sections:
        parts += [f"### {title(section)}\n", table(section)]
        parts += [f"- {note}" for note in section.notes]
        parts.append("")
    parts += ["### What is asked\n", aims_table(compared), aims.ELSEWHERE]
    parts += [f"\nSkipped: {what}." for what in about["skipped"]]
    return "\n".join(parts) + "\n"


def panel(section):
    """A section as bars: seconds, or messages a second where messages differ."""
    bars = []
    rates = bool(section.counted)
    for row in section.rows:
        # What lists, makes or reads the queue alone doesn't do the work of the others.
        if row.name in ((CAT, CP, CP_SYNC) if rates else (INSPECT, GENERATE)):
            continue
        made = row_figures(section, row)
        value = made["seconds"]
        label = f"{value['median']:.3f} s"
        if made["x_cp"]:
            label += f", {made['x_cp']:.2f} x cp"
        bar = {"label": row.name, "value": value["median"], "low": value["min"], "high": value["max"],
               "text": label, "ours": row.name in OURS}
        if rates:
            each = section.count(row.name)
            bar.update(value=each / value["median"], low=each / value["max"],
                       high=each / value["min"], text=f"{each / value['median']:,.0f}")
        bars.append(bar)
    out = {"title": title(section), "bars": bars}
    if rates:
        return {**out, "log": "x", "x": "messages a second (log); medians, least and most"}
    most = max(bar["high"] for bar in bars if bar["label"] != PYTHON)
    return {**out, "limit": 1.3 * most, "x": "seconds; medians, least and most"}


def write(name, sections, about):
    """Writes race.md, .csv, .json, .svg and .png into the record of that name; the text."""
    folder = record(name)
    compared = aims.compare(sections)
    told = text(sections, compared, about)
    with open(os.path.join(folder, "race.md"), "w", encoding="utf-8") as file:
        file.write(told)
    write_csv(os.path.join(folder, "race.csv"), ["section", "command", "round", "seconds", "processor"], [
        [section.name, row.name, number, f"{taken.seconds:.6f}", f"{taken.processor:.6f}"]
        for section in sections for row in section.rows for number, taken in enumerate(row.taken, 1)])
    write_json(os.path.join(folder, "race.json"), {
        **about, "aims": compared,
        "sections": [{"name": section.name, "title": title(section), "bytes": section.bytes,
                      "messages": section.messages, "notes": section.notes,
                      "rows": {row.name: row_figures(section, row) for row in section.rows}}
                     for section in sections]})
    chart(folder, "race", {"title": "Inqueue beside its peers", "note": where(about),
                           "panels": [panel(section) for section in sections]})
    return told
