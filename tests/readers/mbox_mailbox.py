"""Lists the messages of an mbox as Python's `mailbox` reads them: offset, length, CRC-32.

Usage: python3 mbox_mailbox.py FILE

One line a message: offset of its From_ line, length of `get_bytes()`, its CRC-32 (zlib) in
hexadecimal, separated by tabs. The length is that of the content: without the From_ line, and
without the one empty line before the next message.

This reader is there to be compared with, not to be right. It differs from src/queue/mbox:
- it begins a message at any line `From `, whether or not an empty line stands before it;
- it takes only LF for an empty line: before `\\r\\n\\r\\nFrom ` it keeps the empty line;
- it takes no quotes (`>From `) off, and obeys no Content-Length.
"""

import mailbox
import sys
import zlib


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    box = mailbox.mbox(sys.argv[1], create=False)
    # The table of contents is the only place where it keeps offsets.
    box._generate_toc()
    for key in sorted(box._toc):
        start, _ = box._toc[key]
        content = box.get_bytes(key)
        print(f"{start}\t{len(content)}\t{zlib.crc32(content):08x}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
