#!/usr/bin/env python3
"""Reads segments as docs/segment.md says, and prints what it finds, one JSON object a line.

usage: segment.py [--range START END] FILE.seg|FOLDER...

A message:  {"file", "offset", "length", "kind", "content_offset", "content_length",
             "content_crc", "envelope"}; of a reference also "reference"
Damage:     {"file", "offset", "length",
             "damage": "head"|"envelope"|"content"|"reference"|"torn"}

Offsets and lengths are bytes of the file; a message's are those of the whole record. CRCs are 8
hexadecimal digits. The envelope has its fields by the names of the document, with `_` for spaces;
times are microseconds. Bytes are given as text, a character from U+0000 to U+00FF for each.
Records of unknown kinds are passed over.

Written from the document alone: it shares no code and no author's eye with the library. Exit code
0: read, whatever was found; 1: not a segment of version 1; 2: usage.
"""

import json
import os
import stat
import struct
import sys

MAGIC = b"\x89INQSEG\n"
SYNC = b"\xf5INQREC\n"
HEADER = struct.Struct("<8sHHQQI")
HEAD = struct.Struct("<8sQQHHIQIIII")
ENVELOPE_MAX = 268_435_456


def crc_tables():
    """Eight tables for the reflected polynomial 0x82F63B78: eight bytes a step."""
    first = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        first.append(value)
    tables = [first]
    for _ in range(7):
        tables.append([value >> 8 ^ first[value & 255] for value in tables[-1]])
    return tables


T0, T1, T2, T3, T4, T5, T6, T7 = crc_tables()


def crc32c(data):
    """CRC-32C (Castagnoli)."""
    crc = 0xFFFFFFFF
    whole = len(data) & ~7
    for low, high in struct.iter_unpack("<II", data[:whole]):
        low ^= crc
        crc = (
            T7[low & 255] ^ T6[low >> 8 & 255] ^ T5[low >> 16 & 255] ^ T4[low >> 24]
            ^ T3[high & 255] ^ T2[high >> 8 & 255] ^ T1[high >> 16 & 255] ^ T0[high >> 24]
        )
    for byte in data[whole:]:
        crc = crc >> 8 ^ T0[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


class Damaged(Exception):
    """A record isn't what it should be."""


def text(value):
    return value.decode("latin-1")


def queue_id(value):
    if not 1 <= len(value) <= 255:
        raise Damaged("envelope")
    return text(value)


def number(form):
    """Reads integers of a fixed width."""
    form = struct.Struct(form)

    def read(value):
        if len(value) != form.size:
            raise Damaged("envelope")
        return form.unpack(value)[0]

    return read


def origin(value):
    if len(value) < 16:
        raise Damaged("envelope")
    offset, length = struct.unpack_from("<QQ", value)
    return {"offset": offset, "length": length, "file": text(value[16:])}


def original(value):
    if not value:
        raise Damaged("envelope")
    return {"kind": value[0], "length": len(value) - 1}


def recipient(value):
    return read_fields(value, RECIPIENT)


TIME, U8, U16, U32 = number("<q"), number("<B"), number("<H"), number("<I")

RECIPIENT = {
    1: ("forward_path", text, False),
    2: ("notify", U8, False),
    3: ("orcpt", text, False),
    4: ("state", U8, False),
    5: ("outcome", U8, False),
    6: ("status", text, False),
    7: ("number", U16, False),
    8: ("route", text, False),
    9: ("disposition", U32, False),
    10: ("ordinal", U32, False),
    11: ("diagnostic", text, False),
}

ENVELOPE = {
    1: ("queue_id", queue_id, False),
    2: ("arrival_time", TIME, False),
    3: ("reverse_path", text, False),
    4: ("attempts", U32, False),
    5: ("next_attempt", TIME, False),
    6: ("expiry", TIME, False),
    7: ("priority", U8, False),
    8: ("hop", text, True),
    9: ("origin", origin, False),
    10: ("envid", text, False),
    11: ("ret", U8, False),
    12: ("body", U8, False),
    13: ("dispositions", U32, False),
    14: ("reason", text, False),
    15: ("recipient", recipient, True),
    16: ("report_of", queue_id, False),
    17: ("reported", recipient, True),
    18: ("original", original, True),
    19: ("hop_limit", U32, False),
}


def read_fields(data, names):
    """A sequence of fields: tag, length, value."""
    out = {}
    at = 0
    while at < len(data):
        if at + 6 > len(data):
            raise Damaged("envelope")
        tag, length = struct.unpack_from("<HI", data, at)
        at += 6
        if at + length > len(data):
            raise Damaged("envelope")
        value = data[at : at + length]
        at += length
        if tag not in names:
            continue
        name, read, many = names[tag]
        if many:
            out.setdefault(name, []).append(read(value))
        else:
            out[name] = read(value)
    return out


class Segment:
    """One file, in memory."""

    def __init__(self, path, data):
        self.name = os.path.basename(path)
        self.path = os.fsencode(os.path.realpath(path))
        self.data = data
        self.others = {}
        self.mark, self.begin = None, 0
        if len(data) >= 32:
            magic, version, _, mark, _, crc = HEADER.unpack_from(data)
            if magic == MAGIC and crc == crc32c(data[:28]):
                if version != 1:
                    raise ValueError(f"{self.name}: version {version}, and this reads version 1")
                self.mark, self.begin = mark, 32
        if self.begin == 0:
            self.mark = self.lost_mark()

    def lost_mark(self):
        """The mark of the first head that is good in itself."""
        at = self.data.find(SYNC)
        while at >= 0:
            if at + HEAD.size <= len(self.data):
                self.mark = HEAD.unpack_from(self.data, at)[2]
                if self.head(at):
                    return self.mark
            at = self.data.find(SYNC, at + 1)
        return None

    def head(self, at):
        """The fields of the head at `at`, or None where no good one stands."""
        data = self.data
        if at + HEAD.size > len(data) or data[at : at + 8] != SYNC:
            return None
        head = HEAD.unpack_from(data, at)
        good = head[1] == at and head[2] == self.mark
        good = good and head[10] == crc32c(data[at : at + 52])
        return head if good and head[5] <= ENVELOPE_MAX else None

    def next_head(self, at):
        """Offset of the first good head at or after `at`; the file's end where there is none."""
        while True:
            at = self.data.find(SYNC, at)
            if at < 0:
                return len(self.data)
            if self.head(at):
                return at
            at += 1

    def damage(self, start, end, what):
        return {"file": self.name, "offset": start, "length": end - start, "damage": what}

    def other(self, name):
        """The bytes of the file that a reference names; None where it isn't followed."""
        path = os.path.join(os.path.dirname(self.path), name)
        if path not in self.others:
            self.others[path] = None
            try:
                there, own = os.stat(path), os.stat(self.path)
                follows = own.st_uid in (0, os.geteuid(), there.st_uid)
                if follows and stat.S_ISREG(there.st_mode):
                    with open(path, "rb") as file:
                        self.others[path] = file.read()
            except (OSError, ValueError):
                pass
        return self.others[path]

    def reference(self, content):
        """A reference that leads somewhere."""
        if len(content) < 24:
            raise Damaged("reference")
        offset, length, crc, quoted = struct.unpack_from("<QQII", content)
        there = self.other(content[24:])
        if there is None or offset + length > len(there):
            raise Damaged("reference")
        if crc32c(there[offset : offset + length]) != crc:
            raise Damaged("reference")
        return {
            "offset": offset,
            "length": length,
            "crc": f"{crc:08x}",
            "quoted": quoted == 1,
            "file": text(content[24:]),
        }

    def record(self, at, head):
        """A record that is there as a whole; None where its kind isn't known."""
        _, _, _, kind, _, envelope_len, content_len, envelope_crc, content_crc, _, _ = head
        if kind not in (1, 2):
            return None
        envelope_at = at + HEAD.size
        content_at = envelope_at + envelope_len
        envelope = self.data[envelope_at:content_at]
        content = self.data[content_at : content_at + content_len]
        if crc32c(envelope) != envelope_crc:
            raise Damaged("envelope")
        fields = read_fields(envelope, ENVELOPE)
        if crc32c(content) != content_crc:
            raise Damaged("content")
        out = {
            "file": self.name,
            "offset": at,
            "length": HEAD.size + envelope_len + content_len,
            "kind": kind,
            "content_offset": content_at,
            "content_length": content_len,
            "content_crc": f"{content_crc:08x}",
            "envelope": fields,
        }
        if kind == 2:
            out["reference"] = self.reference(content)
        return out

    def read(self, start=0, end=None):
        """What belongs to the range [start, end): by default the whole file."""
        size = len(self.data)
        end = size if end is None else end
        if start == 0:
            at = self.begin
        else:
            at = self.next_head(max(start, self.begin))
            if at >= end:
                return
        while at < size:
            head = self.head(at)
            if head is None:
                found = self.next_head(at + 1)
                yield self.damage(at, found, "head")
                at = found
                continue
            # Only a good head ends a range: damage behind the last record is that record's.
            if at >= end:
                return
            after = at + HEAD.size + head[5] + head[6]
            if after > size:
                found = self.next_head(at + 1)
                yield self.damage(at, found, "torn")
                at = found
                continue
            try:
                record = self.record(at, head)
                if record is not None:
                    yield record
            except Damaged as damaged:
                yield self.damage(at, after, str(damaged))
            at = after


def files(path):
    """The files of a segment queue: a file, or those of a folder in the byte order of names."""
    if not os.path.isdir(path):
        return [path]
    names = sorted(os.fsencode(name) for name in os.listdir(path) if name.endswith(".seg"))
    return [os.path.join(path, os.fsdecode(name)) for name in names]


def main(arguments):
    span = (0, None)
    if arguments[:1] == ["--range"] and len(arguments) > 3:
        span = (int(arguments[1]), int(arguments[2]))
        arguments = arguments[3:]
    if not arguments or arguments[0].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 2
    assert crc32c(b"123456789") == 0xE3069283
    for path in [file for argument in arguments for file in files(argument)]:
        with open(path, "rb") as file:
            data = file.read()
        try:
            for found in Segment(path, data).read(*span):
                print(json.dumps(found))
        except ValueError as refused:
            print(refused, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
