//! Mailboxes and paths of RFC 5321, and the address lists of RFC 5322 header fields.
//!
//! A [`Mailbox`] is two slices of the bytes it was read from, valid by RFC 5321, 4.1.2 (with UTF-8
//! by RFC 6531), within the limits of 4.5.3.1. Not here: whether it exists (`directory`), and any
//! rewriting: local-parts are opaque.

use super::msmail;
use crate::limits;
use memchr::{memchr, memrchr};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr as _;

/// A mailbox: local-part and domain (RFC 5321, 4.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mailbox<'a> {
    /// The local-part as it stands, quotes included.
    pub local_part: &'a [u8],
    /// The domain, or address literal; empty only for `postmaster` without a domain (RFC 5321,
    /// 4.1.1.3).
    pub domain: &'a [u8],
}

/// Why bytes aren't a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressError {
    /// No bytes at all.
    Empty,
    /// No `@` outside quotes.
    NoDomain,
    /// The local-part is neither a dot-string nor a quoted string.
    LocalPart,
    /// The domain is neither a domain nor an address literal.
    Domain,
    /// A limit of RFC 5321, 4.5.3.1 is passed.
    TooLong,
}

impl AddressError {
    /// Says it in words, for diagnostics.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Empty => "empty address",
            Self::NoDomain => "address without a domain",
            Self::LocalPart => "bad local-part in address",
            Self::Domain => "bad domain in address",
            Self::TooLong => "address too long",
        }
    }
}

impl<'a> Mailbox<'a> {
    /// Reads a mailbox. A source route (RFC 5321, appendix C) before it is passed over; brackets
    /// round it are not.
    ///
    /// # Errors
    /// Says in what way it isn't one; the limits of RFC 5321, 4.5.3.1 count, and in
    /// [`msmail::ZONE`] wider ones.
    pub fn parse(path: &'a [u8]) -> Result<Self, AddressError> {
        let bare = strip_source_route(path);
        if bare.is_empty() {
            return Err(AddressError::Empty);
        }
        if bare.eq_ignore_ascii_case(b"postmaster") {
            return Ok(Self { local_part: bare, domain: b"" });
        }
        if bare.len() > limits::MSMAIL_PATH_BYTES_MAX {
            return Err(AddressError::TooLong);
        }
        let at = split_at_sign(bare)?;
        let (local_part, domain) = (bare.get(..at), bare.get(at + 1..));
        let (Some(local_part), Some(domain)) = (local_part, domain) else {
            return Err(AddressError::NoDomain);
        };
        if !is_local_part(local_part) {
            return Err(AddressError::LocalPart);
        }
        if !is_domain(domain) {
            return Err(AddressError::Domain);
        }
        let (local_part_max, path_max) = if msmail::in_zone(domain) {
            (limits::MSMAIL_LOCAL_PART_BYTES_MAX, limits::MSMAIL_PATH_BYTES_MAX)
        } else {
            (limits::LOCAL_PART_BYTES_MAX, limits::PATH_BYTES_MAX)
        };
        let too_long = local_part.len() > local_part_max
            || domain.len() > limits::DOMAIN_BYTES_MAX
            || bare.len() + 2 > path_max;
        if too_long { Err(AddressError::TooLong) } else { Ok(Self { local_part, domain }) }
    }
}

/// Takes surrounding white space and one pair of brackets off.
pub fn strip_brackets(path: &[u8]) -> &[u8] {
    let path = path.trim_ascii();
    match path {
        [b'<', inner @ .., b'>'] => inner,
        _ => path,
    }
}

/// `@relay,@relay:mailbox` -> `mailbox`. A route that isn't one stays: what stands in it goes
/// wherever the path goes.
fn strip_source_route(path: &[u8]) -> &[u8] {
    let colon = if path.first() == Some(&b'@') { memchr(b':', path) } else { None };
    let Some((route, mailbox)) = colon.and_then(|colon| path.split_at_checked(colon)) else {
        return path;
    };
    let is_relay = |hop: &[u8]| hop.strip_prefix(b"@").is_some_and(is_domain);
    let is_route = route.split(|byte| *byte == b',').all(is_relay);
    mailbox.get(1..).filter(|_| is_route).unwrap_or(path)
}

/// The `@` between local-part and domain: the last one, for a quoted local-part the one after its
/// closing quote.
fn split_at_sign(bare: &[u8]) -> Result<usize, AddressError> {
    if bare.first() != Some(&b'"') {
        return memrchr(b'@', bare).ok_or(AddressError::NoDomain);
    }
    let close = end_of_quoted(bare).ok_or(AddressError::LocalPart)?;
    if bare.get(close) == Some(&b'@') { Ok(close) } else { Err(AddressError::LocalPart) }
}

/// For bytes that begin with a quote: the index after the closing one.
fn end_of_quoted(bytes: &[u8]) -> Option<usize> {
    let mut escaped = false;
    for (index, &byte) in bytes.iter().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(index + 1),
            _ => {}
        }
    }
    None
}

const fn is_atext(byte: u8) -> bool {
    matches!(byte, b'A'..=b'Z' | b'^'..=b'~' | b'/'..=b'9' | b'#'..=b'\'')
        || matches!(byte, b'!' | b'*' | b'+' | b'-' | b'=' | b'?' | 0x80..)
}

/// What a byte is to a text of labels with dots between them; no bit for any that may stand
/// anywhere.
const DOT: u8 = 1;
/// It may not stand beside a dot, or at an end.
const HYPHEN: u8 = 2;
const NOT_ASCII: u8 = 4;
const FORBIDDEN: u8 = 8;
/// It may not stand behind one of these.
const NOT_BEHIND: u32 = 4;

/// The bytes of a dot-string.
#[expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a table of all bytes, made when this is compiled"
)]
static OF_LOCAL_PART: [u8; 256] = {
    let mut kinds = [FORBIDDEN; 256];
    let mut byte = 0;
    while byte < 256 {
        if is_atext(byte as u8) {
            kinds[byte] = if byte < 0x80 { 0 } else { NOT_ASCII };
        }
        byte += 1;
    }
    kinds[b'.' as usize] = DOT | (DOT | HYPHEN) << NOT_BEHIND;
    kinds
};

/// The bytes of a domain. Underscores are taken: real hosts have them.
#[expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a table of all bytes, made when this is compiled"
)]
static OF_DOMAIN: [u8; 256] = {
    let mut kinds = OF_LOCAL_PART;
    let mut byte = 0;
    while byte < 0x80 {
        if !(byte as u8).is_ascii_alphanumeric() {
            kinds[byte] = FORBIDDEN;
        }
        byte += 1;
    }
    kinds[b'.' as usize] = DOT | (DOT | HYPHEN) << NOT_BEHIND;
    kinds[b'-' as usize] = HYPHEN | DOT << NOT_BEHIND;
    kinds[b'_' as usize] = 0;
    kinds
};

/// Labels of what may stand in them, none of them empty, with dots between them. Without a branch
/// for each byte: what comes next in an address can't be foretold.
fn is_dotted(bytes: &[u8], kinds: &[u8; 256]) -> bool {
    let (mut seen, mut misplaced, mut before) = (0, 0, DOT);
    for byte in bytes {
        let kind = kinds.get(usize::from(*byte)).copied().unwrap_or(FORBIDDEN);
        misplaced |= before << NOT_BEHIND & kind;
        seen |= kind;
        before = kind;
    }
    (seen & FORBIDDEN) | misplaced | (before & (DOT | HYPHEN)) == 0
        && (seen & NOT_ASCII == 0 || std::str::from_utf8(bytes).is_ok())
}

/// Dot-string or quoted string (RFC 5321, 4.1.2), with UTF-8 (RFC 6531, 3.3).
fn is_local_part(bytes: &[u8]) -> bool {
    if let [b'"', inner @ .., b'"'] = bytes {
        let mut escaped = false;
        for &byte in inner {
            match byte {
                0..=31 | 127 => return false,
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => return false,
                _ => {}
            }
        }
        return !escaped && std::str::from_utf8(bytes).is_ok();
    }
    is_dotted(bytes, &OF_LOCAL_PART)
}

/// Domain or address literal (RFC 5321, 4.1.2 and 4.1.3).
fn is_domain(bytes: &[u8]) -> bool {
    if let [b'[', inner @ .., b']'] = bytes {
        return is_literal(inner);
    }
    let is_short = |label: &[u8]| label.len() <= LABEL_BYTES_MAX;
    is_dotted(bytes, &OF_DOMAIN)
        && (is_short(bytes) || bytes.split(|byte| *byte == b'.').all(is_short))
}

/// Longest label of a domain in octets (RFC 1035, 2.3.4).
const LABEL_BYTES_MAX: usize = 63;

/// The inside of an address literal (RFC 5321, 4.1.3): an IPv4 address, `IPv6:` and one, or `tag:`
/// and printable text.
fn is_literal(inner: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(inner) else { return false };
    match text.split_once(':') {
        None => Ipv4Addr::from_str(text).is_ok(),
        Some((tag, address)) if tag.eq_ignore_ascii_case("IPv6") => {
            Ipv6Addr::from_str(address).is_ok()
        }
        Some((tag, rest)) => {
            tag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && tag.ends_with(|c: char| c.is_ascii_alphanumeric())
                && !rest.is_empty()
                && rest.bytes().all(|b| matches!(b, 33..=90 | 94..=126))
        }
    }
}

/// Calls `each` with every addr-spec in the value of a To, Cc, Bcc or From field (RFC 5322, 3.4).
///
/// Display names, comments and group names are passed over. What stands where an address should be,
/// but isn't one, is given as it is: it becomes a recipient with an invalid address, and isn't
/// lost.
pub fn each_address<'a>(value: &'a [u8], mut each: impl FnMut(&'a [u8])) {
    let mut start = 0;
    let mut scan = ListScan::default();
    for (index, &byte) in value.iter().enumerate() {
        match scan.step(byte) {
            Boundary::None => {}
            Boundary::GroupStart => start = index + 1,
            Boundary::AddressEnd => {
                emit_address(value.get(start..index), &mut each);
                start = index + 1;
            }
        }
    }
    emit_address(value.get(start..), &mut each);
}

/// What a byte of an address list ends.
enum Boundary {
    None,
    GroupStart,
    AddressEnd,
}

/// Where in an address list we are: in quotes, in a comment, in brackets, in an address.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a state of its own")]
struct ListScan {
    quoted: bool,
    escaped: bool,
    comments: u32,
    bracket: bool,
    /// Behind an `@`: a colon is then part of a domain literal, or damage, and no group's.
    at_sign: bool,
}

impl ListScan {
    fn step(&mut self, byte: u8) -> Boundary {
        if self.escaped {
            self.escaped = false;
            return Boundary::None;
        }
        match byte {
            b'\\' if self.quoted || self.comments > 0 => self.escaped = true,
            b'"' if self.comments == 0 => self.quoted = !self.quoted,
            _ if self.quoted => {}
            b'(' => self.comments += 1,
            b')' => self.comments = self.comments.saturating_sub(1),
            _ if self.comments > 0 => {}
            b'<' => self.bracket = true,
            b'>' => self.bracket = false,
            b',' | b';' if !self.bracket => {
                self.at_sign = false;
                return Boundary::AddressEnd;
            }
            b':' if !self.bracket && !self.at_sign => return Boundary::GroupStart,
            b'@' => self.at_sign = true,
            _ => {}
        }
        Boundary::None
    }
}

fn emit_address<'a>(piece: Option<&'a [u8]>, each: &mut impl FnMut(&'a [u8])) {
    let Some(piece) = piece else { return };
    let bare = addr_spec(piece);
    if !bare.is_empty() {
        each(bare);
    }
}

/// `Name <local@domain>`, `local@domain (comment)` -> `local@domain`.
pub fn addr_spec(piece: &[u8]) -> &[u8] {
    if let Some(open) = unquoted_position(piece, b'<') {
        let inner = piece.get(open + 1..).unwrap_or_default();
        return match memrchr(b'>', inner) {
            Some(close) => inner.get(..close).unwrap_or_default().trim_ascii(),
            None => inner.trim_ascii(),
        };
    }
    without_comments_round(piece)
}

/// What stands between the comments before and behind a text; all of it where a comment has no end.
fn without_comments_round(piece: &[u8]) -> &[u8] {
    let mut scan = ListScan::default();
    let (mut start, mut end) = (None, 0);
    for (index, &byte) in piece.iter().enumerate() {
        let was_in_comment = scan.comments > 0;
        scan.step(byte);
        if !was_in_comment && scan.comments == 0 && !byte.is_ascii_whitespace() {
            start.get_or_insert(index);
            end = index + 1;
        }
    }
    if scan.comments > 0 {
        return piece.trim_ascii();
    }
    piece.get(start.unwrap_or(end)..end).unwrap_or_default()
}

/// First `wanted` outside of quotes and comments.
fn unquoted_position(bytes: &[u8], wanted: u8) -> Option<usize> {
    let mut scan = ListScan::default();
    bytes.iter().position(|&byte| {
        let free = !scan.quoted && scan.comments == 0;
        scan.step(byte);
        free && byte == wanted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &[u8], expect: Result<(&str, &str), AddressError>) {
        let got = Mailbox::parse(path).map(|mailbox| {
            (
                std::str::from_utf8(mailbox.local_part).unwrap(),
                std::str::from_utf8(mailbox.domain).unwrap(),
            )
        });
        assert_eq!(got, expect, "{}", String::from_utf8_lossy(path));
    }

    #[test]
    fn mailboxes_are_read_as_rfc_5321_has_them() {
        use AddressError::{Domain, Empty, LocalPart, NoDomain, TooLong};
        check(b"a@b.example", Ok(("a", "b.example")));
        check(b"a.b+c@b.example", Ok(("a.b+c", "b.example")));
        check(b"@x.example,@y.example:a@b.example", Ok(("a", "b.example")));
        check(b"@x\r\nBcc:a@b.example", Err(LocalPart));
        check(b"@x,y:a@b.example", Err(LocalPart));
        check(b"\"a b\\\"@\"@b.example", Ok(("\"a b\\\"@\"", "b.example")));
        check(b"a@[192.0.2.1]", Ok(("a", "[192.0.2.1]")));
        check(b"Postmaster", Ok(("Postmaster", "")));
        check("j\u{f6}rg@m\u{fc}ller.example".as_bytes(), Ok(("j\u{f6}rg", "m\u{fc}ller.example")));
        check(b"", Err(Empty));
        check(b"a@[IPv6:2001:db8::1]", Ok(("a", "[IPv6:2001:db8::1]")));
        check(b"a@[x-tag:any.thing]", Ok(("a", "[x-tag:any.thing]")));
        check(b"<a@b>", Err(LocalPart));
        check(b"a@b ", Err(Domain));
        check(b"a@[192.0.2]", Err(Domain));
        check(b"a@[IPv6:2001]", Err(Domain));
        check(b"a@[]", Err(Domain));
        check(b"alone", Err(NoDomain));
        check(b"a@", Err(Domain));
        check(b"@b", Err(LocalPart));
        check(b"a@b..c", Err(Domain));
        check(b".a@b", Err(LocalPart));
        check(b"a..b@c", Err(LocalPart));
        check(b"a b@c", Err(LocalPart));
        check(b"a@b@c", Err(LocalPart));
        check(b"\"a@b", Err(LocalPart));
        check(b"a@-b.example", Err(Domain));
        check(b"a\0@b", Err(LocalPart));
        check(b"a\xff@b", Err(LocalPart));
        check(&[b"x".repeat(65), b"@b".to_vec()].concat(), Err(TooLong));
        check(&[b"a@".to_vec(), b"x".repeat(64)].concat(), Err(Domain));
        check(&[b"a@".to_vec(), b"abc.".repeat(63), b"abcd".to_vec()].concat(), Err(TooLong));
        check(&b"x".repeat(100_000), Err(TooLong));
    }

    #[test]
    fn a_mailbox_at_each_limit_is_taken() {
        let local = "l".repeat(64);
        let domain = format!("{}.{}.{}", "d".repeat(63), "e".repeat(63), "f".repeat(60));
        let path = format!("{local}@{domain}");
        assert_eq!(path.len() + 2, 255);
        assert!(Mailbox::parse(path.as_bytes()).is_ok());
    }

    #[test]
    fn address_lists_give_each_address_once() {
        let check = |value: &str, expect: &[&str]| {
            let mut got = Vec::new();
            each_address(value.as_bytes(), |a| got.push(String::from_utf8_lossy(a).into_owned()));
            assert_eq!(got, expect, "{value}");
        };
        check("a@b", &["a@b"]);
        check("A <a@b>, \"B, C\" <c@d>,\r\n e@f (com, ment)", &["a@b", "c@d", "e@f"]);
        check("team: a@b, c@d;, e@f", &["a@b", "c@d", "e@f"]);
        check("undisclosed-recipients:;", &[]);
        check("<a@b", &["a@b"]);
        check("\"unclosed <a@b>", &["\"unclosed <a@b>"]);
        check("broken, a@b", &["broken", "a@b"]);
        check("<@x,@y:a@b>", &["@x,@y:a@b"]);
        check("(x (y)) a@b (c (d) \\) e), f@g(h)", &["a@b", "f@g"]);
        check("a@[IPv6:2001:db8::1], g: b@c;", &["a@[IPv6:2001:db8::1]", "b@c"]);
        check("a@b: c@d", &["a@b: c@d"]);
        check("(all), a@b (no end", &["a@b (no end"]);
        check("", &[]);
    }
}
