//! What a file of a post office is, by its path.
//!
//! Not here: whether it is good. Invariant: at most one file has a place that isn't
//! [`Place::Hidden`], [`Place::Stray`] or [`Place::Other`], but for misplaced ones.

use crate::queue::postoffice::bag::{HexName, hex_name};

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// The KEY of a mailbag.
    Key(String),
    /// The MBG of a mailbag.
    Mbg(String),
    /// A message.
    Mai(HexName),
    /// An attachment.
    Att(HexName),
    /// An envelope.
    P1(HexName),
    /// A lock.
    Lock,
    /// A MAI or ATT in the folder of another digit, and what it would be in its own.
    Misplaced(Box<Self>),
    /// Another file's name differs from its own in case alone, and that one counts.
    Hidden,
    /// Among messages, with a name that none has.
    Stray,
    /// Anything else.
    Other,
}

/// Says what a file is by its path in the post office, in upper case.
pub fn classify(upper: &str) -> Place {
    let parts: Vec<&str> = upper.split('/').collect();
    match parts.as_slice() {
        ["KEY", file] => match file.strip_suffix(".KEY") {
            Some(name) if is_bag(name) => Place::Key(name.to_owned()),
            _ => Place::Other,
        },
        ["MBG", file] => match file.strip_suffix(".MBG") {
            Some(name) if is_bag(name) => Place::Mbg(name.to_owned()),
            _ => Place::Other,
        },
        ["P1", file] => p1(file),
        ["MAI", folder, file] => letter(folder, file, "MA", ".MAI", Place::Mai),
        ["ATT", folder, file] => letter(folder, file, "AT", ".ATT", Place::Att),
        [folder @ ("MAI" | "ATT"), file] if file.ends_with(&format!(".{folder}")) => Place::Stray,
        _ => Place::Other,
    }
}

fn is_bag(name: &str) -> bool {
    !name.is_empty() && !name.contains('.')
}

fn p1(file: &str) -> Place {
    let (stem, extension) = file.rsplit_once('.').unwrap_or((file, ""));
    let is_session = matches!(extension.as_bytes(), [b'P', b'B'..=b'Z', b'B'..=b'Z']);
    match (hex_name(stem.as_bytes()), extension) {
        (Some(name), "P1") => Place::P1(name),
        (None, "P1") => Place::Stray,
        _ if matches!(extension, "0LK" | "OLK") || stem == "LOCKP1ID" || is_session => Place::Lock,
        _ => Place::Other,
    }
}

fn letter(
    folder: &str,
    file: &str,
    prefix: &str,
    extension: &str,
    place: fn(HexName) -> Place,
) -> Place {
    let Some(stem) = file.strip_suffix(extension) else { return Place::Other };
    let Some(name) = hex_name(stem.as_bytes()) else { return Place::Stray };
    let digit = folder.strip_prefix(prefix).map(str::as_bytes);
    if digit == name.last().map(std::slice::from_ref) {
        place(name)
    } else {
        Place::Misplaced(Box::new(place(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_by_their_paths() {
        for (path, place) in [
            ("KEY/INQUEUE3.KEY", Place::Key("INQUEUE3".to_owned())),
            ("MBG/00000005.MBG", Place::Mbg("00000005".to_owned())),
            ("MBG/POPULATE.MSM", Place::Other),
            ("MBG/A.B.MBG", Place::Other),
            ("MAI/MA2/00000062.MAI", Place::Mai(*b"00000062")),
            ("MAI/MA2/00000063.MAI", Place::Misplaced(Box::new(Place::Mai(*b"00000063")))),
            ("MAI/MA2/LETTER.MAI", Place::Stray),
            ("MAI/00000062.MAI", Place::Stray),
            ("ATT/ATF/0000000F.ATT", Place::Att(*b"0000000F")),
            ("MAI/MA2/00000062.MAX", Place::Other),
            ("P1/00000062.P1", Place::P1(*b"00000062")),
            ("P1/INQUEUE3.0LK", Place::Lock),
            ("P1/LOCKP1ID.PBB", Place::Lock),
            ("P1/00000062.PBC", Place::Lock),
            ("P1/X.P1", Place::Stray),
            ("LOG/SESSION.LOG", Place::Other),
        ] {
            assert_eq!(classify(path), place, "{path}");
        }
    }
}
