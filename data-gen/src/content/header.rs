//! The header section.
//!
//! What it deliberately does not do: fold long values, but where real mail programs do: the folding
//! of ours would only hide what a reader does with long lines.
//!
//! Invariant: fields that a reader needs for the envelope stand before all others.

use super::Writer;
use crate::bytes::{hex, num};
use crate::directory::remote;
use crate::envelope::{Recipient, Reverse};
use crate::plan::{Body, Style};
use crate::text::{Charset, words};
use crate::time::{MINUTE, SECOND, rfc5322};

const AGENTS: [&str; 6] = [
    "Mutt/2.2.12",
    "Postbox 7.0",
    "Microsoft Outlook 16.0",
    "Apple Mail (2.3774)",
    "Thunderbird 128.5",
    "PHPMailer 6.9",
];

impl Writer<'_> {
    pub(super) fn header(&mut self) {
        if !self.world.options.format.has_envelope() {
            self.envelope_fields();
        }
        self.trace();
        if self.rng.chance(400) {
            self.signature();
        }
        let (spec, arrival) = (&self.plan.spec, self.plan.envelope.arrival);
        let mut date = Vec::new();
        match &spec.date {
            Some(raw) => date.extend_from_slice(raw),
            None => rfc5322(&mut date, arrival - 20 * SECOND),
        }
        self.line(&[b"Date: ", &date]);
        self.put(b"From: ");
        self.from();
        self.to();
        self.subject();
        self.message_id();
        if self.rng.chance(600) {
            let agent = self.rng.pick(&AGENTS);
            self.line(&[b"X-Mailer: ", agent]);
        }
        if self.rng.chance(300) {
            let mut score = Vec::new();
            num(&mut score, self.rng.below(50));
            self.line(&[b"X-Spam-Score: ", &score]);
        }
        self.mime_fields();
        let fields = &self.plan.spec.fields;
        self.out.extend_from_slice(fields);
    }

    /// What tells the envelope where the format has none.
    fn envelope_fields(&mut self) {
        if self.plan.spec.return_path {
            let path: &[u8] = match &self.plan.envelope.reverse {
                Reverse::Unknown | Reverse::Null => b"",
                Reverse::Invalid(path) | Reverse::Path(path) => path,
            };
            self.line(&[b"Return-Path: <", path, b">"]);
        }
        let name: &[u8] = match self.plan.spec.style {
            Style::OriginalTo => b"X-Original-To: ",
            Style::DeliveredTo => b"Delivered-To: ",
            Style::To => return,
        };
        for recipient in &self.plan.envelope.recipients {
            self.line(&[name, &recipient.path]);
        }
    }

    fn trace(&mut self) {
        let mut time = self.plan.envelope.arrival;
        let mut id = Vec::with_capacity(16);
        let mut date = Vec::with_capacity(40);
        for hop in 0..self.plan.spec.received {
            id.clear();
            hex(&mut id, self.rng.next() >> 16, 12);
            date.clear();
            rfc5322(&mut date, time);
            let (from, by) = if hop == 0 {
                (&b"gate.example.net"[..], &b"queue.corp.example"[..])
            } else {
                (&b"out.shop.test"[..], &b"gate.example.net"[..])
            };
            self.line(&[b"Received: from ", from, b" (", from, b" [192.0.2.17])"]);
            self.line(&[b"\tby ", by, b" (Postfix) with ESMTPS id ", &id, b";"]);
            self.line(&[b"\t", &date]);
            time -= i64::try_from(self.rng.below(20)).unwrap_or(0) * SECOND;
        }
        for _ in 0..self.plan.spec.delivered_to {
            self.line(&[b"Delivered-To: somebody@forward.test"]);
        }
    }

    fn signature(&mut self) {
        self.line(&[
            b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/simple; d=example.net; s=mail;",
        ]);
        self.put(b"\tb=");
        self.base64(70);
        self.put(b"\t");
        self.base64(70);
    }

    fn from(&mut self) {
        let address = match &self.plan.envelope.reverse {
            Reverse::Path(path) => path.clone(),
            Reverse::Null => b"MAILER-DAEMON@example.net".to_vec(),
            _ => b"somebody@example.net".to_vec(),
        };
        if self.rng.chance(600) {
            self.put(b"\"");
            self.phrase(2);
            self.put(b"\" <");
            self.line(&[&address, b">"]);
        } else {
            self.line(&[&address]);
        }
    }

    /// Words in the plan's charset: raw, or plain where the header section is to be clean.
    fn phrase(&mut self, count: u64) {
        let charset = if self.plan.spec.raw { self.plan.spec.charset } else { Charset::Ascii };
        words(self.out, &mut self.rng, charset, count);
    }

    fn to(&mut self) {
        let list = &self.plan.envelope.recipients;
        if list.is_empty() {
            return;
        }
        let shown: Vec<&Recipient> = list.iter().filter(|one| one.valid).take(10).collect();
        if shown.is_empty() {
            return self.line(&[b"To: undisclosed-recipients:;"]);
        }
        self.put(b"To: ");
        for (at, recipient) in shown.iter().enumerate() {
            if at > 0 {
                self.line(&[b","]);
                self.put(b"\t");
            }
            if self.rng.chance(400) {
                self.put(b"\"");
                self.phrase(2);
                self.put(b"\" <");
                self.put(&recipient.path);
                self.put(b">");
            } else {
                self.put(&recipient.path);
            }
        }
        self.line(&[]);
    }

    fn subject(&mut self) {
        let spec = &self.plan.spec;
        self.put(b"Subject: ");
        if let Some(subject) = &spec.subject {
            return self.line(&[subject]);
        }
        if self.rng.chance(300) {
            self.put(b"Re: ");
        }
        let count = self.rng.between(2, 7);
        if spec.raw || spec.charset == Charset::Ascii || self.rng.chance(500) {
            self.phrase(count);
        } else {
            let mut raw = Vec::with_capacity(80);
            words(&mut raw, &mut self.rng, spec.charset, 2);
            self.encoded_word(&raw);
        }
        self.line(&[]);
    }

    /// An encoded word of RFC 2047, form Q.
    fn encoded_word(&mut self, raw: &[u8]) {
        self.put(b"=?");
        self.put(self.plan.spec.charset.label().as_bytes());
        self.put(b"?Q?");
        for byte in raw {
            match byte {
                b' ' => self.out.push(b'_'),
                b'a'..=b'z' => self.out.push(*byte),
                _ => {
                    self.out.push(b'=');
                    crate::bytes::hex_upper(self.out, u64::from(*byte), 2);
                }
            }
        }
        self.put(b"?=");
    }

    fn message_id(&mut self) {
        self.put(b"Message-ID: <");
        hex(self.out, self.rng.next(), 16);
        self.out.push(b'.');
        num(self.out, self.plan.envelope.index);
        self.line(&[b"@example.net>"]);
        if self.rng.chance(300) {
            self.put(b"References: <");
            hex(self.out, self.rng.next(), 16);
            self.line(&[b"@example.net>"]);
        }
    }

    fn mime_fields(&mut self) {
        self.line(&[b"MIME-Version: 1.0"]);
        match self.plan.spec.body {
            Body::Text | Body::Nul | Body::FromLines | Body::LongLine | Body::BareCr => {
                self.text_type(b"plain");
            }
            Body::Html => self.text_type(b"html"),
            Body::Records => {
                self.line(&[b"Content-Type: application/octet-stream"]);
                self.line(&[b"Content-Transfer-Encoding: binary"]);
            }
            Body::Alternative => self.multipart(b"alternative", 0),
            Body::Report(_) => self.multipart(b"report; report-type=delivery-status", 0),
            Body::Receipt => self.multipart(b"report; report-type=disposition-notification", 0),
            _ => self.multipart(b"mixed", 0),
        }
    }

    /// The type of a text, and its transfer encoding.
    pub(super) fn text_type(&mut self, subtype: &[u8]) {
        let charset = self.plan.spec.charset;
        let label = charset.label().as_bytes();
        self.line(&[b"Content-Type: text/", subtype, b"; charset=", label]);
        self.line(&[b"Content-Transfer-Encoding: ", charset.transfer().as_bytes()]);
    }

    /// The type of a multipart whose boundary is that of `level`.
    pub(super) fn multipart(&mut self, subtype: &[u8], level: u64) {
        self.line(&[b"Content-Type: multipart/", subtype, b";"]);
        self.put(b"\tboundary=\"");
        self.boundary(level);
        self.line(&[b"\""]);
    }

    /// The boundary of `level`: no other of this message begins with it.
    pub(super) fn boundary(&mut self, level: u64) {
        self.put(b"=_");
        hex(self.out, self.plan.envelope.index, 8);
        self.put(b"_");
        num(self.out, level);
        self.put(b"_");
    }

    /// The header section of a message within this one, but for its type and the empty line.
    pub(super) fn inner_header(&mut self, level: u64) {
        let mut sender = remote(&mut self.rng);
        self.line(&[b"From: ", &sender]);
        sender = remote(&mut self.rng);
        self.line(&[b"To: ", &sender]);
        self.put(b"Subject: ");
        self.phrase(3);
        self.line(&[]);
        let mut date = Vec::with_capacity(40);
        let age = i64::try_from(level.min(1000)).unwrap_or(0) * MINUTE;
        rfc5322(&mut date, self.plan.envelope.arrival - age);
        self.line(&[b"Date: ", &date]);
        self.line(&[b"MIME-Version: 1.0"]);
    }
}
