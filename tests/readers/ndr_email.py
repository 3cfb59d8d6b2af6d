#!/usr/bin/env python3
"""Reads non-delivery reports with Python's own mail reader, and says what it finds as JSON.

usage: ndr_email.py REPORT.eml...

Prints one list with one object a report: its parts, what the reader found defective, and the
fields of each recipient, read under the policy `default` (RFC 5322 as it is now) and under
`compat32` (as readers of twenty years have it). Judges nothing itself, but for `agree`: both
policies read the same parts and recipients.
"""

import email
import email.header
import email.policy
import json
import sys

RECIPIENT_FIELDS = [
    "Original-Recipient",
    "Final-Recipient",
    "Action",
    "Status",
    "Diagnostic-Code",
    "Last-Attempt-Date",
]
MESSAGE_FIELDS = ["Original-Envelope-Id", "Reporting-MTA", "Arrival-Date"]


def text(value):
    """A field's value in one line, whatever the policy made of it."""
    if value is None:
        return None
    return " ".join(str(value).encode("utf-8", "replace").decode("utf-8").split())


def decoded(value):
    """A field's value with its encoded words read."""
    if value is None:
        return None
    return text(email.header.make_header(email.header.decode_header(str(value))))


def fields(group, names):
    """Those of `names` that a group of a delivery-status has."""
    return {name: text(group[name]) for name in names if group[name] is not None}


def read(bytes_, policy):
    """What one report says under one policy."""
    message = email.message_from_bytes(bytes_, policy=policy)
    defects = [type(defect).__name__ for part in message.walk() for defect in part.defects]
    for field in message.values():
        defects += [type(defect).__name__ for defect in getattr(field, "defects", [])]
    parts = message.get_payload() if message.is_multipart() else []
    groups = []
    for part in parts:
        if part.get_content_type() == "message/delivery-status":
            groups += part.get_payload()
    return {
        "type": message.get_content_type(),
        "report_type": message.get_param("report-type"),
        "fields": [name for name in message.keys()],
        "to": text(message["To"]),
        "subject": decoded(message["Subject"]),
        "message_id": text(message["Message-ID"]),
        "parts": [part.get_content_type() for part in parts],
        "encodings": [text(part["Content-Transfer-Encoding"]) for part in parts],
        "defects": defects,
        "message": fields(groups[0], MESSAGE_FIELDS) if groups else {},
        "recipients": [fields(group, RECIPIENT_FIELDS) for group in groups[1:] if group.keys()],
    }


def main(paths):
    """Reads every report; ends with 2 where none is named."""
    if not paths:
        print(__doc__, file=sys.stderr)
        return 2
    reports = []
    for path in paths:
        with open(path, "rb") as file:
            bytes_ = file.read()
        report = {"path": path, **read(bytes_, email.policy.default)}
        other = read(bytes_, email.policy.compat32)
        report["defects_compat32"] = other["defects"]
        report["agree"] = all(report[key] == other[key] for key in ("parts", "recipients"))
        reports.append(report)
    json.dump(reports, sys.stdout, indent=1)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
