#!/usr/bin/env python3
"""Judges an mbox with Python's own mailbox and email: what a script would do. A contestant of
perf/race; the same work and the same counts as perf/afternoon.

usage: perf/mailbox.py QUEUE --directory USERS --out FOLDER

A message that Python's library can't take is counted under `stopped` with the first error, and the
rest goes on: a script without that would end there.
"""

import sys

sys.path.pop(0)  # This file has the name of a module that it needs.

import argparse
import collections
import email
import email.message
import email.policy
import email.utils
import json
import mailbox
import os


def read_directory(path):
    addresses, domains = set(), set()
    with open(path, encoding="utf-8") as file:
        for line in file:
            line = line.strip().lower()
            if line.startswith("@"):
                domains.add(line[1:])
            elif line and not line.startswith("#"):
                addresses.add(line)
                domains.add(line.rpartition("@")[2])
    return addresses, domains


def recipients(message):
    """X-Original-To, else the topmost Delivered-To, else To, Cc and Bcc; each once."""
    found = message.get_all("X-Original-To", []) or message.get_all("Delivered-To", [])[:1]
    found = [str(value).strip().strip("<>") for value in found]
    if not found:
        fields = [str(value) for name in ("To", "Cc", "Bcc") for value in message.get_all(name, [])]
        found = [address for _, address in email.utils.getaddresses(fields) if "@" in address]
    return list(dict.fromkeys(address.lower() for address in found))


def sender(message):
    path = message["Return-Path"]
    path = message.get_from().split(" ")[0] if path is None else str(path)
    return "" if path in ("MAILER-DAEMON", "<>") else path.strip().strip("<>")


# Addresses may be UTF-8, and lines as long as they are.
POLICY = email.policy.compat32.clone(max_line_length=None)


def utf8(text):
    """A text as email takes raw bytes: it writes them again as they are."""
    return text.encode("utf-8", "replace").decode("ascii", "surrogateescape")


def header_block(fields):
    block = email.message.Message(POLICY)
    for name, value in fields:
        block[name] = utf8(value)
    return block


def report(to, failed, message):
    """A report about the recipients that failed (RFC 3464)."""
    out = email.message.Message(POLICY)
    out["From"], out["To"] = "MAILER-DAEMON@mta.example", utf8(to)
    out["Subject"], out["Auto-Submitted"] = "Undelivered Mail Returned to Sender", "auto-replied"
    out["Date"], out["Message-ID"] = email.utils.formatdate(), email.utils.make_msgid(domain="mta.example")
    out["MIME-Version"] = "1.0"
    out.add_header("Content-Type", "multipart/report", report_type="delivery-status")
    text, status, headers = (email.message.Message(POLICY) for _ in range(3))
    text.set_payload("".join(f"{address}: no such mailbox\n" for address in failed), "utf-8")
    blocks = [[("Reporting-MTA", "dns;mta.example")]] + [
        [("Final-Recipient", f"rfc822;{address}"), ("Action", "failed"), ("Status", "5.1.1")]
        for address in failed]
    status["Content-Type"] = "message/delivery-status"
    status.set_payload([header_block(block) for block in blocks])
    headers["Content-Type"] = "text/rfc822-headers"
    headers.set_payload("".join(f"{name}: {utf8(str(value))}\n" for name, value in message.items()))
    out.set_payload([text, status, headers])
    return out.as_bytes()


def judge(number, message, directory, files, counts):
    addresses, domains = directory

    def unknown(address):
        return address.rpartition("@")[2] in domains and address not in addresses

    to, found = sender(message), recipients(message)
    failed = [one for one in found if unknown(one)]
    accepted = [one for one in found if one not in failed]
    ndr = report(to, failed, message) if failed and to and not unknown(to.lower()) else None
    if accepted:
        counts["accepted_messages"] += 1
        counts["accepted"] += len(accepted)
        files["accepted.mbox"].write(
            b"From " + message.get_from().encode("utf-8", "replace") + b"\n" + message.as_bytes() + b"\n")
    if ndr:
        counts["reports"] += 1
        counts["reported"] += len(failed)
        files["ndr.mbox"].write(b"From MAILER-DAEMON Fri Jan  2 03:04:05 2026\n" + ndr + b"\n")
    else:
        counts["dead"] += len(failed) if found else 1
    for outcome, status, group in (("delivered", "2.0.0", accepted), ("failed", "5.1.1", failed)):
        for one in group:
            event = {"number": number, "sender": to, "recipient": one, "outcome": outcome,
                     "status": status}
            files["events.jsonl"].write(json.dumps(event).encode() + b"\n")


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("queue")
    options.add_argument("--directory", required=True)
    options.add_argument("--out", required=True)
    given = options.parse_args()
    directory = read_directory(given.directory)
    os.makedirs(given.out, exist_ok=True)
    names = ("accepted.mbox", "ndr.mbox", "events.jsonl")
    files = {name: open(os.path.join(given.out, name), "wb") for name in names}
    counts = collections.Counter({name: 0 for name in (
        "messages", "accepted_messages", "accepted", "reported", "reports", "dead", "stopped")})
    error = None
    for number, message in enumerate(mailbox.mbox(given.queue, create=False)):
        counts["messages"] += 1
        try:
            judge(number, message, directory, files, counts)
        except (ValueError, LookupError, TypeError, AttributeError) as found:
            counts["stopped"] += 1
            error = error or f"message {number}: {type(found).__name__}: {found}"
    for file in files.values():
        file.close()
    print(json.dumps({**counts, **({"error": error} if error else {})}))


main()
