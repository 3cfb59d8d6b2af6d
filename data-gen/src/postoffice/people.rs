//! The directory file beside post offices: what no post office knows.
//!
//! What it deliberately does not do: `system` and `postmaster` lines; a post office has its own.
//!
//! Invariant: what is listed here is in no post office, so that the file is asked.

use crate::bytes::num;
use crate::directory::{Directory, Domain, Entry, remote};
use crate::rng::Rng;

/// Domains and addresses of the Internet, for post offices without a gateway to it.
pub(super) fn outside(out: &mut Directory, rng: &mut Rng) {
    let target = b"anyone@corp.example".to_vec();
    out.line(&[b"@corp.example"]);
    out.line(&[b"@catch.example", b"catch-all", &target]);
    out.line(&[b"@partner.example", b"relay", b"smtp:[mx.partner.example]:25"]);
    out.know_domain(b"corp.example", Domain::Local(None));
    out.know_domain(b"catch.example", Domain::Local(Some(target.clone())));
    out.know_domain(b"partner.example", Domain::Relayed);
    out.add_plain(&target, Entry::Good);
    for address in [
        &b"anna@corp.example"[..],
        b"\"john doe\"@corp.example",
        "j\u{f6}rg@corp.example".as_bytes(),
    ] {
        out.add_plain(address, Entry::Good);
    }
    out.add_plain(b"full@corp.example", Entry::Full);
    out.add_plain(b"off@corp.example", Entry::Disabled);
    out.add_moved(b"left@corp.example".to_vec(), rng);
    out.put_alias(b"info@corp.example", vec![target, b"x@partner.example".to_vec()]);
}

/// Addresses of a post office that it doesn't know itself.
pub(super) fn inside(out: &mut Directory, rng: &mut Rng, domain: &[u8]) {
    let own = |name: &[u8]| [name, b"@", domain].concat();
    for number in 0..3 {
        let mut name = b"EXTRA".to_vec();
        num(&mut name, number);
        out.add_plain(&own(&name), Entry::Good);
    }
    out.add_plain(&own(b"EXTRAFULL"), Entry::Full);
    out.add_plain(&own(b"EXTRAOFF"), Entry::Disabled);
    let (moved, new) = (own(b"EXTRALEFT"), remote(rng));
    out.put_moved(moved, &new);
    let someone = rng.pick(&out.good).to_vec();
    let alias = own(b"EXTRANICK");
    out.put_alias(&alias, vec![someone.clone(), own(b"EXTRA1")]);
    out.aliases.push(alias.clone());
    let chain = own(b"EXTRACHAIN");
    out.put_alias(&chain, vec![alias]);
    out.chains.push(chain);
    let stale = own(b"EXTRASTALE");
    out.put_alias(&stale, vec![own(b"NOSUCHNAME")]);
    out.stale.push(stale);
    let members = vec![own(b"EXTRA0"), someone.clone(), remote(rng)];
    out.put_list(&own(b"EXTRALIST"), Some(someone), members.clone());
    out.put_list(&own(b"EXTRABARE"), None, members);
}
