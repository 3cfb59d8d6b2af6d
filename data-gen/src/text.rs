//! Pools of text, made once from the seed, out of which bodies are copied in whole lines.
//!
//! What it deliberately does not do: language. The words only look like words; what matters is the
//! bytes: line lengths, charsets, escape sequences.
//!
//! Invariants: each line of a pool is complete in itself (an ISO-2022-JP line ends in ASCII state),
//! no line of a pool begins with `From `, and none is longer than 78 bytes with its line end.

use crate::bytes::short;
use crate::rng::Rng;

/// A charset in which content is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Charset {
    /// 7-bit English.
    Ascii,
    /// Several scripts mixed.
    Utf8,
    /// Western European.
    Latin1,
    /// Russian.
    Koi8r,
    /// Western European with typographic marks.
    Cp1252,
    /// Japanese with escape sequences.
    Iso2022Jp,
    /// Hebrew, ISO 8859-8.
    Hebrew,
    /// Arabic, Windows-1256.
    Arabic,
    /// Thai, TIS-620.
    Thai,
}

impl Charset {
    /// All of them, in the order of the pools.
    pub(crate) const ALL: [Self; 9] = [
        Self::Ascii,
        Self::Utf8,
        Self::Latin1,
        Self::Koi8r,
        Self::Cp1252,
        Self::Iso2022Jp,
        Self::Hebrew,
        Self::Arabic,
        Self::Thai,
    ];

    /// Its name in MIME.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Ascii => "us-ascii",
            Self::Utf8 => "utf-8",
            Self::Latin1 => "iso-8859-1",
            Self::Koi8r => "koi8-r",
            Self::Cp1252 => "windows-1252",
            Self::Iso2022Jp => "iso-2022-jp",
            Self::Hebrew => "iso-8859-8",
            Self::Arabic => "windows-1256",
            Self::Thai => "tis-620",
        }
    }

    /// The transfer encoding that raw text of it needs.
    pub(crate) fn transfer(self) -> &'static str {
        match self {
            Self::Ascii | Self::Iso2022Jp => "7bit",
            _ => "8bit",
        }
    }

    fn place(self) -> usize {
        Self::ALL.iter().position(|other| *other == self).unwrap_or(0)
    }
}

const WORDS: [&str; 96] = [
    "about",
    "account",
    "after",
    "again",
    "agenda",
    "all",
    "also",
    "answer",
    "any",
    "archive",
    "are",
    "attached",
    "back",
    "before",
    "best",
    "between",
    "board",
    "budget",
    "build",
    "but",
    "call",
    "can",
    "change",
    "check",
    "city",
    "clear",
    "comes",
    "contract",
    "copy",
    "could",
    "date",
    "day",
    "delivery",
    "department",
    "detail",
    "draft",
    "each",
    "end",
    "every",
    "file",
    "final",
    "first",
    "for",
    "form",
    "found",
    "from",
    "give",
    "good",
    "group",
    "have",
    "hour",
    "idea",
    "in",
    "invoice",
    "is",
    "it",
    "last",
    "letter",
    "list",
    "long",
    "made",
    "mail",
    "make",
    "meeting",
    "minutes",
    "month",
    "more",
    "name",
    "need",
    "new",
    "next",
    "number",
    "of",
    "office",
    "on",
    "order",
    "other",
    "our",
    "page",
    "paper",
    "part",
    "plan",
    "please",
    "print",
    "project",
    "question",
    "report",
    "room",
    "send",
    "sheet",
    "table",
    "team",
    "the",
    "today",
    "week",
    "with",
];

/// Appends one word of raw bytes in `charset`.
fn word(out: &mut Vec<u8>, rng: &mut Rng, charset: Charset) {
    let letters = rng.between(2, 8);
    match charset {
        Charset::Ascii => out.extend_from_slice(rng.pick(&WORDS)),
        Charset::Utf8 => match rng.below(5) {
            0 => scalars(out, rng, letters, 0x0430, 0x044F),
            1 => scalars(out, rng, letters, 0x4E00, 0x9FA5),
            2 => scalars(out, rng, letters, 0x00E0, 0x00F6),
            _ => out.extend_from_slice(rng.pick(&WORDS)),
        },
        Charset::Cp1252 if rng.chance(150) => {
            out.push(0x93);
            out.extend_from_slice(rng.pick(&WORDS));
            out.push(0x94);
        }
        Charset::Latin1 | Charset::Cp1252 => accented(out, rng, 0xE0, 0xFC),
        Charset::Koi8r => range(out, rng, letters, 0xC0, 0xDF),
        Charset::Hebrew => range(out, rng, letters, 0xE0, 0xFA),
        Charset::Arabic => range(out, rng, letters, 0xC7, 0xD6),
        Charset::Thai => range(out, rng, letters, 0xA1, 0xCE),
        Charset::Iso2022Jp => {
            out.extend_from_slice(b"\x1b$B");
            for _ in 0..letters {
                range(out, rng, 1, 0x30, 0x4E);
                range(out, rng, 1, 0x21, 0x7E);
            }
            out.extend_from_slice(b"\x1b(B");
        }
    }
}

fn scalars(out: &mut Vec<u8>, rng: &mut Rng, letters: u64, low: u32, high: u32) {
    for _ in 0..letters {
        let code = u32::try_from(rng.between(low.into(), high.into())).unwrap_or(low);
        let letter = char::from_u32(code).unwrap_or('?');
        out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

fn range(out: &mut Vec<u8>, rng: &mut Rng, letters: u64, low: u8, high: u8) {
    for _ in 0..letters {
        out.push(u8::try_from(rng.between(low.into(), high.into())).unwrap_or(low));
    }
}

fn accented(out: &mut Vec<u8>, rng: &mut Rng, low: u8, high: u8) {
    out.extend_from_slice(rng.pick(&WORDS));
    if rng.chance(300) {
        range(out, rng, 1, low, high);
        out.extend_from_slice(rng.pick(&WORDS));
    }
}

/// Appends `count` words of raw bytes in `charset`, with spaces between.
pub(crate) fn words(out: &mut Vec<u8>, rng: &mut Rng, charset: Charset, count: u64) {
    for i in 0..count {
        if i > 0 {
            out.push(b' ');
        }
        word(out, rng, charset);
    }
}

/// Lines of text with one kind of line end.
#[derive(Debug, Default)]
struct Lines {
    bytes: Vec<u8>,
    starts: Vec<u32>,
}

impl Lines {
    fn push(&mut self, line: &[u8], eol: &[u8]) {
        self.starts.push(short(self.bytes.len()));
        self.bytes.extend_from_slice(line);
        self.bytes.extend_from_slice(eol);
    }

    fn start(&self, line: usize) -> usize {
        self.starts.get(line).map_or(self.bytes.len(), |at| usize::try_from(*at).unwrap_or(0))
    }

    fn copy(&self, out: &mut Vec<u8>, rng: &mut Rng, want: usize) {
        let mut left = want;
        while left > 0 {
            let from = self.start(rng.place(self.starts.len()));
            let target = short(from.saturating_add(left));
            let end = self.start(self.starts.partition_point(|start| *start < target));
            let Some(piece) = self.bytes.get(from..end).filter(|piece| !piece.is_empty()) else {
                return;
            };
            out.extend_from_slice(piece);
            left = left.saturating_sub(piece.len());
        }
    }
}

/// One pool: the same lines with both line ends.
#[derive(Debug, Default)]
struct Pool {
    lf: Lines,
    crlf: Lines,
}

impl Pool {
    fn push(&mut self, line: &[u8]) {
        self.lf.push(line, b"\n");
        self.crlf.push(line, b"\r\n");
    }
}

/// All pools of a queue.
#[derive(Debug)]
pub(crate) struct Texts {
    charsets: Vec<Pool>,
    base64: Pool,
}

impl Texts {
    /// The pools of `seed`: 1 MiB of ASCII and of Base64, less of the others.
    pub(crate) fn new(seed: u64) -> Self {
        let charsets = Charset::ALL.into_iter().map(|charset| text_pool(seed, charset)).collect();
        Self { charsets, base64: base64_pool(seed) }
    }

    /// Appends about `want` bytes of text: whole lines, at least `want` bytes.
    pub(crate) fn copy(
        &self,
        out: &mut Vec<u8>,
        rng: &mut Rng,
        charset: Charset,
        crlf: bool,
        want: usize,
    ) {
        if let Some(pool) = self.charsets.get(charset.place()) {
            if crlf { &pool.crlf } else { &pool.lf }.copy(out, rng, want);
        }
    }

    /// Appends about `want` bytes of Base64: whole lines, at least `want` bytes.
    pub(crate) fn copy_base64(&self, out: &mut Vec<u8>, rng: &mut Rng, crlf: bool, want: usize) {
        if crlf { &self.base64.crlf } else { &self.base64.lf }.copy(out, rng, want);
    }
}

fn text_pool(seed: u64, charset: Charset) -> Pool {
    let mut rng = Rng::new(seed, u64::MAX - u64::from(short(charset.place())));
    let size = if charset == Charset::Ascii { 1 << 20 } else { 1 << 17 };
    let (mut pool, mut line, mut next) = (Pool::default(), Vec::new(), Vec::new());
    while pool.lf.bytes.len() < size {
        let width = if rng.chance(150) { rng.place(60) } else { 70 };
        line.clear();
        loop {
            next.clear();
            word(&mut next, &mut rng, charset);
            if line.len() + 1 + next.len() > width {
                break;
            }
            if !line.is_empty() {
                line.push(b' ');
            }
            line.extend_from_slice(&next);
        }
        pool.push(&line);
    }
    pool
}

fn base64_pool(seed: u64) -> Pool {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut rng = Rng::new(seed, u64::MAX - 100);
    let (mut pool, mut line) = (Pool::default(), Vec::new());
    while pool.lf.bytes.len() < 1 << 20 {
        line.clear();
        for _ in 0..76 {
            line.extend(ALPHABET.get(rng.place(64)));
        }
        pool.push(&line);
    }
    pool
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_hold_short_whole_lines() {
        let texts = Texts::new(3);
        for charset in Charset::ALL {
            let mut out = Vec::new();
            texts.copy(&mut out, &mut Rng::new(1, 1), charset, true, 300_000);
            assert!(out.len() >= 300_000 && out.len() < 300_100, "{charset:?}");
            assert!(out.ends_with(b"\r\n"));
            for line in out.split_inclusive(|b| *b == b'\n') {
                assert!(line.len() <= 78 && !line.starts_with(b"From "), "{charset:?}");
            }
        }
    }

    #[test]
    fn utf8_is_utf8_and_japanese_is_seven_bit() {
        let texts = Texts::new(3);
        let mut out = Vec::new();
        texts.copy(&mut out, &mut Rng::new(1, 1), Charset::Utf8, false, 100_000);
        assert!(std::str::from_utf8(&out).is_ok());
        out.clear();
        texts.copy(&mut out, &mut Rng::new(1, 1), Charset::Iso2022Jp, false, 100_000);
        assert!(out.is_ascii());
    }
}
