"""Postfix as a contestant: an instance of its own, on loopback, in a temporary folder.

The system's own Postfix isn't touched and needn't run. What is sent here goes nowhere: good
addresses are discarded, those of `unknown.example` fail (5.1.1), and nothing leaves the machine.
Each step ends after `LIMIT` seconds, and the instance is stopped and removed however it ends.
It needs root, as Postfix does.
"""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time

from measure import need, output_of, read

LIMIT = 180
QUEUES = ("maildrop", "incoming", "active", "deferred", "hold")
MAIN = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
multi_instance_name = postfix-race
multi_instance_enable = yes
myhostname = mta.example
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
alias_database =
local_recipient_maps =
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_client_restrictions = check_client_access static:HOLD
smtpd_peername_lookup = no
smtpd_reject_unlisted_recipient = no
default_transport = discard
transport_maps = inline:{{ {{ unknown.example = error:5.1.1 no such mailbox }} }}
in_flow_delay = 0
queue_run_delay = 3600
disable_dns_lookups = yes
"""
MASTER = """
{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 3600 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
postlog unix-dgram n - n - 1 postlogd
"""


def missing():
    """Why there can be no Postfix here, or None. It is installed where it can be."""
    if os.geteuid() != 0:
        return "Postfix needs root"
    if not shutil.which("smtp-source"):
        need("need", "smtp-source", "postfix")
    return None if shutil.which("smtp-source") else "Postfix can't be installed here"


def version():
    return output_of("postconf", "-dh", "mail_version")


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextlib.contextmanager
def running(messages, size):
    """An instance that runs while the block does. Messages have `size` bytes of content."""
    folder = tempfile.mkdtemp(prefix="postfix-race-")
    instance = Instance(folder, messages, size)
    try:
        instance.start()
        yield instance
    finally:
        instance.control("stop", check=False)
        shutil.rmtree(folder, ignore_errors=True)


class Instance:
    def __init__(self, folder, messages, size):
        self.folder, self.messages, self.size = folder, messages, size
        self.settings, self.port = os.path.join(folder, "etc"), free_port()

    def start(self):
        os.chmod(self.folder, 0o755)
        for name in ("etc", "queue", "data"):
            os.mkdir(os.path.join(self.folder, name))
        owner = pwd.getpwnam("postfix")
        os.chown(os.path.join(self.folder, "data"), owner.pw_uid, owner.pw_gid)
        for name, text in (("main.cf", MAIN), ("master.cf", MASTER)):
            with open(os.path.join(self.settings, name), "w", encoding="ascii") as file:
                file.write(text.format(folder=self.folder, port=f"127.0.0.1:{self.port}"))
        self.control("start")

    def control(self, word, check=True):
        subprocess.run(["postfix", "-c", self.settings, word], check=check, timeout=60,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def queued(self):
        """Messages in the queue, wherever they stand."""
        return sum(len(names) for queue in QUEUES
                   for _, _, names in os.walk(os.path.join(self.folder, "queue", queue)))

    def logged(self, word):
        """How often the log has a word: what was done is counted by what Postfix says of it."""
        return read(os.path.join(self.folder, "log")).count(word)

    def take_in(self, sender="good.example", recipient="good.example"):
        """Seconds to take the messages in by SMTP, onto the disk. They are held."""
        begun = time.perf_counter()
        subprocess.run(
            ["smtp-source", "-c", "-d", "-s", "20", "-m", str(self.messages), "-l", str(self.size),
             "-f", f"sender@{sender}", "-t", f"recipient@{recipient}", f"127.0.0.1:{self.port}"],
            check=True, timeout=LIMIT, stdout=subprocess.DEVNULL)
        return time.perf_counter() - begun

    def release(self):
        """Held messages become deferred ones."""
        subprocess.run(["postsuper", "-c", self.settings, "-H", "ALL"], check=True, timeout=LIMIT,
                       stderr=subprocess.DEVNULL)

    def listed(self):
        """Seconds for `postqueue -j` over the messages, which are deferred."""
        begun = time.perf_counter()
        done = subprocess.run(["postqueue", "-c", self.settings, "-j"], check=True, timeout=LIMIT,
                              capture_output=True)
        seconds = time.perf_counter() - begun
        if done.stdout.count(b"\n") != self.messages:
            raise RuntimeError(f"postqueue -j: {done.stdout.count(bytes([10]))} of {self.messages} messages")
        return seconds

    def drain(self):
        """Seconds until nothing is queued, reports included."""
        begun = time.perf_counter()
        subprocess.run(["postqueue", "-c", self.settings, "-f"], check=True, timeout=LIMIT)
        while left := self.queued():
            if time.perf_counter() - begun > LIMIT:
                raise RuntimeError(f"Postfix: {left} messages still queued after {LIMIT} s")
            time.sleep(0.01)
        return time.perf_counter() - begun
