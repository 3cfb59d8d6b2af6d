//! Events as the lines of the original's SESSION.LOG and SYSTEM.LOG.
//!
//! Pure: lines are appended to a buffer, ended by CR LF. Their words and their order are the
//! published ones (Q100826, Q99204, Q118675); what an event doesn't know, a subject above all, is
//! `(unknown)`. Not here: files. Invariant: events of one message come one behind the other, as in
//! the stream of a run; a message's entry is written when its last event is through.

use super::Number;
use super::catalogue::UNKNOWN;
use super::told::Told;
use crate::mail::date::Time;

/// `MM-DD-YY` and `HH:MM`. The century was never there.
fn date_and_clock(time: Option<Time>) -> (String, String) {
    let at = time.unwrap_or(Time(0)).civil();
    let date = format!("{:02}-{:02}-{:02}", at.month, at.day, at.year.rem_euclid(100));
    (date, format!("{:02}:{:02}", at.hour, at.minute))
}

/// SESSION.LOG: what was done, a line each.
#[derive(Debug, Default)]
pub struct Session {
    /// Key of the message in hand.
    key: Option<String>,
    time: Option<Time>,
    /// SYSTEM.LOG has an entry about the message in hand.
    has_notice: bool,
}

impl Session {
    /// Takes an event. `place` names the post office, or this system.
    pub fn append(&mut self, out: &mut Vec<u8>, told: &Told, place: &str) {
        let is_first = self.time.is_none();
        self.time = told.time().or(self.time).or(Some(Time(0)));
        if is_first {
            self.line(out, &format!("Processing received mail queue at: {place}."));
        }
        if told.key() != self.key.as_deref() {
            self.key = told.key().map(str::to_owned);
            self.has_notice = false;
            self.line(out, &format!("INQUEUE file: {}", told.queue_id()));
        }
        match Number(told.number()) {
            Number::UNREADABLE => {
                self.line(out, "Error opening FIPS file. Failure to open file.");
            }
            Number::FAULT => {
                self.line(out, &format!("A Critical error has occurred {}", told.queue_id()));
            }
            number if System::has_entry(number) && !self.has_notice => {
                self.has_notice = true;
                self.line(out, &format!("Notice in LOG\\SYSTEM.LOG on: {place}"));
            }
            _ => {}
        }
    }

    /// The last line.
    pub fn finish(&self, out: &mut Vec<u8>) {
        self.line(out, "Delivering of mail from INQUEUE3 is complete.");
    }

    fn line(&self, out: &mut Vec<u8>, text: &str) {
        let (date, clock) = date_and_clock(self.time);
        out.extend_from_slice(format!("{date} {clock} {text}\r\n").as_bytes());
    }
}

/// SYSTEM.LOG: an entry for each message that was reported, or set aside.
#[derive(Debug, Default)]
pub struct System {
    entry: Option<Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    key: Option<String>,
    time: Option<Time>,
    sender: Option<String>,
    queue_id: String,
    /// A report or its being set aside was told: without one there is no entry.
    is_due: bool,
    /// Why nobody is told of it.
    set_aside: Option<String>,
    /// What is wrong, and with which addresses.
    problems: Vec<(String, Vec<String>)>,
}

impl System {
    const fn has_entry(number: Number) -> bool {
        matches!(number, Number::REPORT_MADE | Number::SET_ASIDE | Number::SET_ASIDE_NO_SENDER)
    }

    /// Takes an event.
    pub fn append(&mut self, out: &mut Vec<u8>, told: &Told) {
        let is_same = self.entry.as_ref().is_some_and(|e| e.key.as_deref() == told.key());
        if !is_same {
            self.finish(out);
        }
        let entry = self.entry.get_or_insert_with(|| Entry {
            key: told.key().map(str::to_owned),
            time: told.time(),
            queue_id: told.queue_id(),
            ..Entry::default()
        });
        if entry.sender.is_none() {
            entry.sender = told.text("sender");
        }
        let number = Number(told.number());
        entry.is_due |= Self::has_entry(number);
        if matches!(number, Number::SET_ASIDE | Number::SET_ASIDE_NO_SENDER) {
            entry.set_aside = told.text("reason");
        }
        if matches!(number, Number::INVALID_RECIPIENT | Number::NO_MAILBAG) {
            let problem = told.problem().unwrap_or_else(|| UNKNOWN.to_owned());
            let address = told.text("recipient").unwrap_or_else(|| UNKNOWN.to_owned());
            match entry.problems.iter_mut().find(|(known, _)| *known == problem) {
                Some((_, addresses)) => addresses.push(address),
                None => entry.problems.push((problem, vec![address])),
            }
        }
    }

    /// Writes what is still in hand.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let Some(entry) = self.entry.take().filter(|entry| entry.is_due) else { return };
        let (date, clock) = date_and_clock(entry.time);
        let unknown = || UNKNOWN.to_owned();
        let mut lines = vec![
            format!("System log entry on: {date} {clock}"),
            "External program has detected a mail problem.".to_owned(),
        ];
        if let Some(reason) = entry.set_aside {
            lines.push("Failure queuing diagnostic data back to sender due to:".to_owned());
            lines.push(reason);
        }
        lines.extend([
            format!("Message data: {}", entry.queue_id),
            format!("From: {}", entry.sender.unwrap_or_else(unknown)),
            format!("Date: {date}"),
            format!("Time: {clock}"),
            format!("Subject: {UNKNOWN}"),
        ]);
        for (problem, addresses) in entry.problems {
            lines.push(problem);
            lines.extend(addresses);
        }
        lines.push(String::new());
        for line in lines {
            out.extend_from_slice(line.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: &str = "2000-01-02T03:04:05Z";

    fn event(key: &str, number: u16, more: &serde_json::Value) -> Told {
        let mut line = serde_json::json!({
            "id": format!("{key}-1-x"), "time": TIME, "number": number, "queue_id": key,
            "sender": "",
        });
        line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Told::parse(line.to_string().as_bytes()).unwrap()
    }

    fn events() -> Vec<Told> {
        let failed = |to: &str, code: u16| {
            let (status, code) = ("5.1.1", code);
            serde_json::json!({"recipient": to, "code": code, "status": status})
        };
        let invalid = serde_json::json!({"recipient": "x", "status": "5.1.3"});
        vec![
            event("GOOD", 2444, &serde_json::json!({"recipient": "ann"})),
            event("BAD", 2375, &failed("one", 2)),
            event("BAD", 2371, &invalid),
            event("BAD", 2375, &failed("two", 2)),
            event("BAD", 2117, &serde_json::json!({})),
            event("DEAD", 2375, &failed("three", 2)),
            event("DEAD", 2451, &serde_json::json!({"reason": "the reverse-path is null"})),
            event("TORN", 2335, &serde_json::json!({"sender": null})),
        ]
    }

    #[test]
    fn session_log() {
        let mut out = Vec::new();
        let mut session = Session::default();
        for told in events() {
            session.append(&mut out, &told, "NET/PO");
        }
        session.finish(&mut out);
        let expect = [
            "Processing received mail queue at: NET/PO.",
            "INQUEUE file: GOOD",
            "INQUEUE file: BAD",
            "Notice in LOG\\SYSTEM.LOG on: NET/PO",
            "INQUEUE file: DEAD",
            "Notice in LOG\\SYSTEM.LOG on: NET/PO",
            "INQUEUE file: TORN",
            "Error opening FIPS file. Failure to open file.",
            "Delivering of mail from INQUEUE3 is complete.",
        ];
        let told = String::from_utf8(out).unwrap();
        let lines: Vec<_> =
            told.lines().map(|line| line.strip_prefix("01-02-00 03:04 ").unwrap()).collect();
        assert_eq!(lines, expect);
        assert_eq!(told.matches("\r\n").count(), expect.len());
    }

    #[test]
    fn system_log() {
        let mut out = Vec::new();
        let mut system = System::default();
        for told in events() {
            system.append(&mut out, &told);
        }
        system.finish(&mut out);
        let expect = "\
System log entry on: 01-02-00 03:04
External program has detected a mail problem.
Message data: BAD
From: <>
Date: 01-02-00
Time: 03:04
Subject: (unknown)
[002] Mail was received that was addressed to unknown addresses.
one
two
[5.1.3] the address is not a valid mail address
x

System log entry on: 01-02-00 03:04
External program has detected a mail problem.
Failure queuing diagnostic data back to sender due to:
the reverse-path is null
Message data: DEAD
From: <>
Date: 01-02-00
Time: 03:04
Subject: (unknown)
[002] Mail was received that was addressed to unknown addresses.
three

";
        assert_eq!(String::from_utf8(out).unwrap(), expect.replace('\n', "\r\n"));
    }
}
