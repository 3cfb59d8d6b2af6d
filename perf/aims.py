"""What the rows of a race are called, what is asked of them, and how what was measured compares.

A measured ratio is one of medians; beside it stands the least and the most that it was in a round.
"""

import statistics

CAT, CP, CP_SYNC = "cat queue >/dev/null", "cp queue copy", "cp queue copy; sync -d copy"
RUN_1, RUN_2 = "inqueue run, 1 worker, not synced", "inqueue run, 2 workers, not synced"
DURABLE = "inqueue run, 2 workers, durable"
REFER_1, REFER_2 = "inqueue run by reference, 1 worker", "inqueue run by reference, 2 workers"
INSPECT, GENERATE = "inqueue inspect --json", "inqueue-gen"
AFTERNOON, AFTERNOON_FULL = "afternoon's program, headers", "afternoon's program, full parses"
PYTHON = "Python mailbox + email"
NDRS, BOTH = "inqueue run, durable, all unknown", "inqueue run, durable, sender bad too"
POSTFIX_IN, POSTFIX_LIST = "Postfix, taking in", "postqueue -j"
POSTFIX_DRAIN, POSTFIX_NDRS = "Postfix, draining", "Postfix, bouncing"
POSTFIX_BOTH = "Postfix, bouncing, sender bad too"
SMALL_RUN = "inqueue run, small"
OURS = {RUN_1, RUN_2, DURABLE, REFER_1, REFER_2, INSPECT, GENERATE, NDRS, BOTH, SMALL_RUN}


def ratio(one, other, what="seconds", each=1.0):
    """What `one` took in what `other` did: of medians, and of each round's."""
    def measure(section):
        rows = section.named()
        if one not in rows or other not in rows:
            return None
        ones, others = ([getattr(taken, what) for taken in rows[name].taken] for name in (one, other))
        rounds = [each * a / b for a, b in zip(ones, others)]
        return each * statistics.median(ones) / statistics.median(others), min(rounds), max(rounds)
    return measure


def rate_ratio(one, other):
    """How many times as many messages a second `one` does as `other`."""
    def measure(section):
        rows = section.named()
        if one not in rows or other not in rows:
            return None
        return ratio(other, one, each=section.count(one) / section.count(other))(section)
    return measure


def seconds(name, over=None, thousand=1):
    """What a row took, or took longer than another."""
    def measure(section):
        rows = section.named()
        if name not in rows or (over and over not in rows):
            return None
        less = [taken.seconds for taken in rows[over].taken] if over else [0] * len(rows[name].taken)
        own = [thousand * (taken.seconds - other) for taken, other in zip(rows[name].taken, less)]
        return statistics.median(own), min(own), max(own)
    return measure


def throughput(name):
    """MB/s of a row."""
    def measure(section):
        row = section.named().get(name)
        rates = [section.bytes / 1e6 / taken.seconds for taken in row.taken] if row else []
        return (statistics.median(rates), min(rates), max(rates)) if rates else None
    return measure


def memory(section):
    """The most MiB of anonymous memory that a run had."""
    mib = [row.anonymous / 1024 for row in section.rows if row.name in OURS - {INSPECT, GENERATE}]
    return (max(mib), min(mib), max(mib)) if mib else None


# What is asked: at most (-1) or at least (1) so much.
AIMS = [
    ("copying, 2 workers, not synced / `cp`", -1, 1.0, ratio(RUN_2, CP)),
    ("the same, durable / `cp` and fdatasync", -1, 1.0, ratio(DURABLE, CP_SYNC)),
    ("by reference, 2 workers / `cat >/dev/null`", -1, 1.3, ratio(REFER_2, CAT)),
    ("times faster than the afternoon's program, copying", 1, 10, ratio(AFTERNOON, RUN_2)),
    ("times faster than the afternoon's program, by reference", 1, 20, ratio(AFTERNOON, REFER_2)),
    ("share of the afternoon's program's processor time, copying", -1, 0.2,
     ratio(RUN_2, AFTERNOON, "processor")),
    ("share of the afternoon's program's processor time, by reference", -1, 0.2,
     ratio(REFER_2, AFTERNOON, "processor")),
    ("times faster than Python, copying", 1, 400, ratio(PYTHON, RUN_2)),
    ("2 workers over 1, copying", 1, 1.9, ratio(RUN_1, RUN_2)),
    ("2 workers over 1, by reference", 1, 1.9, ratio(REFER_1, REFER_2)),
    ("peak anonymous memory of a run, MiB", -1, 256, memory),
    ("the generator, MB/s", 1, 500, throughput(GENERATE)),
    ("NDRs made durable a second, times Postfix's", 1, 300, rate_ratio(NDRS, POSTFIX_NDRS)),
    ("`inspect --json` of the whole queue, seconds", -1, 1.0, seconds(INSPECT)),
    ("`inspect --json`, times the messages a second of `postqueue -j`", 1, 100,
     rate_ratio(INSPECT, POSTFIX_LIST)),
    ("a small run over `cp`, ms", -1, 5, seconds(SMALL_RUN, CP, 1000)),
]
# Aims that stand for some inputs alone.
ONLY = {"`inspect --json` of the whole queue, seconds": {"list"}}
ELSEWHERE = ("Measured elsewhere: what the fence costs and panics (`perf/fence`), allocations "
             "(`tests/allocations.rs`), time per message from 10,000 to 10 million (`perf/scaling`).")


def compare(sections):
    """Each aim on each input that has its rows."""
    out = []
    for name, side, asked, measure in AIMS:
        for section in sections:
            measured = measure(section) if section.name in ONLY.get(name, {section.name}) else None
            if measured:
                met = measured[0] <= asked if side < 0 else measured[0] >= asked
                out.append({"aim": name, "input": section.name, "asked": asked,
                            "side": "at most" if side < 0 else "at least", "measured": measured[0],
                            "min": measured[1], "max": measured[2], "met": met})
    return out
