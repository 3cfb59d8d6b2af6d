"""Lists the messages of a Maildir as Python's `mailbox` reads them: name, length, CRC-32.

Usage: python3 maildir_mailbox.py FOLDER

One line a message, in the order of the names: the file's path within the Maildir, the length of
`get_bytes()`, its CRC-32 (zlib) in hexadecimal, separated by tabs.

This reader is there to be compared with, not to be right. It differs from src/queue/files: its keys
end at the colon, and of two files that differ behind it alone, it knows one.
"""

import mailbox
import sys
import zlib


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    box = mailbox.Maildir(sys.argv[1], factory=None, create=False)
    lines = []
    for key in box.keys():
        content = box.get_bytes(key)
        # The table of contents is the only place where it keeps paths.
        lines.append((box._toc[key], len(content), zlib.crc32(content)))
    for path, length, crc in sorted(lines):
        print(f"{path}\t{length}\t{crc:08x}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
