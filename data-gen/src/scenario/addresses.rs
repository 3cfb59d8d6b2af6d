//! Hazards that lie in the recipients' addresses.
//!
//! What it deliberately does not do: senders, but where the hazard is about both.
//!
//! Invariant: a bad path is bad by the grammar of RFC 5321, 4.1.2, beyond doubt: nothing that a
//! usual extension would take (underscores in domains, for instance). In formats whose envelope
//! stands in header fields, no path holds what a header field can't.

use crate::bytes::{narrow, num};
use crate::envelope::{Recipient, Reverse};
use crate::hazards::Hazard;
use crate::plan::Maker;
use crate::rng::Rng;

/// Paths that are no mailboxes; a header field can carry them.
const BAD: [&[u8]; 36] = [
    b"nobody",
    b"corp.example",
    b"@corp.example",
    b"anna@",
    b"@",
    b"anna@@corp.example",
    b"anna@corp.example@north.example",
    b".anna@corp.example",
    b"anna.@corp.example",
    b"anna..adler@corp.example",
    b"anna@corp..example",
    b"anna@.corp.example",
    b"anna@corp.example.",
    b"anna@-corp.example",
    b"anna@corp-.example",
    b"anna adler@corp.example",
    b"anna@corp example",
    b"anna @corp.example",
    b"\"anna@corp.example",
    b"an\"na@corp.example",
    b"\"an\"na@corp.example",
    b"\"anna\\\"@corp.example",
    b"anna@[192.0.2.1",
    b"anna@192.0.2.1]",
    b"anna@[192.0.2]",
    b"anna@[]",
    b"anna(office)@corp.example",
    b"anna)@corp.example",
    b"anna[1]@corp.example",
    b"anna\\adler@corp.example",
    b"anna:adler@corp.example",
    b"anna@corp.example/office",
    b"c=DE;a= ;p=corp;o=office;s=adler;g=anna",
    b"anna\xff\xfe@corp.example",
    b"an\xe4@corp.example",
    b"anna@corp\xfc.example",
];

/// Paths that only an envelope of its own can carry.
const BAD_RAW: [&[u8]; 14] = [
    b"",
    b" ",
    b"<anna@corp.example",
    b"anna@corp.example>",
    b"<anna@corp.example>",
    b"anna@corp.example ",
    b"anna\0@corp.example",
    b"anna@corp\0.example",
    b"anna\r\n@corp.example",
    b"anna@corp.example\r\nRCPT TO:<ben@corp.example>",
    b"anna\t@corp.example",
    b"anna\x7f@corp.example",
    b"anna\x1b[31m@corp.example",
    b"a,b;c@corp.example",
];

/// A domain of `length` bytes: labels of 50 letters.
fn domain(length: usize) -> Vec<u8> {
    let letter = |at: usize| if at % 51 == 50 && at + 1 < length { b'.' } else { b'd' };
    (0..length).map(letter).collect()
}

fn join(local: usize, domain: &[u8]) -> Vec<u8> {
    let mut out = vec![b'l'; local];
    out.push(b'@');
    out.extend_from_slice(domain);
    out
}

impl Maker<'_> {
    /// A path that is no mailbox.
    pub(super) fn bad_path(&mut self) -> Vec<u8> {
        let raw = self.has_envelope() && self.rng.chance(300);
        let path = if raw { self.rng.pick(&BAD_RAW) } else { self.rng.pick(&BAD) };
        if self.directory.office.is_some() {
            return self.office_bad_path(path);
        }
        path.to_vec()
    }

    pub(super) fn addresses(&mut self, hazard: Hazard) {
        self.plan.envelope.recipients.clear();
        let directory = self.directory;
        let path = match hazard {
            Hazard::InvalidBoth => return self.invalid_both(),
            Hazard::BadResubmitted => return self.resubmitted(),
            Hazard::LongRecipient => return self.long(),
            Hazard::BadAddress => return self.bad_among_good(),
            Hazard::HugeList => return self.huge(),
            Hazard::DuplicateRecipient => return self.duplicates(),
            Hazard::Mixed => return self.mixed(),
            Hazard::ListExpansion => return self.expansion(),
            Hazard::NoRecipients => return,
            Hazard::Postmaster => self.rng.pick(&["postmaster", "Postmaster"]).to_vec(),
            Hazard::Disabled => self.rng.pick(&directory.disabled).to_vec(),
            Hazard::Moved => self.rng.pick(&directory.moved).to_vec(),
            _ => self.nobody(),
        };
        self.add(Recipient::good(path));
        self.maybe_good(200);
    }

    /// Adds a good recipient in some cases.
    pub(super) fn maybe_good(&mut self, per_mille: u64) {
        if self.rng.chance(per_mille) {
            let path = self.good();
            self.add(Recipient::good(path));
        }
    }

    fn invalid_both(&mut self) {
        self.plan.envelope.reverse = loop {
            let path = self.bad_path();
            // No bytes would be the null reverse-path, which is a good one.
            if !path.is_empty() {
                break Reverse::Invalid(path);
            }
        };
        for _ in 0..self.rng.between(1, 3) {
            let path = self.bad_path();
            self.add(Recipient::bad(path));
        }
    }

    fn resubmitted(&mut self) {
        let recipient = match self.rng.below(3) {
            0 => Recipient::bad(self.bad_path()),
            1 => Recipient::good(self.rng.pick(&self.directory.disabled).to_vec()),
            _ => Recipient::good(self.nobody()),
        };
        self.add(recipient);
        self.maybe_good(300);
        self.plan.envelope.attempts = u32::try_from(self.rng.between(1, 40)).unwrap_or(1);
        self.plan.envelope.next_attempt = Some(self.world.options.now);
    }

    fn long(&mut self) {
        let recipient = match self.rng.below(9) {
            0 => Recipient::bad(join(65, b"corp.example")),
            1 => Recipient::bad(join(65, b"example.net")),
            2 => Recipient::bad(join(1, &domain(256))),
            3 => Recipient::bad(join(60, &domain(239))),
            4 => Recipient::bad(join(9_987, b"corp.example")),
            5 => Recipient::bad(join(8, &domain(9_991))),
            6 => Recipient::bad(join(64, &domain(192))),
            7 => Recipient::good(join(64, b"example.net")),
            _ => Recipient::good(join(64, &domain(189))),
        };
        self.add(recipient);
        self.maybe_good(500);
    }

    fn bad_among_good(&mut self) {
        let bad = self.bad_path();
        self.maybe_good(500);
        self.add(Recipient::bad(bad));
        self.maybe_good(500);
    }

    /// How many recipients a huge message has: see README.md.
    fn huge_count(&self) -> u64 {
        let (world, index) = (self.world, self.plan.envelope.index);
        if !world.shares.all {
            return if world.first_huge == Some(index) { 100_000 } else { 5_000 };
        }
        let messages = world.options.messages;
        if messages >= 100_000 && index == messages / 3 { 100_000 } else { 1_000 }
    }

    fn huge(&mut self) {
        let good = &self.directory.good;
        let start = self.rng.place(good.len());
        for number in 0..self.huge_count() {
            let mut path = Vec::with_capacity(40);
            if number % 50 == 7 {
                if let Some(office) = &self.directory.office {
                    path = office.nobody(&mut self.rng);
                } else {
                    path.extend_from_slice(b"nobody.");
                    num(&mut path, number);
                    path.extend_from_slice(b"@north.example");
                }
            } else if number % 5 < 2 {
                let place = (start + narrow(number)) % good.len().max(1);
                path.extend_from_slice(good.get(place).map(Vec::as_slice).unwrap_or_default());
            } else {
                path.extend_from_slice(b"member");
                num(&mut path, number);
                path.extend_from_slice(b"@bulk");
                num(&mut path, number % 7);
                path.extend_from_slice(b".example.net");
            }
            self.plan.envelope.recipients.push(Recipient::good(path));
        }
    }

    fn duplicates(&mut self) {
        let alias = self.rng.chance(200);
        let directory = self.directory;
        let path = if alias { self.rng.pick(&directory.aliases).to_vec() } else { self.good() };
        self.add(Recipient::good(path.clone()));
        self.maybe_good(300);
        for _ in 0..self.rng.between(1, 3) {
            let again = match self.directory.office {
                Some(_) if self.rng.chance(500) => self.other_case(&path),
                Some(_) => path.clone(),
                None => change_case(&mut self.rng, &path),
            };
            self.plan.envelope.recipients.push(Recipient::good(again));
        }
    }

    fn mixed(&mut self) {
        let directory = self.directory;
        for _ in 0..self.rng.between(3, 8) {
            let recipient = match self.rng.below(9) {
                0 => Recipient::good(self.rng.pick(&directory.full).to_vec()),
                1 => Recipient::good(self.rng.pick(&directory.disabled).to_vec()),
                2 => Recipient::good(self.rng.pick(&directory.moved).to_vec()),
                3 => Recipient::good(self.remote()),
                4 => Recipient::good(self.relayed()),
                5 => Recipient::good(self.nobody()),
                6 => Recipient::bad(self.bad_path()),
                _ => Recipient::good(self.good()),
            };
            self.add(recipient);
        }
    }

    fn expansion(&mut self) {
        let directory = self.directory;
        let path = match self.rng.below(6) {
            0 => self.rng.pick(&directory.owned_lists).to_vec(),
            1 => self.rng.pick(&directory.bare_lists).to_vec(),
            2 => self.rng.pick(&directory.chains).to_vec(),
            3 => self.rng.pick(&directory.stale).to_vec(),
            4 => self.rng.pick(&directory.aliases).to_vec(),
            _ => {
                let mut path = b"any.one".to_vec();
                num(&mut path, self.rng.below(1000));
                path.extend_from_slice(b"@catch.example");
                path
            }
        };
        self.add(Recipient::good(path));
        self.maybe_good(300);
    }
}

fn change_case(rng: &mut Rng, path: &[u8]) -> Vec<u8> {
    match rng.below(3) {
        0 => path.to_vec(),
        1 => path.to_ascii_uppercase(),
        _ => {
            let flip = |b: &u8| if rng.chance(500) { b.to_ascii_uppercase() } else { *b };
            path.iter().map(flip).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_have_their_length_and_short_labels() {
        for length in [1, 50, 51, 52, 189, 192, 256, 9_991] {
            let made = domain(length);
            assert_eq!(made.len(), length);
            let labels: Vec<&[u8]> = made.split(|b| *b == b'.').collect();
            assert!(labels.iter().all(|label| (1..=51).contains(&label.len())));
        }
        assert_eq!(join(64, &domain(192)).len(), 257);
        assert_eq!(join(60, &domain(239)).len(), 300);
        assert_eq!(join(8, &domain(9_991)).len(), 10_000);
    }

    #[test]
    fn header_fields_can_carry_the_bad_paths() {
        for path in BAD {
            assert!(!path.is_empty() && path.iter().all(|b| *b >= b' ' && *b != 0x7F));
            assert_eq!(path.trim_ascii(), path);
            assert!(!path.contains(&b'<') && !path.contains(&b'>'));
        }
    }
}
