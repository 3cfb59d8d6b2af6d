//! Times as microseconds since 1970-01-01T00:00:00Z, and the forms in which mail writes them.
//!
//! What it deliberately does not do: time zones by name, leap seconds, the clock of the machine. A
//! queue depends on the `now` it is given alone.
//!
//! Invariant: `parse_rfc3339` of what `rfc3339` wrote is the same time, for years 0 to 9999.

use crate::bytes::{num, pad};

/// A second, in microseconds.
pub(crate) const SECOND: i64 = 1_000_000;
/// A minute, in microseconds.
pub(crate) const MINUTE: i64 = 60 * SECOND;
/// An hour, in microseconds.
pub(crate) const HOUR: i64 = 60 * MINUTE;
/// A day, in microseconds.
pub(crate) const DAY: i64 = 24 * HOUR;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

/// The parts of a time in UTC.
pub(crate) struct Civil {
    pub(crate) year: u64,
    pub(crate) month: u64,
    pub(crate) day: u64,
    pub(crate) hour: u64,
    pub(crate) minute: u64,
    pub(crate) second: u64,
    micro: u64,
    weekday: &'static str,
    month_name: &'static str,
}

fn part(n: i64) -> u64 {
    u64::try_from(n).unwrap_or(0)
}

fn name(list: &[&'static str], at: i64) -> &'static str {
    usize::try_from(at).ok().and_then(|at| list.get(at)).copied().unwrap_or("???")
}

/// Days since 1970-01-01 of a date of the Gregorian calendar (months counted from March, so that
/// the leap day is a year's last).
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The parts of a time in UTC.
pub(crate) fn parts(time: i64) -> Civil {
    let days = time.div_euclid(DAY);
    let rest = time.rem_euclid(DAY);
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    Civil {
        year: part(year_of_era + era * 400 + i64::from(month <= 2)),
        month: part(month),
        day: part(of_year - (153 * shifted_month + 2) / 5 + 1),
        hour: part(rest / HOUR),
        minute: part(rest / MINUTE % 60),
        second: part(rest / SECOND % 60),
        micro: part(rest % SECOND),
        weekday: name(&WEEKDAYS, days.rem_euclid(7)),
        month_name: name(&MONTHS, month - 1),
    }
}

fn clock(out: &mut Vec<u8>, at: &Civil) {
    pad(out, at.hour, 2);
    out.push(b':');
    pad(out, at.minute, 2);
    out.push(b':');
    pad(out, at.second, 2);
}

/// Appends `2026-01-02T03:04:05Z`, with six decimals where the time isn't a whole second.
pub(crate) fn rfc3339(out: &mut Vec<u8>, time: i64) {
    let at = parts(time);
    pad(out, at.year, 4);
    out.push(b'-');
    pad(out, at.month, 2);
    out.push(b'-');
    pad(out, at.day, 2);
    out.push(b'T');
    clock(out, &at);
    if at.micro != 0 {
        out.push(b'.');
        pad(out, at.micro, 6);
    }
    out.push(b'Z');
}

/// Appends `Fri, 2 Jan 2026 03:04:05 +0000`.
pub(crate) fn rfc5322(out: &mut Vec<u8>, time: i64) {
    with_day(out, time, 1);
}

/// Appends `Fri, 02 Jan 2026 03:04:05 +0000`.
pub(crate) fn rfc5322_even(out: &mut Vec<u8>, time: i64) {
    with_day(out, time, 2);
}

fn with_day(out: &mut Vec<u8>, time: i64, digits: usize) {
    let at = parts(time);
    out.extend_from_slice(at.weekday.as_bytes());
    out.extend_from_slice(b", ");
    pad(out, at.day, digits);
    out.push(b' ');
    out.extend_from_slice(at.month_name.as_bytes());
    out.push(b' ');
    pad(out, at.year, 4);
    out.push(b' ');
    clock(out, &at);
    out.extend_from_slice(b" +0000");
}

/// Appends `Fri Jan  2 03:04:05 2026`.
pub(crate) fn asctime(out: &mut Vec<u8>, time: i64) {
    let at = parts(time);
    out.extend_from_slice(at.weekday.as_bytes());
    out.push(b' ');
    out.extend_from_slice(at.month_name.as_bytes());
    out.extend_from_slice(if at.day < 10 { b"  " } else { b" " });
    num(out, at.day);
    out.push(b' ');
    clock(out, &at);
    out.push(b' ');
    pad(out, at.year, 4);
}

/// The time that `text` names in the form of RFC 3339 (`2026-01-02T03:04:05Z`, `...05.25+01:00`).
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    let (date, rest) = (text.get(..10)?, text.get(11..)?);
    if !matches!(text.as_bytes().get(10), Some(b'T' | b't' | b' ')) {
        return None;
    }
    let (time, zone) = rest.split_at(rest.find(['Z', 'z', '+', '-'])?);
    let (year, month, day) = three(date, '-')?;
    let (whole, fraction) = time.split_once('.').unwrap_or((time, ""));
    let (hour, minute, second) = three(whole, ':')?;
    let good = (1..=12).contains(&month) && (1..=31).contains(&day);
    if !good || hour > 23 || minute > 59 || second > 59 || fraction.len() > 6 {
        return None;
    }
    let micro = if fraction.is_empty() { 0 } else { digits(&format!("{fraction:0<6}"))? };
    let seconds = (hour * 60 + minute) * 60 + second;
    Some(days_of(year, month, day) * DAY + seconds * SECOND + micro - offset(zone)?)
}

fn offset(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let size = digits(hours)? * HOUR + digits(minutes)? * MINUTE;
    Some(if zone.starts_with('-') { -size } else { size })
}

fn three(text: &str, separator: char) -> Option<(i64, i64, i64)> {
    let mut parts = text.split(separator);
    let out = (digits(parts.next()?)?, digits(parts.next()?)?, digits(parts.next()?)?);
    parts.next().is_none().then_some(out)
}

fn digits(text: &str) -> Option<i64> {
    let plain = !text.is_empty() && text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(write: fn(&mut Vec<u8>, i64), time: i64) -> String {
        let mut out = Vec::new();
        write(&mut out, time);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_three_forms_of_one_time() {
        let time = parse_rfc3339("2026-01-02T03:04:05Z").unwrap();
        assert_eq!(time, 1_767_323_045 * SECOND);
        assert_eq!(shown(rfc3339, time), "2026-01-02T03:04:05Z");
        assert_eq!(shown(rfc5322, time), "Fri, 2 Jan 2026 03:04:05 +0000");
        assert_eq!(shown(asctime, time), "Fri Jan  2 03:04:05 2026");
        assert_eq!(shown(rfc3339, time + 250_000), "2026-01-02T03:04:05.250000Z");
    }

    #[test]
    fn rfc3339_reads_zones_and_fractions_and_refuses_the_rest() {
        let utc = parse_rfc3339("2024-02-29T23:30:00.5Z").unwrap();
        assert_eq!(parse_rfc3339("2024-03-01T00:30:00.5+01:00"), Some(utc));
        for bad in
            ["", "2024-02-29", "2024-13-01T00:00:00Z", "2024-02-29T00:00Z", "2024-02-29T00:00:00"]
        {
            assert_eq!(parse_rfc3339(bad), None, "{bad}");
        }
        for time in [0, -DAY, 951_782_400 * SECOND, 4_102_444_799 * SECOND] {
            assert_eq!(parse_rfc3339(&shown(rfc3339, time)), Some(time));
        }
    }
}
