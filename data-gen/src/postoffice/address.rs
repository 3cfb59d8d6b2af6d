//! Addresses of a post office, and the mailboxes of RFC 5321 that they are judged as
//! (docs/postoffice.md, *Addresses*).
//!
//! What it deliberately does not do: telling whether any bytes are a mailbox. Who makes a path
//! knows that (see `envelope`).
//!
//! Invariant: `original` of what `mailbox`, `gateway` and `bare` make is the address that they were
//! made of.

use crate::bytes::{hex, hex_upper};

/// The domain of all that isn't an address of the Internet.
const INTERNAL: &[u8] = b"msmail.internal";
/// What a local-part has as it is, beside letters and digits.
const ATEXT: &[u8] = b"!#$%&'*+-^_`{|}~?";

/// Appends the local-part that stands for any bytes.
fn local(out: &mut Vec<u8>, text: &[u8]) {
    for byte in text {
        if byte.is_ascii_alphanumeric() || ATEXT.contains(byte) {
            out.push(*byte);
        } else {
            out.push(b'=');
            hex_upper(out, u64::from(*byte), 2);
        }
    }
}

/// Appends the label that stands for any bytes.
fn label(out: &mut Vec<u8>, text: &[u8]) {
    if text.first().is_some_and(|b| !b.is_ascii_alphanumeric()) {
        out.extend_from_slice(b"0-");
    }
    for byte in text {
        if byte.is_ascii_alphanumeric() {
            out.push(*byte);
        } else {
            out.push(b'-');
            hex(out, u64::from(*byte), 2);
        }
    }
}

/// The domain of a post office.
pub(crate) fn domain(network: &[u8], office: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(48);
    label(&mut out, office);
    out.push(b'.');
    label(&mut out, network);
    out.push(b'.');
    out.extend_from_slice(INTERNAL);
    out
}

/// The domain of a gateway.
pub(crate) fn gateway_domain(kind: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(32);
    label(&mut out, kind);
    out.push(b'.');
    out.extend_from_slice(INTERNAL);
    out
}

fn at(text: &[u8], domain: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + domain.len() + 8);
    local(&mut out, text);
    out.push(b'@');
    out.extend_from_slice(domain);
    out
}

/// `NETWORK/POSTOFFICE/MAILBOX` as a mailbox.
pub(crate) fn mailbox(network: &[u8], office: &[u8], name: &[u8]) -> Vec<u8> {
    at(name, &domain(network, office))
}

/// `TYPE:text` as a mailbox.
pub(crate) fn gateway(kind: &[u8], text: &[u8]) -> Vec<u8> {
    at(text, &gateway_domain(kind))
}

/// An address without a type that is a mailbox by its bytes, as a mailbox.
pub(crate) fn bare(text: &[u8]) -> Vec<u8> {
    at(text, INTERNAL)
}

/// Text and mark behind it, of the escapes that begin with `mark`.
fn unescaped(text: &[u8], mark: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        let code = tail.get(..2).filter(|_| *first == mark);
        let byte = code.and_then(|code| std::str::from_utf8(code).ok());
        let byte = byte.and_then(|code| u8::from_str_radix(code, 16).ok());
        out.push(byte.unwrap_or(*first));
        if byte.is_some() {
            rest = tail.get(2..).unwrap_or_default();
        }
    }
    out
}

fn unlabelled(text: &[u8]) -> Vec<u8> {
    let text = if text.starts_with(b"0--") { text.get(2..).unwrap_or_default() } else { text };
    unescaped(text, b'-')
}

/// Local-part and the labels before `msmail.internal`, where the path is in that domain.
fn apart(path: &[u8]) -> Option<(&[u8], Vec<&[u8]>)> {
    let sign = path.iter().rposition(|b| *b == b'@')?;
    let domain = path.get(sign + 1..)?;
    let cut = domain.len().checked_sub(INTERNAL.len())?;
    let (before, last) = domain.split_at_checked(cut)?;
    if !last.eq_ignore_ascii_case(INTERNAL) {
        return None;
    }
    let labels = match before.strip_suffix(b".") {
        Some(labels) => labels.split(|b| *b == b'.').collect(),
        None if before.is_empty() => Vec::new(),
        None => return None,
    };
    Some((path.get(..sign)?, labels))
}

/// The address that a good path stands for: as it is written in P1 and MAI.
pub(crate) fn original(path: &[u8]) -> Vec<u8> {
    let Some((local, labels)) = apart(path) else {
        return [b"SMTP:", path].concat();
    };
    let text = unescaped(local, b'=');
    match labels.as_slice() {
        // `x@msmail.internal` stands for a mailbox of its own only where x holds one.
        [] if text.contains(&b'@') => text,
        [] => [b"SMTP:", path].concat(),
        [kind] => [&unlabelled(kind), b":".as_slice(), &text].concat(),
        [office, network, ..] => {
            [&unlabelled(network), b"/".as_slice(), &unlabelled(office), b"/", &text].concat()
        }
    }
}

/// The same with each letter the other way, big or small, but for the names of post offices.
pub(crate) fn other_case(path: &[u8]) -> Vec<u8> {
    let flip = |b: &u8| {
        if b.is_ascii_lowercase() { b.to_ascii_uppercase() } else { b.to_ascii_lowercase() }
    };
    let Some((part, _)) = apart(path) else {
        return path.iter().map(flip).collect();
    };
    let text: Vec<u8> = unescaped(part, b'=').iter().map(flip).collect();
    at(&text, path.get(part.len() + 1..).unwrap_or_default())
}

/// The path is in `msmail.internal`.
pub(crate) fn is_internal(path: &[u8]) -> bool {
    apart(path).is_some()
}

fn is_of_an_office(key: &[u8], names: &[&[u8]]) -> bool {
    apart(key).is_some_and(|(local, labels)| labels.len() == 2 && names.contains(&local))
}

/// A system's address, of any post office. It is to be in lower case.
pub(crate) fn is_system(key: &[u8]) -> bool {
    is_of_an_office(key, &[b"$system", b"*special"])
}

/// The postmaster of any post office. It is to be in lower case.
pub(crate) fn is_postmaster(key: &[u8]) -> bool {
    is_of_an_office(key, &[b"postmaster"])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    #[test]
    fn addresses_become_mailboxes_and_back() {
        let rows: [(&[u8], Vec<u8>, &str); 12] = [
            (b"NET/PO/ANNA", mailbox(b"NET", b"PO", b"ANNA"), "ANNA@PO.NET.msmail.internal"),
            (
                b"NET/MEL227TRK0/J\x94RG",
                mailbox(b"NET", b"MEL227TRK0", b"J\x94RG"),
                "J=94RG@MEL227TRK0.NET.msmail.internal",
            ),
            (
                b"M\x81N/-X Y/a.b=c",
                mailbox(b"M\x81N", b"-X Y", b"a.b=c"),
                "a=2Eb=3Dc@0--2dX-20Y.M-81N.msmail.internal",
            ),
            (b"N/P/$SYSTEM", mailbox(b"N", b"P", b"$SYSTEM"), "$SYSTEM@P.N.msmail.internal"),
            (
                b"X400:g=Anna;s=Adler",
                gateway(b"X400", b"g=Anna;s=Adler"),
                "g=3DAnna=3Bs=3DAdler@X400.msmail.internal",
            ),
            (
                b"SMTP:a@P.N.msmail.internal",
                gateway(b"SMTP", b"a@P.N.msmail.internal"),
                "a=40P=2EN=2Emsmail=2Einternal@SMTP.msmail.internal",
            ),
            (b"a@b.example", bare(b"a@b.example"), "a=40b=2Eexample@msmail.internal"),
            (b"0 X/0/J", mailbox(b"0 X", b"0", b"J"), "J@0.0-20X.msmail.internal"),
            (b"SMTP:J@msmail.internal", b"J@msmail.internal".to_vec(), "J@msmail.internal"),
            (b"smtp:a@b", gateway(b"smtp", b"a@b"), "a=40b@smtp.msmail.internal"),
            (b"SMTP:a@b.example", b"a@b.example".to_vec(), "a@b.example"),
            (b"FAX:+49 30 1", gateway(b"FAX", b"+49 30 1"), "+49=2030=201@FAX.msmail.internal"),
        ];
        for (address, path, expected) in rows {
            assert_eq!(shown(&path), expected);
            assert_eq!(original(&path), address, "{expected}");
        }
    }

    #[test]
    fn the_other_case_is_of_the_address_not_of_the_escapes() {
        let path = mailbox(b"NET", b"PO", b"aB\x9a.");
        assert_eq!(shown(&other_case(&path)), "Ab=9A=2E@PO.NET.msmail.internal");
        assert_eq!(shown(&other_case(b"a@b.Example")), "A@B.eXAMPLE");
    }

    #[test]
    fn systems_and_postmasters_are_known_in_any_office() {
        assert!(is_system(b"$system@p.n.msmail.internal"));
        assert!(is_system(b"*special@q.m.msmail.internal"));
        assert!(!is_system(b"$system@example.net"));
        assert!(is_postmaster(b"postmaster@p.n.msmail.internal"));
        assert!(!is_postmaster(b"postmaster@x400.msmail.internal"));
    }
}
