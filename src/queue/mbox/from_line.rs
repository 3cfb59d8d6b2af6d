//! The From_ line of an mbox: who sent the message, and when it came in, as far as it says.
//!
//! Its form was never fixed: `From `, the reverse-path, the date as of asctime, perhaps with a zone
//! before or behind the year, perhaps `remote from host`. Addresses with spaces are written with
//! and without quotes. What can be told is told.
//!
//! Not here: whether the path is valid (`mail::address`); host names of `remote from` are passed
//! over. Any bytes may be given: what isn't a path is [`ReversePath::Unknown`], what isn't a date
//! is `None`. The work is linear.

use crate::mail::{date::Time, envelope::ReversePath, header};
use memchr::{memchr, memmem};

/// What a From_ line says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FromLine<'a> {
    /// The reverse-path: null for `<>`, `-` and `MAILER-DAEMON`, unknown where there is only a date
    /// or nothing.
    pub reverse_path: ReversePath<'a>,
    /// The date. Without a zone it is taken as UTC. The epoch itself is what programs write that
    /// know no date: it says nothing.
    pub arrival: Option<Time>,
}

/// Reads a From_ line, with or without its line end.
pub fn from_line(line: &[u8]) -> FromLine<'_> {
    let line = header::strip_line_end(line);
    let rest = line.strip_prefix(b"From ").unwrap_or(line).trim_ascii();
    if let Some(usual) = usual(rest) {
        return usual;
    }
    // Within quotes and brackets a date would be part of the address.
    let closed = end_of_enclosed(rest);
    let rest = without_remote(rest, closed);
    let (split, arrival) = date_start(rest, closed).unwrap_or_else(|| {
        let split = word_end(rest, closed);
        (split, rest.get(split..).and_then(Time::parse_mail))
    });
    told(rest.get(..split).unwrap_or(rest).trim_ascii(), arrival)
}

/// What nearly all lines are, and what is read much faster: one word, and the date of asctime.
fn usual(rest: &[u8]) -> Option<FromLine<'_>> {
    let (path, date) = rest.split_last_chunk::<24>()?;
    let path = path.strip_suffix(b" ")?;
    let is_word = !path.iter().any(|byte| byte.is_ascii_whitespace() || *byte == b'"');
    if path.is_empty() || !is_word || !is_day_name(date.get(..3)?) {
        return None;
    }
    Some(told(path, Some(Time::parse_asctime(date)?)))
}

fn told(path: &[u8], arrival: Option<Time>) -> FromLine<'_> {
    let reverse_path = match path {
        b"" => ReversePath::Unknown,
        b"-" => ReversePath::Null,
        path => match ReversePath::from_path(path) {
            ReversePath::Path(bare) if bare.eq_ignore_ascii_case(b"MAILER-DAEMON") => {
                ReversePath::Null
            }
            path => path,
        },
    };
    FromLine { reverse_path, arrival: arrival.filter(|time| time.as_s() != 0) }
}

/// `rest` up to the host name that systems of the UUCP time add behind the date.
fn without_remote(rest: &[u8], from: usize) -> &[u8] {
    let remote = rest.get(from..).and_then(|behind| memmem::find(behind, b" remote from "));
    remote.and_then(|at| rest.get(..from + at)).unwrap_or(rest)
}

/// Behind the word in which a quoted string or a pair of brackets ends that opens `rest`; 0 without
/// any.
fn end_of_enclosed(rest: &[u8]) -> usize {
    let close = match rest.first() {
        Some(b'<') => memchr(b'>', rest),
        Some(b'"') => closing_quote(rest),
        _ => None,
    };
    close.map_or(0, |close| word_end(rest, close))
}

/// The closing quote of the quoted string that opens `rest`.
fn closing_quote(rest: &[u8]) -> Option<usize> {
    let mut escaped = false;
    rest.iter().enumerate().skip(1).find_map(|(index, &byte)| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes.then_some(index)
    })
}

/// Behind the word that holds or begins at `from`.
fn word_end(rest: &[u8], from: usize) -> usize {
    let word = rest.get(from..).unwrap_or_default();
    word.iter().position(u8::is_ascii_whitespace).map_or(rest.len(), |at| from + at)
}

/// Where, from `from` on, the name of a day opens a date, and that date. Two names in a row are an
/// address (`sun`, say) and a day.
fn date_start(rest: &[u8], from: usize) -> Option<(usize, Option<Time>)> {
    let mut at = from;
    for word in rest.get(from..)?.split(u8::is_ascii_whitespace) {
        let here = at;
        at += word.len() + 1;
        if is_day_name(word) {
            let mut words = rest.get(at..)?.split(u8::is_ascii_whitespace);
            let next = words.find(|word| !word.is_empty())?;
            let date = if is_day_name(next) { None } else { Time::parse_mail(rest.get(here..)?) };
            if date.is_some() {
                return Some((here, date));
            }
        }
    }
    None
}

fn is_day_name(word: &[u8]) -> bool {
    const DAYS: [&[u8; 3]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];
    let name = word.strip_suffix(b",").unwrap_or(word);
    DAYS.iter().any(|day| name.eq_ignore_ascii_case(*day))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ReversePath::{Null, Path, Unknown};

    const MOMENT: Option<Time> = Some(Time::from_s(1_767_323_045));

    fn check(line: &str, reverse_path: ReversePath<'_>, arrival: Option<Time>) {
        assert_eq!(from_line(line.as_bytes()), FromLine { reverse_path, arrival }, "{line}");
    }

    #[test]
    fn every_form_of_a_from_line_tells_path_and_date() {
        check("From a@b.example Fri Jan  2 03:04:05 2026", Path(b"a@b.example"), MOMENT);
        check("From a@b.example  Fri Jan  2 03:04:05 2026\r\n", Path(b"a@b.example"), MOMENT);
        check("From a@b Fri Jan  2 03:04:05 2026 +0000\n", Path(b"a@b"), MOMENT);
        check("From a@b Fri Jan  2 04:04:05 +0100 2026", Path(b"a@b"), MOMENT);
        check("From a@b Thu Jan  1 22:04:05 EST 2026", Path(b"a@b"), MOMENT);
        check("From a@b Fri, 2 Jan 2026 03:04:05 +0000", Path(b"a@b"), MOMENT);
        check("From a@b 2 Jan 2026 03:04:05", Path(b"a@b"), MOMENT);
        check("From <a@b> Fri Jan  2 03:04:05 2026", Path(b"a@b"), MOMENT);
        check("From h!u Fri Jan  2 03:04:05 2026 remote from h", Path(b"h!u"), MOMENT);
        check("From a@b\tFri Jan  2 03:04:05 26", Path(b"a@b"), MOMENT);
        check("From sun Fri Jan  2 03:04:05 2026", Path(b"sun"), MOMENT);
        check("From a@b Thu Jan  1 00:00:00 1970", Path(b"a@b"), None);
    }

    #[test]
    fn addresses_with_spaces_stay_whole() {
        let quoted = "From \"a \\\" Fri Jan 1 01:02:03 2020\"@b Fri Jan  2 03:04:05 2026";
        check(quoted, Path(b"\"a \\\" Fri Jan 1 01:02:03 2020\"@b"), MOMENT);
        check("From <a b@c> Fri Jan  2 03:04:05 2026", Path(b"a b@c"), MOMENT);
        check("From alice smith@x Fri Jan  2 03:04:05 2026", Path(b"alice smith@x"), MOMENT);
        check("From \"open a@b Fri Jan  2 03:04:05 2026", Path(b"\"open a@b"), MOMENT);
        check("From \"a b\"@c", Path(b"\"a b\"@c"), None);
    }

    #[test]
    fn null_and_missing_paths_are_told_apart() {
        check("From MAILER-DAEMON Fri Jan  2 03:04:05 2026", Null, MOMENT);
        check("From <> Fri Jan  2 03:04:05 2026", Null, MOMENT);
        check("From - Fri Jan  2 03:04:05 2026", Null, MOMENT);
        check("From Fri Jan  2 03:04:05 2026", Unknown, MOMENT);
        check("From ", Unknown, None);
        check("", Unknown, None);
        check("From a@b", Path(b"a@b"), None);
        check("From a@b yesterday", Path(b"a@b"), None);
        check("From a@b Fri", Path(b"a@b"), None);
        check("From a remote from b", Path(b"a"), None);
        check("From remote from b", Path(b"remote"), None);
    }

    #[test]
    fn hostile_lines_take_linear_time() {
        for unit in ["Fri ", "Fri x ", "\"\\", " ", "<", "From ", "\0\u{ff}", "Fri Jan 2 "] {
            let line = ["From ", &unit.repeat(500_000)].concat();
            assert_eq!(from_line(line.as_bytes()).arrival, None, "{unit}");
        }
    }
}
