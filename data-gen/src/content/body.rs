//! The body.
//!
//! What it deliberately does not do: recursion. Nesting is written by loops, however deep.
//!
//! Invariant: a body ends with a newline.

use super::Writer;
use crate::bytes::{hex, narrow, num, wide};
use crate::plan::Body;
use crate::segment;

impl Writer<'_> {
    pub(super) fn body(&mut self) {
        let size = self.plan.spec.size;
        match self.plan.spec.body {
            Body::Text => self.text(size),
            Body::Html => self.html(size),
            Body::Alternative => self.alternative(size),
            Body::Mixed(count) => self.mixed(size, count),
            Body::Nested(levels) => self.nested(size, levels),
            Body::Embedded(levels) => self.embedded(size, levels),
            Body::Report(levels) => self.report(size, levels),
            Body::Receipt => self.receipt(),
            Body::ZeroAttachment => self.zero_attachment(size),
            Body::AlikeAttachments => self.alike(size),
            Body::Nul => self.nul(size),
            Body::FromLines => self.lines_with_from(size),
            Body::LongLine => self.long_line(),
            Body::BareCr => self.bare_cr(size),
            Body::Records => self.records(size),
        }
    }

    /// The line that opens a part.
    fn open(&mut self, level: u64) {
        self.put(b"--");
        self.boundary(level);
        self.line(&[]);
    }

    /// The line that closes a multipart.
    fn close(&mut self, level: u64) {
        self.put(b"--");
        self.boundary(level);
        self.line(&[b"--"]);
    }

    fn text_part(&mut self, level: u64, size: usize) {
        self.open(level);
        self.text_type(b"plain");
        self.line(&[]);
        self.text(size);
    }

    fn html(&mut self, size: usize) {
        self.line(&[b"<!DOCTYPE html>"]);
        self.line(&[b"<html><head><title>Message</title></head>"]);
        self.line(&[b"<body style=\"font-family: sans-serif\"><p>"]);
        self.text(size.saturating_sub(120));
        self.line(&[b"</p></body></html>"]);
    }

    fn alternative(&mut self, size: usize) {
        self.text_part(0, size / 3);
        self.open(0);
        self.text_type(b"html");
        self.line(&[]);
        self.html(size * 2 / 3);
        self.close(0);
    }

    fn attachment(&mut self, level: u64, name: &[u8], size: usize) {
        self.open(level);
        self.line(&[b"Content-Type: application/octet-stream; name=\"", name, b"\""]);
        self.line(&[b"Content-Disposition: attachment; filename=\"", name, b"\""]);
        self.line(&[b"Content-Transfer-Encoding: base64"]);
        self.line(&[]);
        if size > 0 {
            self.base64(size);
        }
    }

    fn mixed(&mut self, size: usize, count: u64) {
        let text = (size / 4).min(4_000);
        self.text_part(0, text);
        for number in 0..count {
            let mut name = b"file".to_vec();
            num(&mut name, number);
            name.extend_from_slice(b".pdf");
            self.attachment(0, &name, (size - text) / narrow(count.max(1)));
        }
        self.close(0);
    }

    fn nested(&mut self, size: usize, levels: u64) {
        for level in 1..levels {
            self.open(level - 1);
            self.multipart(b"mixed", level);
            self.line(&[]);
        }
        self.text_part(levels.saturating_sub(1), size);
        for level in (0..levels).rev() {
            self.close(level);
        }
    }

    fn embedded(&mut self, size: usize, levels: u64) {
        self.text_part(0, size / 2);
        self.open(0);
        self.line(&[b"Content-Type: message/rfc822"]);
        self.line(&[]);
        for level in 1..levels {
            self.inner_header(level);
            self.line(&[b"Content-Type: message/rfc822"]);
            self.line(&[]);
        }
        self.inner_header(levels);
        self.text_type(b"plain");
        self.line(&[]);
        self.text(size / 2);
        self.close(0);
    }

    fn report(&mut self, size: usize, levels: u64) {
        for level in 0..levels {
            self.text_part(level, 300);
            self.open(level);
            self.line(&[b"Content-Type: message/delivery-status"]);
            self.line(&[]);
            self.line(&[b"Reporting-MTA: dns; mail.example.net"]);
            self.line(&[]);
            self.line(&[b"Final-Recipient: rfc822; somebody@example.net"]);
            self.line(&[b"Action: failed"]);
            self.line(&[b"Status: 5.1.1"]);
            self.line(&[]);
            self.open(level);
            self.line(&[b"Content-Type: message/rfc822"]);
            self.line(&[]);
            self.inner_header(level);
            if level + 1 < levels {
                self.multipart(b"report; report-type=delivery-status", level + 1);
                self.line(&[]);
            }
        }
        self.text_type(b"plain");
        self.line(&[]);
        self.text(size);
        for level in (0..levels).rev() {
            self.close(level);
        }
    }

    fn receipt(&mut self) {
        self.text_part(0, 200);
        self.open(0);
        self.line(&[b"Content-Type: message/disposition-notification"]);
        self.line(&[]);
        self.line(&[b"Reporting-UA: mail.example.net; Mail 1.0"]);
        self.line(&[b"Final-Recipient: rfc822;somebody@example.net"]);
        self.put(b"Original-Message-ID: <");
        hex(self.out, self.rng.next(), 16);
        self.line(&[b"@corp.example>"]);
        self.line(&[b"Disposition: manual-action/MDN-sent-manually; displayed"]);
        self.line(&[]);
        self.close(0);
    }

    fn zero_attachment(&mut self, size: usize) {
        self.text_part(0, size);
        self.attachment(0, b"empty.dat", 0);
        self.close(0);
    }

    fn alike(&mut self, size: usize) {
        self.text_part(0, 200);
        self.attachment(0, b"report.doc", size / 2);
        self.attachment(0, b"Report.doc", size / 2);
        self.attachment(0, b"report.doc", 100);
        self.close(0);
    }

    fn nul(&mut self, size: usize) {
        self.text(size);
        self.line(&[b"before\0after\0\0\0"]);
        self.line(&[b"\0"]);
        self.text(100);
    }

    fn lines_with_from(&mut self, size: usize) {
        self.line(&[b"From the beginning"]);
        self.text(size);
        let lines: [&[u8]; 7] = [
            b"From anna@example.net Fri Jan  2 03:04:05 2026",
            b">From here on",
            b">>>From there",
            b" From with a space",
            b"From ",
            b"From",
            b"from below",
        ];
        for line in lines {
            self.line(&[line]);
            if self.rng.chance(300) {
                self.line(&[]);
            }
        }
        if self.rng.chance(300) {
            // What an mbox reader could take for its own separator, at the very end.
            self.line(&[]);
            self.line(&[]);
        }
    }

    fn long_line(&mut self) {
        let length = 100_000 + self.rng.place(1_000);
        self.out.resize(self.out.len() + length, b'L');
        self.line(&[]);
        self.text(100);
    }

    fn bare_cr(&mut self, size: usize) {
        self.text(size / 2);
        self.line(&[b"one\rtwo\r\rthree\r"]);
        self.line(&[b"\rFrom four\r"]);
        self.text(size / 2);
    }

    /// Heads of records: with a mark of another file, with this file's mark but another offset, and
    /// bare sync bytes.
    fn records(&mut self, size: usize) {
        let marks = [self.rng.next(), self.world.mark];
        for mark in marks {
            let mut record = Vec::new();
            segment::reserve_head(&mut record);
            segment::field(&mut record, 1, b"FALSE");
            segment::field(&mut record, 3, b"false@example.net");
            let envelope = record.len() - segment::HEAD;
            record.extend_from_slice(b"Subject: not a message of this queue");
            segment::fill_head(&mut record, envelope, mark);
            // No record begins at 1: the file's header is there.
            segment::seal(&mut record, 1 + wide(self.rng.place(30)));
            self.put(&record);
            self.line(&[]);
        }
        self.put(&segment::SYNC);
        self.text(size);
        self.put(&segment::file_header(self.world.mark));
        self.put(&segment::SYNC);
        self.line(&[]);
    }
}
