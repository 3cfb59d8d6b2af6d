//! Times: microseconds since the epoch, and the forms in which mail writes them.
//!
//! Not here: the clock. A run has one time, given from outside, and everything dated by the run has
//! that. Reading is lenient (mail is), and total: what isn't a date is `None`. Years 1 to 9999.

/// A time: microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub i64);

const DAY_S: i64 = 86_400;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

/// Calendar date and time of day, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// Year, from 1.
    pub year: i64,
    /// Month, 1 to 12.
    pub month: u8,
    /// Day of the month, from 1.
    pub day: u8,
    /// Hour, 0 to 23.
    pub hour: u8,
    /// Minute.
    pub minute: u8,
    /// Second.
    pub second: u8,
    /// Index of the day of the week; 0 is Thursday, as of the epoch.
    pub weekday: u8,
}

impl Time {
    /// The time `seconds` after the epoch.
    pub const fn from_s(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn as_s(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// This time and `seconds` more.
    #[must_use]
    pub const fn plus_s(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(1_000_000)))
    }

    /// Date and time of day in UTC. Times beyond the years 1 to 9999 are brought to its bounds.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "all are within a calendar's bounds"
    )]
    pub fn civil(self) -> Civil {
        let seconds = self.as_s().clamp(-62_135_596_800, 253_402_300_799);
        let (days, rest) = (seconds.div_euclid(DAY_S), seconds.rem_euclid(DAY_S));
        // Days to civil date, by eras of 400 years that begin on March 1st.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_shifted = (5 * day_of_year + 2) / 153;
        let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 };
        Civil {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month: month as u8,
            day: (day_of_year - (153 * month_shifted + 2) / 5 + 1) as u8,
            hour: (rest / 3600) as u8,
            minute: (rest / 60 % 60) as u8,
            second: (rest % 60) as u8,
            weekday: days.rem_euclid(7) as u8,
        }
    }

    /// Appends `2026-01-02T03:04:05Z` (RFC 3339).
    pub fn write_rfc3339(self, out: &mut Vec<u8>) {
        let c = self.civil();
        write_digits(out, c.year, 4);
        for (mark, value) in
            [(b'-', c.month), (b'-', c.day), (b'T', c.hour), (b':', c.minute), (b':', c.second)]
        {
            out.push(mark);
            write_digits(out, i64::from(value), 2);
        }
        out.push(b'Z');
    }

    /// Appends `Fri, 2 Jan 2026 03:04:05 +0000` (RFC 5322, 3.3).
    pub fn write_rfc5322(self, out: &mut Vec<u8>) {
        let c = self.civil();
        out.extend_from_slice(day_name(c.weekday).as_bytes());
        out.extend_from_slice(b", ");
        write_digits(out, i64::from(c.day), 1);
        out.push(b' ');
        out.extend_from_slice(month_name(c.month).as_bytes());
        out.push(b' ');
        write_digits(out, c.year, 4);
        out.push(b' ');
        write_time_of_day(out, c);
        out.extend_from_slice(b" +0000");
    }

    /// Appends `Fri Jan  2 03:04:05 2026`, as From_ lines have it.
    pub fn write_asctime(self, out: &mut Vec<u8>) {
        let c = self.civil();
        out.extend_from_slice(day_name(c.weekday).as_bytes());
        out.push(b' ');
        out.extend_from_slice(month_name(c.month).as_bytes());
        out.push(b' ');
        if c.day < 10 {
            out.push(b' ');
        }
        write_digits(out, i64::from(c.day), 1);
        out.push(b' ');
        write_time_of_day(out, c);
        out.push(b' ');
        write_digits(out, c.year, 4);
    }

    /// Reads `2026-01-02T03:04:05[.678](Z|+hh:mm)` (RFC 3339).
    pub fn parse_rfc3339(text: &[u8]) -> Option<Self> {
        let number = |from: usize, len: usize| digits(text.get(from..from + len)?);
        let marks = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
        if marks.iter().any(|&(at, mark)| text.get(at) != Some(&mark))
            || !matches!(text.get(10), Some(b'T' | b't' | b' '))
        {
            return None;
        }
        let seconds = from_civil(
            (number(0, 4)?, number(5, 2)?, number(8, 2)?),
            (number(11, 2)?, number(14, 2)?, number(17, 2)?),
        )?;
        let mut rest = text.get(19..)?;
        let mut micros = 0;
        if let Some(fraction) = rest.strip_prefix(b".") {
            let len = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
            for place in 0..6 {
                let digit =
                    fraction.get(place).filter(|_| place < len).map_or(0, |b| i64::from(b - b'0'));
                micros = micros * 10 + digit;
            }
            rest = fraction.get(len..)?;
        }
        let zone_s = match rest {
            b"Z" | b"z" => 0,
            [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
                let offset = digits(&[*h1, *h2])? * 3600 + digits(&[*m1, *m2])? * 60;
                if *sign == b'-' { -offset } else { offset }
            }
            _ => return None,
        };
        Some(Self((seconds - zone_s) * 1_000_000 + micros))
    }

    /// Reads exactly what [`Self::write_asctime`] writes, whatever the day's name.
    pub fn parse_asctime(text: &[u8; 24]) -> Option<Self> {
        let [_, _, _, b' ', m1, m2, m3, b' ', d1, d2, b' ', rest @ ..] = text else { return None };
        let [h1, h2, b':', i1, i2, b':', s1, s2, b' ', year @ ..] = rest else { return None };
        let two = |tens: &u8, ones: &u8| digits(&[*tens, *ones]);
        let day = two(if *d1 == b' ' { &b'0' } else { d1 }, d2)?;
        let date = (digits(year)?, month_number(&[*m1, *m2, *m3])?, day);
        let clock = (two(h1, h2)?, two(i1, i2)?, two(s1, s2)?);
        Some(Self::from_s(from_civil(date, clock)?))
    }

    /// Reads the date of a header field or a From_ line: `[Fri,] 2 Jan 2026 03:04[:05] [zone]`,
    /// `Fri Jan 2 03:04:05 [zone] 2026`.
    pub fn parse_mail(text: &[u8]) -> Option<Self> {
        let (mut day, mut month, mut year, mut clock, mut zone_s) = (None, None, None, None, 0);
        let words = text.split(|b| matches!(b, b' ' | b'\t' | b',' | b'\r' | b'\n'));
        for word in words.filter(|w| !w.is_empty()).take(12) {
            if word.starts_with(b"(") {
                break;
            }
            if clock.is_none() && memchr::memchr(b':', word).is_some() {
                clock = Some(time_of_day(word)?);
            } else if month.is_none() && month_number(word).is_some() {
                month = month_number(word);
            } else if let Some(number) = digits(word) {
                if day.is_none() && word.len() <= 2 {
                    day = Some(number);
                } else if year.is_none() {
                    year = Some(full_year(number, word.len())?);
                }
            } else if clock.is_some() {
                zone_s = zone(word).unwrap_or(zone_s);
            }
        }
        let (hour, minute, second) = clock?;
        let seconds = from_civil((year?, month?, day?), (hour, minute, second))?;
        Some(Self::from_s(seconds - zone_s))
    }
}

/// Two-digit years by RFC 5322, 4.3.
fn full_year(number: i64, len: usize) -> Option<i64> {
    match (len, number) {
        (1 | 2, 0..=49) => Some(2000 + number),
        (1..=3, _) => Some(1900 + number),
        (4, 1..) => Some(number),
        _ => None,
    }
}

fn time_of_day(word: &[u8]) -> Option<(i64, i64, i64)> {
    let mut fields = word.split(|&b| b == b':');
    let (hour, minute) = (digits(fields.next()?)?, digits(fields.next()?)?);
    let second = fields.next().map_or(Some(0), digits)?;
    Some((hour, minute, second))
}

fn zone(word: &[u8]) -> Option<i64> {
    match word {
        [sign @ (b'+' | b'-'), digits4 @ ..] if digits4.len() == 4 => {
            let number = digits(digits4)?;
            let offset = number / 100 * 3600 + number % 100 * 60;
            Some(if *sign == b'-' { -offset } else { offset })
        }
        b"EST" | b"CDT" => Some(-5 * 3600),
        b"EDT" => Some(-4 * 3600),
        b"CST" | b"MDT" => Some(-6 * 3600),
        b"MST" | b"PDT" => Some(-7 * 3600),
        b"PST" => Some(-8 * 3600),
        _ => None,
    }
}

fn month_number(word: &[u8]) -> Option<i64> {
    let name = word.get(..3)?;
    let index = MONTHS.iter().position(|m| m.as_bytes().eq_ignore_ascii_case(name))?;
    i64::try_from(index + 1).ok()
}

fn month_name(month: u8) -> &'static str {
    MONTHS.get(usize::from(month).wrapping_sub(1)).copied().unwrap_or("Jan")
}

fn day_name(weekday: u8) -> &'static str {
    DAYS.get(usize::from(weekday)).copied().unwrap_or("Thu")
}

/// A number of one to nine digits.
fn digits(word: &[u8]) -> Option<i64> {
    if word.is_empty() || word.len() > 9 || !word.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(word.iter().fold(0, |number, b| number * 10 + i64::from(b - b'0')))
}

fn from_civil((year, month, day): (i64, i64, i64), (h, m, s): (i64, i64, i64)) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_in_month = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        _ => return None,
    };
    let in_bounds = (1..=9999).contains(&year)
        && (1..=days_in_month).contains(&day)
        && (0..24).contains(&h)
        && (0..60).contains(&m)
        && (0..=60).contains(&s);
    if !in_bounds {
        return None;
    }
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (shifted_year.div_euclid(400), shifted_year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some((era * 146_097 + day_of_era - 719_468) * DAY_S + h * 3600 + m * 60 + s)
}

fn write_digits(out: &mut Vec<u8>, value: i64, width: usize) {
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(value);
    for _ in text.len()..width {
        out.push(b'0');
    }
    out.extend_from_slice(text.as_bytes());
}

fn write_time_of_day(out: &mut Vec<u8>, c: Civil) {
    write_digits(out, i64::from(c.hour), 2);
    out.push(b':');
    write_digits(out, i64::from(c.minute), 2);
    out.push(b':');
    write_digits(out, i64::from(c.second), 2);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(time: Time, write: impl Fn(Time, &mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(time, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn dates_are_written_as_the_rfcs_have_them() {
        let time = Time::parse_rfc3339(b"2026-01-02T03:04:05Z").unwrap();
        assert_eq!(time, Time::from_s(1_767_323_045));
        assert_eq!(written(time, Time::write_rfc3339), "2026-01-02T03:04:05Z");
        assert_eq!(written(time, Time::write_rfc5322), "Fri, 2 Jan 2026 03:04:05 +0000");
        assert_eq!(written(time, Time::write_asctime), "Fri Jan  2 03:04:05 2026");
    }

    #[test]
    fn every_form_of_the_same_moment_reads_alike() {
        let expect = Some(Time::from_s(1_767_323_045));
        for text in [
            "Fri, 2 Jan 2026 03:04:05 +0000",
            "2 Jan 2026 04:04:05 +0100",
            "Fri Jan  2 03:04:05 2026",
            "Thu, 1 Jan 2026 22:04:05 EST",
            "Fri, 02 Jan 26 03:04:05 GMT (a comment)",
        ] {
            assert_eq!(Time::parse_mail(text.as_bytes()), expect, "{text}");
        }
        assert_eq!(Time::parse_rfc3339(b"2026-01-02T04:04:05.000+01:00"), expect);
        assert_eq!(Time::parse_rfc3339(b"2026-01-02T03:04:05.25Z").unwrap().0 % 1_000_000, 250_000);
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in
            ["", "yesterday", "32 Jan 2026 00:00:00", "29 Feb 2025 00:00", "1 Jan 2026 25:00"]
        {
            assert_eq!(Time::parse_mail(text.as_bytes()), None, "{text}");
            assert_eq!(Time::parse_rfc3339(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn civil_dates_go_there_and_back_over_all_days() {
        for day in (-700_000..2_900_000).step_by(97) {
            let time = Time::from_s(day * DAY_S + 3661);
            let text = written(time, Time::write_rfc3339);
            assert_eq!(Time::parse_rfc3339(text.as_bytes()), Some(time), "{text}");
        }
    }
}
