//! Reports as the original wrote them, into a mailbag: from `NETWORK/POSTOFFICE/POSTMASTER`,
//! subject "Mail failure", with the numbered texts (Q147471, Q131852).
//!
//! Not here: the report of RFC 3464, which the run has made, and which goes where mail leaves for
//! the Internet. Total: any bytes may stand in an address or a subject; what isn't known is left
//! out or said to be unknown.

use super::orders::Told;
use crate::mail::date::Time;
use crate::mail::msmail;
use crate::mail::status::original_text;
use crate::queue::postoffice::mai::Mai;

/// Bytes of the failed message's text that come back with a report.
const TEXT_BYTES_MAX: usize = 32 << 10;
const RULE: &[u8] = b"------------------------------------------------------------\r\n";

/// The message that failed, as far as its files tell.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Failed<'a> {
    pub(super) from: &'a [u8],
    pub(super) mai: Option<&'a Mai<'a>>,
    /// The subject in the record of its slot: what is left where there is no MAI.
    pub(super) subject: &'a [u8],
    pub(super) date: Option<Time>,
    /// Where it has been.
    pub(super) hops: &'a [&'a [u8]],
}

/// The text of a report about these recipients.
pub(super) fn text(failed: &Failed<'_>, reported: &[Told]) -> Vec<u8> {
    let mut out = Vec::new();
    header(failed, &mut out);
    out.extend_from_slice(RULE);
    let mut rest: Vec<&Told> = reported.iter().collect();
    while let Some(first) = rest.first().copied() {
        let same = |told: &&Told| (told.number, &told.status) == (first.number, &first.status);
        let (these, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(same);
        reason(first, failed.hops, &mut out);
        for told in these {
            let mut address = Vec::new();
            msmail::to_address(&told.path, &mut address);
            line(&[&address], &mut out);
        }
        rest = others;
    }
    out.extend_from_slice(RULE);
    let mut left = TEXT_BYTES_MAX;
    for text in failed.mai.iter().flat_map(|mai| &mai.text) {
        let piece = text.get(..text.len().min(left)).unwrap_or_default();
        left -= piece.len();
        // A NUL ended the text for the original (Q181649).
        out.extend(piece.iter().map(|byte| if *byte == 0 { b' ' } else { *byte }));
    }
    out
}

fn header(failed: &Failed<'_>, out: &mut Vec<u8>) {
    let from = if failed.from.is_empty() { b"(unknown)" } else { failed.from };
    line(&[b"FROM: ", from], out);
    for to in failed.mai.iter().flat_map(|mai| mai.to.iter().chain(&mai.cc)) {
        line(&[b"TO: ", to], out);
    }
    let posted = failed.mai.and_then(|mai| mai.posted).or(failed.date);
    let mut digits = Vec::new();
    if let Some(posted) = posted {
        posted.write_rfc3339(&mut digits);
    }
    let part = |range: std::ops::Range<usize>| digits.get(range).unwrap_or(b"(unknown)");
    line(&[b"DATE: ", part(0..10)], out);
    line(&[b"TIME: ", part(11..16)], out);
    let subject = failed.mai.and_then(|mai| mai.subject).unwrap_or(failed.subject);
    line(&[b"SUBJECT: ", subject], out);
}

/// What went wrong, and the words before the list of addresses.
fn reason(told: &Told, hops: &[&[u8]], out: &mut Vec<u8>) {
    let text = original_text(told.number);
    let number = format!("[{:03}] ", told.number);
    if text.is_empty() {
        line(&[told.status.as_bytes(), b" Mail item could not be delivered."], out);
        return line(&[b"Mail item was not delivered to:"], out);
    }
    match told.number {
        3 | 4 => {
            let followed = b" Message followed the following route:";
            line(&[number.as_bytes(), text.as_bytes(), followed], out);
            for hop in hops {
                line(&[hop], out);
            }
            let words: &[u8] = if told.number == 3 {
                b"while attempting to send to the following addresses:"
            } else {
                b"Attempted to send to the following addresses:"
            };
            line(&[words], out);
        }
        _ => {
            line(&[number.as_bytes(), text.as_bytes()], out);
            line(&[b"Mail item was not delivered to:"], out);
        }
    }
}

/// Appends a line; line ends in what is given become spaces.
fn line(pieces: &[&[u8]], out: &mut Vec<u8>) {
    for piece in pieces {
        out.extend(piece.iter().map(|byte| if *byte < b' ' { b' ' } else { *byte }));
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(path: &[u8], number: u16, status: &str) -> Told {
        Told { path: path.to_vec(), number, status: status.to_owned(), ..Told::default() }
    }

    #[test]
    fn a_report_has_the_published_words_and_names_everyone() {
        let mai = Mai {
            to: vec![b"NET/PO/GONE", b"bad\r\nTO: evil"],
            posted: Time::parse_rfc3339(b"1997-03-04T05:06:00Z"),
            subject: Some(b"Plans"),
            text: vec![b"Hello\r\n"],
            ..Mai::default()
        };
        let hops: [&[u8]; 2] = [b"NET/PO1", b"NET/PO2"];
        let failed =
            Failed { from: b"NET/PO/ANN", mai: Some(&mai), hops: &hops, ..Failed::default() };
        let reported = [
            told(b"GONE@PO.NET.msmail.internal", 2, "5.1.1"),
            told(b"SMTP:garbage", 0, "5.1.3"),
            told(b"ALSO@PO.NET.msmail.internal", 2, "5.1.1"),
            told(b"X@PO.NET.msmail.internal", 4, "5.4.6"),
        ];
        let expect = "FROM: NET/PO/ANN\r\nTO: NET/PO/GONE\r\nTO: bad  TO: evil\r\n\
            DATE: 1997-03-04\r\nTIME: 05:06\r\nSUBJECT: Plans\r\n\
            ------------------------------------------------------------\r\n\
            [002] Mail was received that was addressed to unknown addresses.\r\n\
            Mail item was not delivered to:\r\nNET/PO/GONE\r\nNET/PO/ALSO\r\n\
            5.1.3 Mail item could not be delivered.\r\n\
            Mail item was not delivered to:\r\nSMTP:garbage\r\n\
            [004] Message circular route detected. Message followed the following route:\r\n\
            NET/PO1\r\nNET/PO2\r\nAttempted to send to the following addresses:\r\nNET/PO/X\r\n\
            ------------------------------------------------------------\r\nHello\r\n";
        assert_eq!(String::from_utf8(text(&failed, &reported)).unwrap(), expect);
    }

    #[test]
    fn nothing_known_is_a_report_all_the_same() {
        let text = text(&Failed::default(), &[told(b"", 0, "")]);
        assert!(text.starts_with(b"FROM: (unknown)\r\nDATE: (unknown)\r\nTIME: (unknown)\r\n"));
    }
}
