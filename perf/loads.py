"""What a race is run on: queues, and a directory for each in which a fifth of the recipients is
unknown.

Contestants know no aliases, lists and catch-alls. So the directory is made anew, of plain addresses:
all domains of the queue's recipients are local, and which addresses aren't listed is decided by a
checksum of the address, until a fifth of the recipients of messages to one, and a fifth of all, is
reached. Senders are listed, so that their reports can be sent.
"""

import collections
import hashlib
import json
import os
import re
import subprocess
from dataclasses import dataclass

from measure import generate, real_mail

SHARE = 0.2
SEED = 1
LABEL = "[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
PLAIN = re.compile(rf"(?=.{{1,254}}$)(?=.{{1,64}}@)[a-z0-9_+=-]+(?:\.[a-z0-9_+=-]+)*@{LABEL}(?:\.{LABEL})+")
NO_FROM_LINE = b"From MAILER-DAEMON Thu Jan  1 00:00:00 1970\n"


@dataclass
class Input:
    """A queue and its directory; the head of the queue, where it is an mbox, for who is slow."""
    name: str
    title: str
    queue: str
    directory: str
    messages: int
    head: str = None

    @property
    def bytes(self):
        return os.path.getsize(self.queue)


def inspect(programs, queue):
    """Each message of a queue as (sender, recipients), in lower case."""
    command = [os.path.join(programs, "inqueue"), "inspect", "--json", queue]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        for line in process.stdout:
            message = json.loads(line)
            recipients = [one["address"].lower() for one in message["recipients"]]
            yield (message["sender"] or "").lower(), recipients


def unknown(messages):
    """The addresses that aren't to exist."""
    every = collections.Counter(one for recipients in messages for one in recipients)
    alone = collections.Counter(recipients[0] for recipients in messages if len(recipients) == 1)
    turn = sorted(every, key=lambda one: hashlib.sha256(f"{SEED} {one}".encode()).digest())
    chosen, left = set(), SHARE * alone.total()
    for one in turn:
        if 0 < alone[one] <= left:
            chosen.add(one)
            left -= alone[one]
    left = SHARE * every.total() - sum(every[one] for one in chosen)
    for one in turn:
        if not alone[one] and every[one] <= left:
            chosen.add(one)
            left -= every[one]
    return chosen


def write_directory(programs, queue, path):
    listed = list(inspect(programs, queue))
    gone = unknown([recipients for _, recipients in listed])
    plain = {one for _, recipients in listed for one in recipients if PLAIN.fullmatch(one)}
    senders = {sender for sender, _ in listed if PLAIN.fullmatch(sender)}
    with open(path, "w", encoding="utf-8") as file:
        for domain in sorted({one.rpartition("@")[2] for one in plain}):
            file.write(f"@{domain}\n")
        for one in sorted((plain | senders) - gone):
            file.write(f"{one}\n")
    return len(listed)


def write_head(queue, path, limit):
    """The first messages of an mbox."""
    with open(queue, "rb") as file, open(path, "wb") as head:
        data = file.read(limit)
        head.write(data if len(data) < limit else data[:data.rfind(b"\n\nFrom ") + 2])


def real_mbox(path):
    """The corpus as an mbox (mboxrd)."""
    with open(path, "wb") as out:
        for name in real_mail():
            with open(name, "rb") as file:
                content = file.read()
            start = NO_FROM_LINE
            if content.startswith(b"From "):
                start, _, content = content.partition(b"\n")
                start += b"\n"
            content = re.sub(rb"(?m)^(>*From )", rb">\1", content)
            out.write(start + content + (b"" if content.endswith(b"\n") else b"\n") + b"\n")


def real(programs, folder, name, title, size):
    """Real mail, repeated until it has that many bytes; None where it can't be fetched."""
    os.makedirs(folder, exist_ok=True)
    once, queue = os.path.join(folder, "once.mbox"), os.path.join(folder, f"{name}-{size}.mbox")
    directory, head = os.path.join(folder, "directory.txt"), os.path.join(folder, "head.mbox")
    real_mbox(once)
    if not os.path.getsize(once):
        return None
    times = -(-size // os.path.getsize(once))
    messages = times * write_directory(programs, once, directory)
    if not os.path.exists(queue) or os.path.getsize(queue) != times * os.path.getsize(once):
        with open(once, "rb") as file:
            data = file.read()
        with open(queue, "wb") as out:
            for _ in range(times):
                out.write(data)
    write_head(once, head, 10_000_000)
    return Input(name, title, queue, directory, messages, head)


def generated(programs, folder, name, title, messages, form, directory=True):
    """A load of the generator's. Without `directory`, its own counts."""
    load = generate(programs, folder, messages, form, "none", SEED)
    made = Input(name, title, load.queue, load.directory, messages)
    if directory:
        made.directory = os.path.join(folder, "plain-directory.txt")
        if not os.path.exists(made.directory):
            write_directory(programs, load.queue, made.directory)
    if form == "mbox":
        made.head = os.path.join(folder, "head.mbox")
        write_head(load.queue, made.head, 10_000_000)
    return made
