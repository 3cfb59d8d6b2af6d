//! The content of a message, from its plan: header section here and in `header`, body in `body`.
//!
//! What it deliberately does not do: quoting and framing; those belong to the formats.
//!
//! Invariants: content is appended to the buffer and never read back but for its length; in formats
//! without envelopes, the first (topmost) Received field's date is the arrival.

mod body;
mod header;

use crate::World;
use crate::plan::{Plan, Shape};
use crate::rng::Rng;

/// Appends the content of a planned message.
pub(crate) fn write(out: &mut Vec<u8>, world: &World, plan: &Plan, rng: Rng) {
    if plan.spec.shape == Shape::Nothing {
        return;
    }
    let start = out.len();
    let eol: &'static [u8] = if plan.spec.crlf { b"\r\n" } else { b"\n" };
    let mut writer = Writer { out, world, plan, rng, eol };
    writer.header();
    if plan.spec.shape == Shape::HeaderOnly {
        return;
    }
    writer.line(&[]);
    writer.body();
    if let Some(exact) = plan.spec.exact {
        writer.fill(start + exact);
    }
    if plan.spec.shape == Shape::Unterminated {
        let end = out.iter().rposition(|b| !matches!(b, b'\r' | b'\n')).map_or(0, |at| at + 1);
        out.truncate(end);
    }
}

/// Writes one content.
struct Writer<'a> {
    out: &'a mut Vec<u8>,
    world: &'a World,
    plan: &'a Plan,
    rng: Rng,
    eol: &'static [u8],
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// A line of these pieces.
    fn line(&mut self, pieces: &[&[u8]]) {
        for piece in pieces {
            self.out.extend_from_slice(piece);
        }
        self.out.extend_from_slice(self.eol);
    }

    /// Text of about this many bytes, in the plan's charset.
    fn text(&mut self, want: usize) {
        let spec = &self.plan.spec;
        self.world.texts.copy(self.out, &mut self.rng, spec.charset, spec.crlf, want);
    }

    fn base64(&mut self, want: usize) {
        self.world.texts.copy_base64(self.out, &mut self.rng, self.plan.spec.crlf, want);
    }

    /// Fills up to the length `end`, with a newline at the end.
    fn fill(&mut self, end: usize) {
        let room = end.saturating_sub(self.out.len());
        if room > self.eol.len() {
            self.out.resize(end - self.eol.len(), b'x');
            self.out.extend_from_slice(self.eol);
        }
    }
}
