//! Writes messages as files: a Maildir, or a folder of `.eml` files or files of FFAPI text.
//!
//! Names are in queue order, byte by byte. In a Maildir: `1767323045.Q00000001.inqueue` in `new/`,
//! the seconds being the latest arrival so far (none known: 0), so that they never go back; written
//! in `tmp/`, then renamed, as maildir(5) wants it. Else `00000001.eml`, and `00000001-ID.MMF` with
//! the message's queue id. The time of last change of a file is the message's arrival, where it is
//! known: what IMAP servers give as its date. Nothing else of the envelope is held (but in FFAPI
//! text), and no flags of a Maildir. Files aren't synced one by one: one `syncfs` at the end is
//! enough, as the folder has its name only after it.

use super::target::Place;
use super::{DeliverError, Item, TargetFormat};
use crate::limits;
use crate::mail::content::Content;
use crate::mail::date::Time;
use crate::mail::envelope::QueueId;
use crate::queue::ffapi;
use crate::spool::private;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Digits of a message's number.
const NUMBER_DIGITS: usize = 8;
const _: () = assert!(NUMBER_DIGITS == 8 && limits::FILES_MAX < 100_000_000);
/// Latest second that a name of ten digits holds.
const NAME_SECOND_MAX: i64 = 9_999_999_999;

pub(super) struct Writer {
    place: Place,
    format: TargetFormat,
    count: u64,
    latest_s: i64,
    /// A file of FFAPI text.
    text: Vec<u8>,
    /// Contents that FFAPI text holds in less words.
    simplified: u64,
}

impl Writer {
    pub(super) fn begin(place: Place, format: TargetFormat) -> Result<Self, DeliverError> {
        let made = private::create_folder(place.partial()).and_then(|()| {
            let is_maildir = format == TargetFormat::Maildir;
            let parts: &[&str] = if is_maildir { &["tmp", "new", "cur"] } else { &[] };
            parts.iter().try_for_each(|part| private::create_folder(&place.partial().join(part)))
        });
        made.map_err(|source| place.failed(source))?;
        Ok(Self { place, format, count: 0, latest_s: 0, text: Vec::new(), simplified: 0 })
    }

    /// Gives the length of the content.
    pub(super) fn message(&mut self, item: &Item<'_, '_>) -> Result<u64, DeliverError> {
        if self.count >= limits::FILES_MAX as u64 {
            return Err(DeliverError::TooManyFiles { path: self.place.partial().to_owned() });
        }
        self.count += 1;
        let arrival = item.envelope.arrival;
        let content = item.found.content;
        let folder = self.place.partial();
        let mut name = None;
        let first = match self.format {
            TargetFormat::Maildir => {
                let arrival_s = arrival.map_or(0, Time::as_s).min(NAME_SECOND_MAX);
                self.latest_s = self.latest_s.max(arrival_s);
                let of_file =
                    format!("{:010}.Q{:0NUMBER_DIGITS$}.inqueue", self.latest_s, self.count);
                name = Some(folder.join("new").join(&of_file));
                folder.join("tmp").join(of_file)
            }
            TargetFormat::Ffapi(line_end) => {
                let whole: Vec<u8> = content.runs().flatten().copied().collect();
                self.text.clear();
                let (envelope, recipients) = (item.envelope, item.recipients);
                let simplified =
                    ffapi::write::append(&mut self.text, envelope, recipients, &whole, line_end);
                self.simplified += u64::from(simplified);
                let id = safe_name(item.envelope.queue_id);
                folder.join(format!("{:0NUMBER_DIGITS$}-{id}.MMF", self.count))
            }
            _ => folder.join(format!("{:0NUMBER_DIGITS$}.eml", self.count)),
        };
        let is_text = matches!(self.format, TargetFormat::Ffapi(_));
        let bytes = if is_text { Content::plain(&self.text) } else { content };
        let written = write_file(&first, bytes, arrival)
            .and_then(|()| name.map_or(Ok(()), |name| fs::rename(&first, name)));
        written.map_err(|source| DeliverError::Write { path: first, source })?;
        Ok(content.len())
    }

    /// Gives the count of contents that are simplified.
    pub(super) fn finish(self) -> Result<u64, DeliverError> {
        let synced = File::open(self.place.partial())
            .and_then(|folder| rustix::fs::syncfs(&folder).map_err(io::Error::from));
        synced.map_err(|source| self.place.failed(source))?;
        self.place.finish()?;
        Ok(self.simplified)
    }
}

/// A queue id as part of a file's name: letters, digits, `.`, `-` and `_` stay, anything else is
/// `_`; at most 64 characters.
fn safe_name(queue_id: QueueId<'_>) -> String {
    let mut id = Vec::new();
    queue_id.write(&mut id);
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    id.iter().take(64).map(|&byte| if is_safe(byte) { char::from(byte) } else { '_' }).collect()
}

fn write_file(path: &Path, content: Content<'_>, arrival: Option<Time>) -> io::Result<()> {
    let mut file = private::create_new(path)?;
    if content.is_quoted() {
        let mut out = BufWriter::new(&mut file);
        content.runs().try_for_each(|run| out.write_all(run))?;
        out.flush()?;
    } else {
        file.write_all(content.raw())?;
    }
    if let Some(arrival) = arrival.and_then(system_time) {
        // A file system that doesn't take it has the content all the same.
        let _ = file.set_modified(arrival);
    }
    Ok(())
}

/// As the system has it; `None` before the epoch, and where the system can't count that far.
fn system_time(time: Time) -> Option<SystemTime> {
    let since = Duration::from_micros(u64::try_from(time.0).ok()?);
    SystemTime::UNIX_EPOCH.checked_add(since)
}
