"""Reads a Windows event log with libevt and with dissect, and prints what each of them sees.

Usage: python3 evt.py FILE...

One JSON object: `libevt` and `dissect`, each a list with an object for every record of all files,
in the order of the files; and `corrupted` and `recovered`, what libevt says of the files.

Needs the packages libevt-python and dissect.eventlog. Where one isn't installed, it says
`missing: NAME` on standard error and ends with code 77.
"""

import json
import sys

try:
    import pyevt
    from dissect.eventlog.evt import Evt
except ImportError as error:
    print(f"missing: {error.name}", file=sys.stderr)
    sys.exit(77)


def by_libevt(log):
    for record in log.records:
        yield {
            "number": record.identifier,
            "id": record.event_identifier,
            "type": record.event_type,
            "category": record.event_category,
            "generated": record.get_creation_time_as_integer(),
            "written": record.get_written_time_as_integer(),
            "source": record.source_name,
            "computer": record.computer_name,
            "strings": list(record.strings),
        }


def by_dissect(file):
    for record in Evt(file):
        yield {
            "number": record.RecordNumber,
            "id": record.EventID,
            "type": record.EventType,
            "category": record.EventCategory,
            "generated": int(record.TimeGenerated.timestamp()),
            "written": int(record.TimeWritten.timestamp()),
            "source": record.SourceName,
            "computer": record.Computername,
            "strings": list(record.Strings),
        }


def main() -> int:
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    seen = {"libevt": [], "dissect": [], "corrupted": False, "recovered": 0}
    for path in sys.argv[1:]:
        log = pyevt.file()
        log.open(path)
        seen["libevt"].extend(by_libevt(log))
        seen["corrupted"] |= log.is_corrupted()
        seen["recovered"] += log.number_of_recovered_records
        log.close()
        with open(path, "rb") as file:
            seen["dissect"].extend(by_dissect(file))
    print(json.dumps(seen))
    return 0


if __name__ == "__main__":
    sys.exit(main())
