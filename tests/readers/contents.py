"""Writes the contents of all messages as Python's `mailbox` reads them, to be compared byte by byte.

Usage: python3 contents.py mbox|maildir PATH

For each message, in order (of the mbox; of the names in a Maildir): its length in decimal digits, a
line feed, its bytes. Of an mbox the `>` of lines `>*From ` are taken off, as mboxrd wants it, and
`mailbox` doesn't.
"""

import mailbox
import re
import sys


def contents(kind: str, path: str):
    if kind == "mbox":
        box = mailbox.mbox(path, create=False)
        for key in box.keys():
            yield re.sub(rb"(?m)^>(>*From )", rb"\1", box.get_bytes(key))
    else:
        box = mailbox.Maildir(path, factory=None, create=False)
        for key in sorted(box.keys()):
            yield box.get_bytes(key)


def main() -> int:
    if len(sys.argv) != 3 or sys.argv[1] not in ("mbox", "maildir"):
        print(__doc__, file=sys.stderr)
        return 2
    for content in contents(sys.argv[1], sys.argv[2]):
        sys.stdout.buffer.write(b"%d\n%s" % (len(content), content))
    return 0


if __name__ == "__main__":
    sys.exit(main())
