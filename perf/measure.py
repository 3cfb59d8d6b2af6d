"""What the programs of perf/ share: building, loads, rounds in turn, figures, tables, charts.

It knows nothing of what is measured: which commands, what their outcome means, what is asked of
them. Times are seconds by the clock (`seconds`) and of processors, user and system together, with
all children (`processor`); memory is KiB of anonymous memory (RssAnon) of a process and its
children. Written files name no folder of the machine that made them.
"""

import csv
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OUT = os.path.join(ROOT, "perf", "out")
RECORDS = os.path.join(ROOT, "perf", "record")
NOW = "2026-01-02T03:04:05Z"
MATPLOTLIB = "matplotlib==3.10.9"
QUEUES = {"mbox": "queue.mbox", "segment": "queue.seg"}


# ---- What is measured, and on what -------------------------------------------------------------

def build(*features):
    """Builds the product and the generator for release; the folder that they are in."""
    more = ["--features", ",".join(features)] if features else []
    subprocess.run(["cargo", "build", "--release", "--workspace", "--quiet", "--locked", *more],
                   cwd=ROOT, check=True)
    return os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")), "release")


@dataclass
class Load:
    """A folder that inqueue-gen made: a queue, its directory, and what must become of it."""
    folder: str
    form: str
    messages: int

    @property
    def queue(self):
        return os.path.join(self.folder, QUEUES.get(self.form, "queue"))

    @property
    def directory(self):
        return os.path.join(self.folder, "directory.txt")

    @property
    def manifest(self):
        return os.path.join(self.folder, "manifest.jsonl")


def generate(programs, folder, messages, form, hazards="unknown-recipient=0.1", seed=1, more=()):
    """A load, made once: one that is there already, with the same options, is taken."""
    command = ["--messages", str(messages), "--format", form, "--hazards", hazards, "--seed",
               str(seed), "--now", NOW, *more]
    load, made_by = Load(folder, form, messages), os.path.join(folder, "made-by")
    if read(made_by) != " ".join(command):
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([os.path.join(programs, "inqueue-gen"), *command, "--out", folder],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with open(made_by, "w", encoding="utf-8") as file:
            file.write(" ".join(command))
    return load


def read(path):
    """A file's text; nothing where there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def need(*words):
    """A function of scripts/needs. What can't be had is said there, and missed by who needs it."""
    subprocess.run([os.path.join(ROOT, "scripts", "needs"), *words], stdout=sys.stderr, check=False)


def real_mail():
    """The files of the corpus of real mail, in their order; none where it can't be fetched."""
    need("fetch_real_mail")
    data = os.environ.get("INQUEUE_REAL_MAIL",
                          os.path.join(ROOT, "target", "real-mail", "package", "data"))
    return sorted(os.path.join(folder, name) for folder, _, names in os.walk(data)
                  for name in names if name.endswith(".txt"))


# ---- Commands, in turn -------------------------------------------------------------------------

@dataclass
class Taken:
    """What a command took. `anonymous` is 0 where nobody looked."""
    seconds: float
    processor: float
    anonymous: int = 0
    code: int = 0


@dataclass
class Row:
    """A command that is measured; or a function, which gives the seconds that it took. `writes`:
    what it writes, removed before it, and after it too where it isn't kept for the next."""
    name: str
    command: object
    writes: list = field(default_factory=list)
    keeps: bool = False
    output: str = None       # its standard output; nowhere where this is None
    codes: tuple = (0,)
    rounds: int = None       # fewer than the others, for what takes long
    prepare: object = None   # called before each time, unmeasured
    taken: list = field(default_factory=list)
    anonymous: int = 0       # KiB, of the round that isn't counted


def family(pid):
    """A process and all below it."""
    yield pid
    for child in read(f"/proc/{pid}/task/{pid}/children").split():
        yield from family(int(child))


def anonymous(pid):
    """KiB of anonymous memory of a process and its children; 0 when they are gone."""
    total = 0
    for one in family(pid):
        for line in read(f"/proc/{one}/status").splitlines():
            if line.startswith("RssAnon:"):
                total += int(line.split()[1])
    return total


def watched(pid):
    """The most KiB of anonymous memory that a process has until it ends."""
    peak = 0
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        peak = max(peak, anonymous(pid))
        time.sleep(0.002)
    return peak


def timed(row, watch=False):
    """Runs a row's command once. To `watch` its memory costs time: look at it in another run."""
    remove(row.writes)
    if row.prepare:
        row.prepare()
    os.sync()  # What others have left to write isn't this command's work.
    if callable(row.command):
        return Taken(row.command(), 0)
    with open(row.output or os.devnull, "wb") as output, tempfile.TemporaryFile() as said:
        begun = time.perf_counter()
        process = subprocess.Popen(row.command, stdout=output, stderr=said)
        try:
            peak = watched(process.pid) if watch else 0
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.terminate()  # It doesn't go on alone.
            raise
        seconds = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in row.codes:
            said.seek(0)
            sys.exit(f"{row.name}: exit code {process.returncode}: {' '.join(row.command)}\n"
                     f"{said.read().decode(errors='replace')[-2000:]}")
    return Taken(seconds, usage.ru_utime + usage.ru_stime, peak, process.returncode)


def remove(paths):
    for path in paths:
        if os.path.isdir(path):
            shutil.rmtree(path)
        elif os.path.lexists(path):
            os.remove(path)


def in_turn(rows, rounds, after=None):
    """Each row once a round. A round before the first fills the page cache and isn't counted; in
    it memory is watched, and `after(row)` may look at what the row has written."""
    for number in range(rounds + 1):
        for row in rows:
            if number > (row.rounds or rounds):
                continue
            taken = timed(row, watch=number == 0)
            if number == 0:
                row.anonymous = taken.anonymous
                if after:
                    after(row)
            else:
                row.taken.append(taken)
            if not row.keeps:
                remove(row.writes)
            tell(f"round {number} of {rounds}: {row.name}: {taken.seconds:.3f} s")
    tell("")


def tell(text):
    """Where it stands, in one line of a terminal; nothing goes to a file."""
    if sys.stderr.isatty():
        print(f"\r{text}\033[K", end="", file=sys.stderr, flush=True)


def spread(values):
    """Median, least and most of some values, and how many there are."""
    values = list(values)
    return {"median": statistics.median(values), "min": min(values), "max": max(values),
            "count": len(values)}


def figures(row):
    """A row's spreads: what is written down of it."""
    return {"seconds": spread(taken.seconds for taken in row.taken),
            "processor": spread(taken.processor for taken in row.taken),
            "anonymous_kib": row.anonymous}


# ---- What is written down ----------------------------------------------------------------------

def output_of(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    except OSError:
        return ""
    return (done.stdout or done.stderr).strip()


def machine(folder=ROOT):
    """Where and with what it was measured. `folder` is where the files lie."""
    cpu = next((line.split(":", 1)[1].strip() for line in read("/proc/cpuinfo").splitlines()
                if line.startswith("model name")), platform.machine())
    memory = next(int(line.split()[1]) for line in read("/proc/meminfo").splitlines()
                  if line.startswith("MemTotal:"))
    built_of = ("src", "data-gen", "perf", "Cargo.lock", ":!perf/record")
    dirty = " with changes" if output_of("git", "status", "--porcelain", "--", *built_of) else ""
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "processors": f"{os.cpu_count()} x {cpu}",
        "memory_gib": round(memory / 2**20, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "filesystem": output_of("findmnt", "-n", "-o", "FSTYPE", "-T", folder),
        "commit": output_of("git", "rev-parse", "--short=12", "HEAD") + dirty,
        "rustc": output_of("rustc", "--version"),
        "python": platform.python_version(),
    }


def markdown(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(str(cell) for cell in line) + " |\n" for line in lines)


def write_csv(path, head, rows):
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([head, *rows])


def write_json(path, value):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=1)
        file.write("\n")


def chart(folder, name, drawing):
    """Draws NAME.svg and NAME.png from NAME.chart.json (perf/chart.py says what is in it)."""
    path = os.path.join(folder, f"{name}.chart.json")
    write_json(path, drawing)
    need("environment", "plots", MATPLOTLIB)
    python = os.path.join(ROOT, "target", "plots", "bin", "python")
    if not os.path.exists(python):
        print(f"{path}: not drawn, as {MATPLOTLIB} can't be installed", file=sys.stderr)
        return
    subprocess.run([python, os.path.join(ROOT, "perf", "chart.py"), path], check=True)


def record(name):
    """The folder that figures are written to: a record that is committed, or perf/out/NAME's."""
    folder = os.path.join(RECORDS, name) if name else os.path.join(OUT, "record")
    os.makedirs(folder, exist_ok=True)
    return folder
