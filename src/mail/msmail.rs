//! Addresses of MS Mail (docs/postoffice.md, *Addresses*) as mailboxes of RFC 5321, and back.
//!
//! [`to_path`] and [`to_address`] take any bytes and never fail: what has no counterpart stays as
//! it is, and is judged as the invalid mailbox that it is. Address, path, address gives the same
//! bytes for any bytes; path, address, path for any valid mailbox. Not here: who exists
//! (`directory`), and what an address of a gateway means to it.

use super::address::Mailbox;
use memchr::{memchr, memrchr};
use smallvec::SmallVec;

/// The domain under which the addresses of MS Mail lie.
pub const ZONE: &[u8] = b"msmail.internal";
/// Longest name of a network, a post office, a mailbox, an address type, in bytes.
pub const NAME_BYTES_MAX: usize = 10;

/// An address that is worked on: most fit without allocation.
type Bytes = SmallVec<[u8; 256]>;

/// `NETWORK/POSTOFFICE/MAILBOX` taken apart: three parts of 1 to 10 bytes without `/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address<'a> {
    /// The network.
    pub network: &'a [u8],
    /// The post office in it.
    pub post_office: &'a [u8],
    /// The mailbox in it.
    pub mailbox: &'a [u8],
}

impl Address<'_> {
    /// Takes an address apart; none where it isn't of this form, or is `TYPE:text`, which counts
    /// before it (`X400:c=us/a=att/p=x`).
    pub fn parse(address: &[u8]) -> Option<Address<'_>> {
        let mut parts = address.split(|&byte| byte == b'/');
        let (network, post_office, mailbox) = (parts.next()?, parts.next()?, parts.next()?);
        let is_whole = parts.next().is_none()
            && [network, post_office, mailbox].into_iter().all(is_name)
            && typed(address).is_none();
        is_whole.then_some(Address { network, post_office, mailbox })
    }
}

const fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.len() <= NAME_BYTES_MAX
}

fn is_type(name: &[u8]) -> bool {
    is_name(name) && name.iter().all(u8::is_ascii_alphanumeric)
}

/// `TYPE:text` taken apart.
pub fn typed(address: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr(b':', address.get(..=NAME_BYTES_MAX).unwrap_or(address))?;
    let (name, text) = (address.get(..colon)?, address.get(colon + 1..)?);
    (is_type(name) && !text.is_empty()).then_some((name, text))
}

/// Appends the mailbox of an MS Mail address, or its bytes where it has none.
pub fn to_path(address: &[u8], out: &mut Vec<u8>) {
    match typed(address) {
        Some((b"SMTP", text)) if !is_ours(text) => {
            let is_mailbox = Mailbox::parse(text).is_ok();
            out.extend_from_slice(if is_mailbox { text } else { address });
        }
        Some((name, text)) => {
            write_local(text, out);
            out.push(b'@');
            out.extend_from_slice(name);
            out.push(b'.');
            out.extend_from_slice(ZONE);
        }
        None => untyped_to_path(address, out),
    }
}

fn untyped_to_path(address: &[u8], out: &mut Vec<u8>) {
    if let Some(parts) = Address::parse(address) {
        write_local(parts.mailbox, out);
        out.push(b'@');
        write_label(parts.post_office, out);
        out.push(b'.');
        write_label(parts.network, out);
        out.push(b'.');
        out.extend_from_slice(ZONE);
    } else if Mailbox::parse(address).is_ok() || is_ours(address) {
        write_local(address, out);
        out.push(b'@');
        out.extend_from_slice(ZONE);
    } else {
        out.extend_from_slice(address);
    }
}

/// Appends the MS Mail address of a path without its brackets, or its bytes where it has none.
pub fn to_address(path: &[u8], out: &mut Vec<u8>) {
    if is_ours(path) {
        let mut address = Bytes::new();
        read(path, &mut address);
        out.extend_from_slice(&address);
    } else {
        if Mailbox::parse(path).is_ok() {
            out.extend_from_slice(b"SMTP:");
        }
        out.extend_from_slice(path);
    }
}

/// Whether a path is one that [`to_path`] makes in [`ZONE`], of any length.
///
/// An address can hold such a path, and that one too: each layer is taken off in turn, and each is
/// shorter than the one before.
fn is_ours(path: &[u8]) -> bool {
    if !path.ends_with(ZONE) {
        return false;
    }
    let (mut path, mut address) = (Bytes::from_slice(path), Bytes::new());
    loop {
        address.clear();
        match read(&path, &mut address) {
            None => return false,
            Some(Form::PostOffice) => return Address::parse(&address).is_some(),
            Some(Form::Typed) => match typed(&address) {
                Some((b"SMTP", text)) => path = Bytes::from_slice(text),
                is_typed => return is_typed.is_some(),
            },
            Some(Form::Bare) if typed(&address).is_some() || Address::parse(&address).is_some() => {
                return false;
            }
            Some(Form::Bare) if Mailbox::parse(&address).is_ok() => return true,
            Some(Form::Bare) => std::mem::swap(&mut path, &mut address),
        }
    }
}

/// Which row of the document's table a path looks like.
#[derive(Clone, Copy)]
enum Form {
    PostOffice,
    Typed,
    Bare,
}

/// Appends what a path stands for, if all its escapes are as they are written here.
fn read(path: &[u8], out: &mut Bytes) -> Option<Form> {
    let stem = path.strip_suffix(ZONE)?;
    let at = memrchr(b'@', stem)?;
    let (local, labels) = (stem.get(..at)?, stem.get(at + 1..)?);
    if labels.is_empty() {
        read_local(local, out)?;
        return Some(Form::Bare);
    }
    let labels = labels.strip_suffix(b".")?;
    let Some(dot) = memchr(b'.', labels) else {
        if !is_type(labels) {
            return None;
        }
        out.extend_from_slice(labels);
        out.push(b':');
        read_local(local, out)?;
        return Some(Form::Typed);
    };
    read_label(labels.get(dot + 1..)?, out)?;
    out.push(b'/');
    read_label(labels.get(..dot)?, out)?;
    out.push(b'/');
    read_local(local, out)?;
    Some(Form::PostOffice)
}

const fn is_plain_in_local(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'?' | b'^'..=b'`')
        || matches!(byte, b'{'..=b'~')
}

fn write_local(text: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    write_escaped(text, b'=', DIGITS, is_plain_in_local, out);
}

/// Letters and digits stand for themselves; a label can't begin with the escape's `-`.
fn write_label(text: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    if !text.first().is_some_and(u8::is_ascii_alphanumeric) {
        out.extend_from_slice(b"0-");
    }
    write_escaped(text, b'-', DIGITS, |byte| byte.is_ascii_alphanumeric(), out);
}

fn write_escaped(
    text: &[u8],
    mark: u8,
    digits: &[u8; 16],
    is_plain: impl Fn(u8) -> bool,
    out: &mut Vec<u8>,
) {
    for &byte in text {
        if is_plain(byte) {
            out.push(byte);
        } else {
            out.push(mark);
            let [high, low] = [byte >> 4, byte & 15].map(|half| digits.get(usize::from(half)));
            out.extend(high.into_iter().chain(low));
        }
    }
}

fn read_local(local: &[u8], out: &mut Bytes) -> Option<()> {
    read_escaped(local, b'=', b'A', is_plain_in_local, out)
}

fn read_label(label: &[u8], out: &mut Bytes) -> Option<()> {
    let text = match label {
        [b'-', ..] => return None,
        [b'0', b'-', text @ ..] if text.first() == Some(&b'-') => text,
        _ => label,
    };
    read_escaped(text, b'-', b'a', |byte| byte.is_ascii_alphanumeric(), out)
}

/// Undoes [`write_escaped`]; none where it would have written something else, or nothing.
fn read_escaped(
    mut text: &[u8],
    mark: u8,
    ten: u8,
    is_plain: impl Fn(u8) -> bool,
    out: &mut Bytes,
) -> Option<()> {
    if text.is_empty() {
        return None;
    }
    while let [first, rest @ ..] = text {
        if is_plain(*first) {
            out.push(*first);
            text = rest;
            continue;
        }
        let [high, low, rest @ ..] = rest else { return None };
        let byte = hex_digit(*high, ten)? << 4 | hex_digit(*low, ten)?;
        if *first != mark || is_plain(byte) {
            return None;
        }
        out.push(byte);
        text = rest;
    }
    Some(())
}

/// The value of a hexadecimal digit whose letters begin with `ten`, `A` or `a`.
const fn hex_digit(digit: u8, ten: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        _ if digit >= ten && digit < ten + 6 => Some(digit - ten + 10),
        _ => None,
    }
}

/// Whether a domain is [`ZONE`] or lies in it; case doesn't count.
pub fn in_zone(domain: &[u8]) -> bool {
    let Some(start) = domain.len().checked_sub(ZONE.len()) else { return false };
    let (Some(head), Some(tail)) = (domain.get(..start), domain.get(start..)) else { return false };
    tail.eq_ignore_ascii_case(ZONE) && (head.is_empty() || head.ends_with(b"."))
}

/// What kind of mailbox in [`ZONE`] one is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// A mailbox of a post office.
    PostOffice(PostOfficeMailbox),
    /// A mailbox behind the gateway of this address type, as it is written.
    Gateway(&'a [u8]),
    /// Neither: an address without type or post office, or one with wrong escapes.
    Other,
}

impl<'a> Kind<'a> {
    /// The kind of a mailbox; none when it lies outside of [`ZONE`].
    pub fn of(mailbox: Mailbox<'a>) -> Option<Self> {
        if !in_zone(mailbox.domain) {
            return None;
        }
        Some(Self::in_zone(mailbox).unwrap_or(Self::Other))
    }

    fn in_zone(mailbox: Mailbox<'a>) -> Option<Self> {
        let labels = mailbox.domain.strip_suffix(ZONE)?.strip_suffix(b".")?;
        let mut text = Bytes::new();
        let Some(dot) = memchr(b'.', labels) else {
            read_local(mailbox.local_part, &mut text)?;
            return is_type(labels).then_some(Self::Gateway(labels));
        };
        read_label(labels.get(dot + 1..)?, &mut text)?;
        text.push(b'/');
        read_label(labels.get(..dot)?, &mut text)?;
        text.push(b'/');
        read_local(mailbox.local_part, &mut text)?;
        Address::parse(&text)?;
        Some(Self::PostOffice(PostOfficeMailbox { text: SmallVec::from_slice(&text) }))
    }
}

/// The address of a mailbox of a post office, decoded: at most 32 bytes, without allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostOfficeMailbox {
    /// `NETWORK/POSTOFFICE/MAILBOX`: always one that [`Address::parse`] takes.
    text: SmallVec<[u8; 3 * NAME_BYTES_MAX + 2]>,
}

impl PostOfficeMailbox {
    /// `NETWORK/POSTOFFICE/MAILBOX`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// The same, taken apart.
    pub fn address(&self) -> Address<'_> {
        let none = Address { network: b"", post_office: b"", mailbox: b"" };
        Address::parse(&self.text).unwrap_or(none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(address: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        to_path(address, &mut out);
        out
    }

    fn address(path: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        to_address(path, &mut out);
        out
    }

    /// Both ways, and whether the path is a mailbox.
    fn check(ms_mail: &str, expect: &str, is_mailbox: bool) {
        assert_eq!(String::from_utf8_lossy(&path(ms_mail.as_bytes())), expect);
        assert_eq!(String::from_utf8_lossy(&address(expect.as_bytes())), ms_mail);
        assert_eq!(Mailbox::parse(expect.as_bytes()).is_ok(), is_mailbox, "{expect}");
    }

    #[test]
    fn addresses_are_mapped_as_the_document_says() {
        check("NET/PO/JDOE", "JDOE@PO.NET.msmail.internal", true);
        check("MY NET/P.O./O'NEIL J", "O'NEIL=20J@P-2eO-2e.MY-20NET.msmail.internal", true);
        check("-N/ P/a=b", "a=3Db@0--20P.0--2dN.msmail.internal", true);
        check("0-/0/x.y", "x=2Ey@0.0-2d.msmail.internal", true);
        check("N\n/P/$SYSTEM", "$SYSTEM@P.N-0a.msmail.internal", true);
        check("SMTP:a.b@c.example", "a.b@c.example", true);
        check("SMTP:postmaster", "postmaster", true);
        check("SMTP:@x.example:a@b.example", "@x.example:a@b.example", true);
        check("SMTP:not a mailbox", "SMTP:not a mailbox", false);
        check("smtp:a@b", "a=40b@smtp.msmail.internal", true);
        check("X400:c=us/a=att/p=x", "c=3Dus=2Fa=3Datt=2Fp=3Dx@X400.msmail.internal", true);
        check("a@b.example", "a=40b=2Eexample@msmail.internal", true);
        check("JDOE", "JDOE", false);
        check("", "", false);
        check("SMTP:", "SMTP:", false);
        check("TOOLONGNAME/PO/X", "TOOLONGNAME/PO/X", false);
        check("N/P/", "N/P/", false);
        check("N/P/M/X", "N/P/M/X", false);
    }

    #[test]
    fn what_lies_in_the_zone_already_has_an_address_too() {
        check(
            "SMTP:J@P.N.msmail.internal",
            "J=40P=2EN=2Emsmail=2Einternal@SMTP.msmail.internal",
            true,
        );
        // Escapes that are never written so: a mailbox like any other.
        check("SMTP:=4a@P.N.msmail.internal", "=4a@P.N.msmail.internal", true);
        check("SMTP:=41@P.N.msmail.internal", "=41@P.N.msmail.internal", true);
        check("SMTP:J@P.N.MSMAIL.internal", "J@P.N.MSMAIL.internal", true);
        check("SMTP:a@b.c.d.msmail.internal", "a@b.c.d.msmail.internal", true);
        check("SMTP:a=40b@SMTP.msmail.internal", "a=40b@SMTP.msmail.internal", true);
        check("SMTP:JDOE@msmail.internal", "JDOE@msmail.internal", true);
        check("J@P.N.msmail.internal", "J=40P=2EN=2Emsmail=2Einternal@msmail.internal", true);
        // A network can't be called so: its address would be one of the type `ab`.
        check("SMTP:J@P.ab-3a.msmail.internal", "J@P.ab-3a.msmail.internal", true);
    }

    #[test]
    fn an_address_that_is_too_long_comes_back_all_the_same() {
        for ms_mail in [
            format!("X400:{}", "=".repeat(500)),
            format!("{}@{}.example", "l".repeat(64), "d.".repeat(90)),
            format!("SMTP:{}@b", "x".repeat(65)),
        ] {
            let path = path(ms_mail.as_bytes());
            assert!(Mailbox::parse(&path).is_err());
            assert_eq!(address(&path), ms_mail.as_bytes());
        }
    }

    #[test]
    fn a_local_part_in_the_zone_may_have_240_octets() {
        let mailbox = |n: usize, domain: &str| {
            let path = format!("{}@{domain}", "l".repeat(n));
            Mailbox::parse(path.as_bytes()).map(|m| m.local_part.len())
        };
        assert_eq!(mailbox(240, "X400.msmail.internal"), Ok(240));
        assert_eq!(mailbox(240, "MSMail.Internal"), Ok(240));
        assert!(mailbox(241, "X400.msmail.internal").is_err());
        assert!(mailbox(65, "x400.msmail.internal.example").is_err());
        assert!(mailbox(65, "xmsmail.internal").is_err());
        let domain = format!("{}.msmail.internal", "d".repeat(61));
        assert_eq!(mailbox(240, &domain), Ok(240)); // 318 octets and the brackets
        assert!(mailbox(240, &format!("d{domain}")).is_err());
    }

    #[test]
    fn kinds_are_told_apart() {
        let kind = |path: &'static str| Kind::of(Mailbox::parse(path.as_bytes()).unwrap());
        let Some(Kind::PostOffice(got)) = kind("O=20J@0--2eP.0-2d.msmail.internal") else {
            panic!("not a post office's")
        };
        assert_eq!(got.as_bytes(), b"0-/.P/O J");
        let expect = Address { network: b"0-", post_office: b".P", mailbox: b"O J" };
        assert_eq!(got.address(), expect);
        assert_eq!(kind("a=40b@SMTP.msmail.internal"), Some(Kind::Gateway(b"SMTP")));
        assert_eq!(kind("a@msmail.internal"), Some(Kind::Other));
        assert_eq!(kind("a.b@X400.msmail.internal"), Some(Kind::Other));
        assert_eq!(kind("a@b.c.d.msmail.internal"), Some(Kind::Other));
        assert_eq!(kind("toolongname@b.c.msmail.internal"), Some(Kind::Other));
        assert_eq!(kind("\"a\"@b.c.msmail.internal"), Some(Kind::Other));
        assert_eq!(kind("a@b.c.MSMAIL.internal"), Some(Kind::Other));
        assert_eq!(kind("a@b.c"), None);
        assert_eq!(kind("a@notmsmail.internal"), None);
        assert_eq!(kind("postmaster"), None);
    }

    /// Addresses of every kind, paths in the zone among them, in layers.
    fn any_address() -> impl Strategy<Value = Vec<u8>> {
        let name = "[A-Za-z0-9 .=@-]{0,11}|(?s-u:.{1,3})";
        let name = || proptest::string::bytes_regex(name).unwrap();
        let base = prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..40),
            (name(), name(), name()).prop_map(|(a, b, c)| [a, b, c].join(&b'/')),
            (name(), name()).prop_map(|(a, b)| [a, b].join(&b':')),
            (name(), name()).prop_map(|(a, b)| [a, b].join(&b'@')),
        ];
        base.prop_recursive(5, 32, 1, |inner| {
            prop_oneof![
                inner.clone().prop_map(|a| [b"SMTP:", &a[..]].concat()),
                inner.clone().prop_map(|a| path(&a)),
                inner.clone().prop_map(|a| [&a[..], b"@SMTP.msmail.internal"].concat()),
                inner.clone().prop_map(|a| [&a[..], b"@msmail.internal"].concat()),
                inner.prop_map(|a| [&a[..], b"@P.N.msmail.internal"].concat()),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            cases: 4096,
            ..ProptestConfig::default()
        })]

        #[test]
        fn address_and_path_are_each_others_inverse(bytes in any_address()) {
            prop_assert_eq!(address(&path(&bytes)), bytes.clone());
            if Mailbox::parse(&bytes).is_ok() {
                prop_assert_eq!(path(&address(&bytes)), bytes.clone());
            }
            if let Ok(mailbox) = Mailbox::parse(&path(&bytes))
                && let Some(Kind::PostOffice(got)) = Kind::of(mailbox)
            {
                prop_assert!(Address::parse(got.as_bytes()).is_some());
            }
        }
    }
}
