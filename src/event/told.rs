//! An event read from its line, for encodings other than JSON Lines: its description filled in, and
//! its insertion strings, complete.
//!
//! Total: an event may lack any member, and any characters may stand in one. What isn't there is
//! `(unknown)`; control characters of data are U+FFFD, so that no data can look like a line of ours
//! or end a string early. Not here: the bytes of any encoding.

use super::catalogue::{Category, Kind, Row, UNKNOWN, expand, row_of_kind};
use crate::limits;
use crate::mail::date::Time;
use crate::mail::status::{EnhancedStatus, original_text};
use serde_json::{Map, Value};

/// An event as its line tells it.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    members: Map<String, Value>,
    number: u16,
    kind: Kind,
}

impl Told {
    /// Reads a line of docs/events.md. `None`: it is no object with a number.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let members: Map<String, Value> = serde_json::from_slice(line).ok()?;
        let number = u16::try_from(members.get("number")?.as_u64()?).ok()?;
        let named = members.get("type").and_then(Value::as_str).and_then(Kind::of_name);
        let of_row = super::Number(number).row().map(|row| row.kind);
        let kind = named.or(of_row).unwrap_or(Kind::Information);
        Some(Self { members, number, kind })
    }

    /// Its number in the catalogue.
    pub const fn number(&self) -> u16 {
        self.number
    }

    /// Its type.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Its category.
    pub fn category(&self) -> Category {
        self.row().map_or(Category::None, |row| row.category)
    }

    /// Its stable id.
    pub fn id(&self) -> String {
        self.text("id").unwrap_or_else(|| UNKNOWN.to_owned())
    }

    /// The first part of its id: the same in all events of a message, and in no others'.
    pub fn key(&self) -> Option<&str> {
        self.members.get("id")?.as_str()?.split('-').next()
    }

    /// The message's name in its queue.
    pub fn queue_id(&self) -> String {
        self.text("queue_id").unwrap_or_else(|| UNKNOWN.to_owned())
    }

    /// When it was.
    pub fn time(&self) -> Option<Time> {
        Time::parse_rfc3339(self.members.get("time")?.as_str()?.as_bytes())
    }

    fn row(&self) -> Option<&'static Row> {
        row_of_kind(self.number, self.kind)
    }

    /// Its insertion strings, one for each fill of its row.
    pub fn strings(&self) -> Vec<String> {
        let fills = self.row().map_or(&[][..], |row| row.fills);
        fills.iter().map(|fill| self.fill(fill).unwrap_or_else(|| UNKNOWN.to_owned())).collect()
    }

    /// Its description, filled in; lines are ended by CR LF. A number that isn't in the catalogue
    /// has what its line says.
    pub fn sentence(&self) -> String {
        self.described().0
    }

    /// Its description, filled in, and its insertion strings.
    pub fn described(&self) -> (String, Vec<String>) {
        let strings = self.strings();
        let sentence = match self.row() {
            Some(row) => expand(row.template, &strings),
            None => self.text("text").unwrap_or_else(|| UNKNOWN.to_owned()),
        };
        (sentence, strings)
    }

    fn fill(&self, names: &str) -> Option<String> {
        names.split('|').find_map(|name| match name {
            "problem" => self.problem(),
            name => self.text(name),
        })
    }

    /// A member as text, as docs/events.md names it. The null reverse-path is `<>`.
    pub fn text(&self, name: &str) -> Option<String> {
        match self.members.get(name)? {
            Value::String(text) if text.is_empty() && name == "sender" => Some("<>".to_owned()),
            Value::String(text) if text.is_empty() => None,
            Value::String(text) => Some(plain(text)),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// What is wrong, in the original's form: `[002] text`; under its status, where the original
    /// had no number.
    pub fn problem(&self) -> Option<String> {
        let code = self.members.get("code").and_then(Value::as_u64);
        if let Some(code) = code.and_then(|code| u16::try_from(code).ok()) {
            let text = original_text(code);
            return Some(if text.is_empty() {
                format!("[{code:03}]")
            } else {
                format!("[{code:03}] {text}")
            });
        }
        let status = self.text("status")?;
        let said = EnhancedStatus::parse(status.as_bytes()).map_or("", EnhancedStatus::text);
        Some(if said.is_empty() { format!("[{status}]") } else { format!("[{status}] {said}") })
    }
}

/// Text with its control characters replaced, cut at its limit.
fn plain(text: &str) -> String {
    let shown = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    text.chars().take(limits::EVENT_STRING_CHARS_MAX).map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::catalogue::ROWS;
    use proptest::prelude::*;

    /// A line with these members, of which none is a standard one.
    fn line(number: u16, kind: Kind, members: &[(&str, Value)]) -> Vec<u8> {
        let mut object = Map::new();
        object.insert("number".to_owned(), number.into());
        object.insert("type".to_owned(), kind.name().into());
        object.extend(members.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        serde_json::to_vec(&object).unwrap()
    }

    #[test]
    fn an_event_without_any_member_has_a_whole_sentence() {
        for row in ROWS {
            let told = Told::parse(&line(row.number, row.kind, &[])).unwrap();
            assert_eq!(told.strings(), vec![UNKNOWN; row.fills.len()], "{}", row.number);
            assert!(!told.sentence().contains('%'), "{}", told.sentence());
            assert_eq!((told.id(), told.queue_id()), (UNKNOWN.to_owned(), UNKNOWN.to_owned()));
            assert_eq!(told.category(), row.category);
        }
    }

    #[test]
    fn sentences_are_those_of_the_original() {
        let told = |number, kind, members: &[(&str, Value)]| {
            Told::parse(&line(number, kind, members)).unwrap().sentence()
        };
        let place = [("file", "sfsems.cpp".into()), ("line", 837.into())];
        assert_eq!(
            told(10003, Kind::Error, &place),
            "Fatal Assert: File sfsems.cpp line 837.  Mailer thread failed."
        );
        let report = [
            ("sender", "".into()),
            ("code", 2.into()),
            ("status", "5.1.1".into()),
            ("recipient", "NET/PO/%2".into()),
        ];
        assert_eq!(
            told(2117, Kind::Warning, &report),
            "Non delivery report generated.\r\nFrom: <>\r\nSubject: (unknown)\r\n\
             [002] Mail was received that was addressed to unknown addresses.\r\nNET/PO/%2"
        );
        let bad = [("status", "5.1.3".into()), ("sender", Value::Null)];
        assert_eq!(
            Told::parse(&line(2371, Kind::Warning, &bad)).unwrap().strings()[2],
            "[5.1.3] the address is not a valid mail address"
        );
        assert_eq!(told(65000, Kind::Error, &[("text", "later".into())]), "later");
    }

    proptest! {
        /// Any text in any member, of any number: the strings are complete, and hold the text as it
        /// is but for control characters.
        #[test]
        fn any_text_stands_in_its_string(
            index in 0..ROWS.len(),
            text in ".{1,60}",
            number in any::<u16>(),
        ) {
            let row = &ROWS[index];
            let names = row.fills.iter().flat_map(|fill| fill.split('|'));
            let members: Vec<(&str, Value)> =
                names.map(|name| (name, Value::from(text.as_str()))).collect();
            let told = Told::parse(&line(row.number, row.kind, &members)).unwrap();
            prop_assert_eq!(told.strings().len(), row.fills.len());
            for (fill, string) in row.fills.iter().zip(told.strings()) {
                if *fill != "problem" {
                    prop_assert_eq!(string, plain(&text));
                }
            }
            let other = Told::parse(&line(number, row.kind, &members)).unwrap();
            prop_assert!(!other.sentence().is_empty());
        }

        /// Any bytes: an event, or none.
        #[test]
        fn any_bytes_are_an_event_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Some(told) = Told::parse(&bytes) {
                prop_assert!(!told.sentence().is_empty());
            }
        }
    }
}
