"""Instructions of a run by function and by room, counted by callgrind.

A line of source that was inlined counts for the file that it stands in, where that is one of ours
or one of the libraries that are named in LIBRARIES; else (core, small generic libraries) for the
function that it was inlined into. What isn't inlined of core and others is a room of its own.
Counts don't depend on the machine's load; they do on the processor that valgrind shows to the
program, on libc and on the compiler (`kind`). Not here: seconds.
"""

import collections
import os
import platform
import re
import subprocess
from dataclasses import dataclass, field

from measure import ROOT, output_of, read

LIBRARIES = {"memchr": "memchr", "crc32c": "crc32c", "xxhash-rust": "xxhash", "itoa": "itoa",
             "ahash": "ahash", "hashbrown": "hashbrown", "libmimalloc-sys": "allocator",
             "serde_json": "serde", "clap_builder": "clap"}
COPIES = ("memcpy", "memmove", "memset", "mempcpy")
# What of the processor valgrind passes on, and libraries choose their code by.
FLAGS = {"ssse3", "sse4_1", "sse4_2", "popcnt", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "erms"}


@dataclass
class Profile:
    """Instructions: all, by room, and by function (its own, and with what it calls)."""
    total: int = 0
    rooms: collections.Counter = field(default_factory=collections.Counter)
    own: collections.Counter = field(default_factory=collections.Counter)
    whole: collections.Counter = field(default_factory=collections.Counter)


def kind():
    """What counts depend on beside the program. Only those of one kind are comparable."""
    cpu = dict(line.split(":", 1) for line in read("/proc/cpuinfo").split("\n\n")[0].splitlines()
               if ":" in line)
    cpu = {key.strip(): value.strip() for key, value in cpu.items()}
    return {"machine": platform.machine(), "flags": sorted(FLAGS & set(cpu.get("flags", "").split())),
            "libc": " ".join(platform.libc_ver()), "valgrind": output_of("valgrind", "--version"),
            "rustc": output_of("rustc", "--version")}


def count(command, out):
    """Runs a command under callgrind."""
    subprocess.run(["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={out}",
                    *command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with open(out, encoding="utf-8", errors="replace") as file:
        profile = parse(file)
    os.remove(out)
    return profile


def parse(lines):
    """Reads callgrind's output: https://valgrind.org/docs/manual/cl-format.html"""
    names, profile = {}, Profile()
    thing = obj = home = file = ""
    called = False
    for line in lines:
        key, equals, value = line.rstrip("\n").partition("=")
        if equals and key in ("ob", "fl", "fi", "fe", "fn", "cob", "cfi", "cfl", "cfn"):
            value = named(names, key, value)
            if key == "ob":
                obj = value
            elif key == "fl":
                home = file = value
            elif key in ("fi", "fe"):
                file = value
            elif key == "fn":
                thing, file = shortened(value), home
        elif key == "calls":
            called = True
        elif line[:1] in "0123456789+-*" and (cost := line.split()[1:]):
            cost = int(cost[0])
            profile.whole[thing] += cost
            if not called:
                profile.total += cost
                profile.own[thing] += cost
                profile.rooms[room(file, home, obj, thing)] += cost
            called = False
    return profile


def named(names, key, value):
    """A name that may stand for an earlier one: `(12) name`, later `(12)`. Three kinds of them."""
    number, _, name = value.partition(" ")
    space = key[-2:] if key[-2:] in ("ob", "fn") else "fl"
    if not number.startswith("("):
        return value
    return names.setdefault((space, number), name)


def shortened(name):
    """A function's name without the hash of its crate and of its recursion."""
    return re.sub(r"(::h[0-9a-f]{16})?('\d+)?$", "", name)


def room(file, home, obj, function):
    """The room of a line in `file` of a function whose own file is `home`."""
    return (place(file) or place(home) or ("copies of libc" if is_copy(function) else None)
            or ("libc" if "/libc" in obj or "/ld-" in obj else "core and others"))


def is_copy(function):
    return any(name in function for name in COPIES)


def place(file):
    """Our room, or library, that a file belongs to; nothing for all others."""
    own = file.removeprefix(ROOT + "/")
    if own.startswith("src/"):
        name = own.split("/")[1].removesuffix(".rs")
        return f"src/{name}" if name not in ("lib", "limits") else "src"
    library = re.search(r"(?:registry/src/[^/]+|/deps)/([a-z0-9_-]+?)-\d", file)
    return LIBRARIES.get(library[1]) if library else None
