"""Reads header sections as Python's `email` does, and mboxes as its `mailbox` does.

Usage: python3 header_email.py FILE LENGTHS MBOX

FILE holds messages one behind the other; LENGTHS has the length of each, a line a message. A line of
JSON a message: a list of fields, [name, value unfolded, addresses], as latin-1; addresses are those
of To, Cc and Bcc by `email.utils.getaddresses`, else null. The last line has the offsets of the
messages of MBOX.

This reader is there to be compared with, not to be right: tests/it/differential.rs has the rules by
which it differs.
"""

import json
import mailbox
import sys
from email import policy
from email.parser import BytesHeaderParser
from email.utils import getaddresses


def main() -> int:
    if len(sys.argv) != 4:
        print(__doc__, file=sys.stderr)
        return 2
    parser = BytesHeaderParser(policy=policy.compat32)
    with open(sys.argv[1], "rb") as file:
        for length in open(sys.argv[2], encoding="ascii"):
            message = parser.parsebytes(file.read(int(length)))
            fields = []
            for name, value in message._headers:
                value = value.replace("\r", "").replace("\n", "")
                addresses = None
                if name.lower() in ("to", "cc", "bcc"):
                    addresses = [address for _, address in getaddresses([value]) if address]
                fields.append([name, value, addresses])
            fields = json.loads(json.dumps(fields, ensure_ascii=True))
            print(json.dumps(latin1(fields), ensure_ascii=True))
    box = mailbox.mbox(sys.argv[3], create=False)
    box._generate_toc()
    print(json.dumps(sorted(start for start, _ in box._toc.values())))
    return 0


def latin1(value):
    """Bytes that weren't ASCII, as they were: one character each."""
    if isinstance(value, str):
        return value.encode("ascii", "surrogateescape").decode("latin-1")
    if isinstance(value, list):
        return [latin1(one) for one in value]
    return value


if __name__ == "__main__":
    sys.exit(main())
