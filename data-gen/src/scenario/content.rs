//! Hazards that lie in the content: none of them may decide a message's fate.
//!
//! What it deliberately does not do: writing the content (see `content`); recipients, but where the
//! report about the content is what could go wrong.
//!
//! Invariant: what these hazards write into `fields` ends with a line end and stands last in the
//! header section, where it can't hide a field that routing needs.

use crate::bytes::num;
use crate::envelope::Recipient;
use crate::hazards::Hazard;
use crate::plan::{Body, Maker, Shape};
use crate::text::Charset;

const REPLY_TO: [&[u8]; 9] = [
    b"<<<>>>",
    b"\"unbalanced <anna@corp.example",
    b"anna@@corp.example,,;;<",
    b"@",
    b"",
    b"=?utf-8?B?////?= <=?utf-8?Q?=00=0D=0A?=@x>",
    b"group: anna@corp.example, (((((((((( ;",
    b"\xff\xfe\xfd <\x80@\x81>",
    b"MS:NET/PO/USER; SMTP:; X400:c=DE;a= ;p=",
];

const DATES: [&[u8]; 8] = [
    b"Thu, 1 Jan 1970 00:00:00 +0000",
    b"Fri, 31 Dec 9999 23:59:59 +0000",
    b"Mon, 1 Jan 1601 00:00:00 +0000",
    b"Fri, 2 Jan 2026 03:04:05 +1400",
    b"Fri, 2 Jan 2026 03:04:05 -1200",
    b"Fri, 2 Jan 26 03:04 EST",
    b"2 Jan 2026 03:04:60 -0000 (leap)",
    b"Sun, 29 Feb 2032 12:00:00 Z",
];

const STRANGE: [&[u8]; 10] = [
    b"X!#$%&'*+-.^_`|~: strange name",
    b"x: ",
    b"X-Empty:",
    b"X-Space-Before-Colon : value",
    b"Content-Description: a \x01\x02 control",
    b"X-8bit: \xc0\xc1\xff",
    b"X-MAPI-0x8005001E: \xe4\xf6\xfc",
    b"X-Comment: ((((((((((nested))))))))))",
    b"X-Encoded: =?x-unknown?Q?=?= =?utf-8?B?*?=",
    b"Importance: whatever",
];

impl Maker<'_> {
    pub(super) fn content(&mut self, hazard: Hazard) {
        match hazard {
            Hazard::BadReplyTo => self.reply_to(),
            Hazard::Charset => self.charset(),
            Hazard::Embedded => self.plan.spec.body = Body::Embedded(self.rng.between(1, 20)),
            Hazard::ZeroAttachment => self.plan.spec.body = Body::ZeroAttachment,
            Hazard::NamedProperties => self.properties(),
            Hazard::Receipts => self.plan.spec.body = Body::Receipt,
            Hazard::SubjectTruncated => self.subject(),
            Hazard::TimestampWrong => self.plan.spec.date = Some(self.rng.pick(&DATES).to_vec()),
            Hazard::PriorityChanged => self.priority(),
            Hazard::SizeNotLogged => {
                let sizes = [4_096, 32_767, 32_768, 65_535, 65_536, 65_537];
                self.plan.spec.exact = sizes.get(self.rng.place(sizes.len())).copied();
                self.plan.spec.body = Body::Text;
                self.plan.spec.size = 10;
            }
            Hazard::AttachmentsSwapped => self.plan.spec.body = Body::AlikeAttachments,
            Hazard::TooManyFiles => {
                self.plan.spec.body = Body::Text;
                self.plan.spec.size = 20;
            }
            Hazard::MissingBody => {
                let nothing = self.has_envelope() && self.rng.chance(500);
                self.plan.spec.shape = if nothing { Shape::Nothing } else { Shape::HeaderOnly };
            }
            Hazard::Empty => self.plan.spec.shape = Shape::Nothing,
            Hazard::NoLastNewline => self.plan.spec.shape = Shape::Unterminated,
            Hazard::Nul => self.nul(),
            Hazard::FromLines => self.plan.spec.body = Body::FromLines,
            Hazard::DeepNesting => self.plan.spec.body = Body::Nested(1_000),
            Hazard::LongLine => self.plan.spec.body = Body::LongLine,
            Hazard::BareCr => self.plan.spec.body = Body::BareCr,
            _ => self.plan.spec.body = Body::Records,
        }
    }

    fn field(&mut self, pieces: &[&[u8]]) {
        let fields = &mut self.plan.spec.fields;
        for piece in pieces {
            fields.extend_from_slice(piece);
        }
        fields.extend_from_slice(if self.plan.spec.crlf { b"\r\n" } else { b"\n" });
    }

    /// In some cases the message fails: its report must quote what is strange in it.
    fn maybe_fails(&mut self) {
        if self.rng.chance(300) {
            let path = self.nobody();
            self.only(Recipient::good(path));
        }
    }

    fn reply_to(&mut self) {
        let value = self.rng.pick(&REPLY_TO);
        self.field(&[b"Reply-To: ", value]);
        if self.rng.chance(200) {
            self.field(&[b"Reply-To: ", value]);
        }
        self.maybe_fails();
    }

    fn charset(&mut self) {
        let charsets = [
            Charset::Koi8r,
            Charset::Hebrew,
            Charset::Arabic,
            Charset::Thai,
            Charset::Iso2022Jp,
            Charset::Latin1,
            Charset::Utf8,
        ];
        let charset = charsets.get(self.rng.place(charsets.len())).copied();
        self.plan.spec.charset = charset.unwrap_or(Charset::Koi8r);
        self.plan.spec.raw = true;
        self.plan.spec.body = if self.rng.chance(500) { Body::Text } else { Body::Alternative };
        self.maybe_fails();
    }

    fn properties(&mut self) {
        if self.rng.chance(250) {
            for number in 0..1_000 {
                let mut name = b"X-Property-".to_vec();
                num(&mut name, number);
                self.field(&[&name, b": value of a named property"]);
            }
        }
        self.plan.envelope.unknown_field = true;
        for _ in 0..self.rng.between(1, 5) {
            let line = self.rng.pick(&STRANGE);
            self.field(&[line]);
        }
        if self.rng.chance(200) {
            self.field(&[b"a line without a colon, though it stands among the fields"]);
        }
        self.maybe_fails();
    }

    fn subject(&mut self) {
        let lengths = [255, 256, 257, 1_000, 10_000];
        let length = lengths.get(self.rng.place(lengths.len())).copied().unwrap_or(255);
        let mut subject = Vec::with_capacity(length);
        while subject.len() < length {
            crate::text::words(&mut subject, &mut self.rng, Charset::Ascii, 8);
            subject.push(b' ');
        }
        subject.truncate(length - 1);
        subject.push(b'.');
        self.plan.spec.subject = Some(subject);
        self.maybe_fails();
    }

    fn priority(&mut self) {
        let level = self.rng.between(1, 5);
        self.plan.envelope.priority = u8::try_from(level).ok();
        let words: [&[u8]; 3] = [b"Importance: high", b"Importance: low", b"Priority: urgent"];
        let mut number = Vec::new();
        num(&mut number, 6 - level);
        self.field(&[b"X-Priority: ", &number]);
        let word = self.rng.pick(&words);
        self.field(&[word]);
    }

    fn nul(&mut self) {
        self.plan.spec.body = Body::Nul;
        if self.rng.chance(300) {
            self.field(&[b"X-Nul: before\0after"]);
        }
        self.maybe_fails();
    }
}
