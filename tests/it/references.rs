//! Segments whose records refer to contents in other files: followed by every command, and what
//! leads nowhere costs its record alone.

use crate::support::{NOW, Queue, assert_done, audit, inqueue, messages, text};
use inqueue::mail::content::Content;
use inqueue::queue::{Framed, mbox};
use inqueue_gen::Format;
use std::fs;

const MARK: u64 = 77;

/// A segment, written by hand from docs/segment.md.
struct Segment(Vec<u8>);

impl Segment {
    fn new() -> Self {
        let mut header = b"\x89INQSEG\n\x01\0\x20\0".to_vec();
        header.extend_from_slice(&MARK.to_le_bytes());
        header.extend_from_slice(&[0; 8]);
        header.extend_from_slice(&crc32c::crc32c(&header).to_le_bytes());
        Self(header)
    }

    fn record(&mut self, kind: u16, envelope: &[u8], content: &[u8]) {
        let mut head = b"\xF5INQREC\n".to_vec();
        head.extend_from_slice(&(self.0.len() as u64).to_le_bytes());
        head.extend_from_slice(&MARK.to_le_bytes());
        head.extend_from_slice(&kind.to_le_bytes());
        head.extend_from_slice(&[0; 2]);
        head.extend_from_slice(&u32::try_from(envelope.len()).unwrap().to_le_bytes());
        head.extend_from_slice(&(content.len() as u64).to_le_bytes());
        head.extend_from_slice(&crc32c::crc32c(envelope).to_le_bytes());
        head.extend_from_slice(&crc32c::crc32c(content).to_le_bytes());
        head.extend_from_slice(&[0; 4]);
        head.extend_from_slice(&crc32c::crc32c(&head).to_le_bytes());
        self.0.extend_from_slice(&[&head, envelope, content].concat());
    }

    fn refer(&mut self, name: &str, offset: usize, raw: &[u8], quoted: bool) {
        let mut reference = (offset as u64).to_le_bytes().to_vec();
        reference.extend_from_slice(&(raw.len() as u64).to_le_bytes());
        reference.extend_from_slice(&crc32c::crc32c(raw).to_le_bytes());
        reference.extend_from_slice(&u32::from(quoted).to_le_bytes());
        reference.extend_from_slice(name.as_bytes());
        self.record(2, &envelope(), &reference);
    }
}

/// From `a@there.example` to `good@here.example`.
fn envelope() -> Vec<u8> {
    let field = |tag: u16, value: &[u8]| {
        let length = u32::try_from(value.len()).unwrap();
        [&tag.to_le_bytes()[..], &length.to_le_bytes(), value].concat()
    };
    let recipient = field(1, b"good@here.example");
    [field(3, b"a@there.example"), field(15, &recipient)].concat()
}

fn contents(content: &Content<'_>) -> Vec<u8> {
    content.runs().collect::<Vec<_>>().concat()
}

#[test]
fn references_are_followed_and_what_leads_nowhere_is_damage() {
    let queue = Queue::new(Format::Mbox, 400, "from-lines=0.3");
    let folder = queue.made();
    let mbox = fs::read(folder.join("queue.mbox")).unwrap();
    let mut segment = Segment::new();
    let mut expect = Vec::new();
    for framed in mbox::frame(&mbox, mbox::Kind::Rd, 0..mbox.len() as u64) {
        let Framed::Message(found) = framed else { panic!("damage") };
        let raw = found.content.raw();
        let offset = raw.as_ptr() as usize - mbox.as_ptr() as usize;
        segment.refer("queue.mbox", offset, raw, found.content.is_quoted());
        expect.push(contents(&found.content));
    }
    assert!(expect.len() == 400 && mbox.windows(7).any(|w| w == b"\n>From "));
    // More small files than are held at once; an absolute name; one within a record; broken ones.
    fs::create_dir(folder.join("small")).unwrap();
    for number in 0..600 {
        let content = format!("Subject: small {number}\n\nbody\n");
        let name = format!("small/{number}");
        fs::write(folder.join(&name), format!("xx{content}")).unwrap();
        segment.refer(&name, 2, content.as_bytes(), false);
        expect.push(content.into_bytes());
    }
    let absolute = folder.join("small/1").canonicalize().unwrap();
    segment.refer(absolute.to_str().unwrap(), 0, b"xxSubject", false);
    expect.push(b"xxSubject".to_vec());
    segment.record(1, &envelope(), b"within\n");
    expect.push(b"within\n".to_vec());
    segment.refer("small/1", 1_000, b"behind the end", false);
    segment.refer("small/1", 0, b"other bytes", false);
    segment.refer("small/none", 0, b"", false);
    segment.refer("small", 0, b"", false);
    segment.record(2, &envelope(), b"too short");
    fs::write(folder.join("queue.seg"), &segment.0).unwrap();
    fs::write(folder.join("users"), "good@here.example\n").unwrap();
    for size in ["4K", "1M"] {
        let output = inqueue()
            .current_dir(&folder)
            .args(["run", "queue.seg", "--directory", "users", "--out", size, "--json"])
            .args(["--part-size", size, "--now", NOW, "--hostname", "mta.example"])
            .output()
            .unwrap();
        assert_done(&output);
        let got: Vec<_> =
            messages(&folder.join(size), "accepted").into_iter().map(|m| m.content).collect();
        assert!(got == expect, "parts of {size}: {} of {}", got.len(), expect.len());
        assert_eq!(messages(&folder.join(size), "quarantine").len(), 5, "{}", text(&output.stdout));
        let report = audit(&folder.join(size), None);
        assert_eq!(
            [&report["lost"], &report["doubled"], &report["wrong"]],
            [0, 0, 0],
            "{report:#}"
        );
        assert_eq!(report["counts"]["damaged"], 5);
    }
}
