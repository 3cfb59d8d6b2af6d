//! A post office as a directory: its tables as the entries and domains of one (docs/postoffice.md,
//! *Who exists*).
//!
//! Not here: reading the tables (`queue::postoffice::tables`). Invariant: as with a file, look-ups
//! take no lock and no memory.

use super::table::Table;
use super::{DomainRule, Entry, Folded, List, Listed, Standing, Tables};
use crate::mail::address::Mailbox;
use crate::mail::msmail;
use crate::queue::postoffice::tables::Tables as OfficeTables;
use std::collections::{HashMap, HashSet};

/// What a post office has beside entries and domains.
#[derive(Debug)]
pub(super) struct Extra {
    /// Routes of networks that are reached as a whole, by what their domains end in.
    networks: HashMap<Box<[u8]>, Box<[u8]>, ahash::RandomState>,
    /// The route of mail for the rest of the world.
    internet: Option<Box<[u8]>>,
}

impl Extra {
    /// What is done with mail for a domain that isn't listed.
    pub(super) fn look_up_domain(&self, domain: &[u8]) -> Standing<'_> {
        if !msmail::in_zone(domain) {
            return self.internet.as_deref().map_or(Standing::Remote, Standing::Relay);
        }
        let network = memchr::memchr(b'.', domain).and_then(|dot| domain.get(dot + 1..));
        let mut key = Folded::new();
        let route = network
            .filter(|network| network.len() > msmail::ZONE.len())
            .and_then(|network| key.domain(network))
            .and_then(|network| self.networks.get(network));
        route.map_or(Standing::Remote, |route| Standing::Relay(route))
    }
}

/// `$SYSTEM` and `*SPECIAL` of any post office.
pub(super) fn is_system(mailbox: Mailbox<'_>) -> bool {
    let name = mailbox.local_part;
    let is_named = name.eq_ignore_ascii_case(b"$SYSTEM") || name.eq_ignore_ascii_case(b"*SPECIAL");
    is_named && matches!(msmail::Kind::of(mailbox), Some(msmail::Kind::PostOffice(_)))
}

/// The tables of a directory that knows what a post office knows.
pub(super) fn tables(office: &OfficeTables) -> Tables {
    let mut tables = Tables::default();
    let full: HashSet<&String> = office.full.iter().collect();
    // One more: the postmaster's own.
    let room = office.mailboxes.len() + office.groups.len() + 1;
    tables.entries = Table::new(Entry::Mailbox, room, 0);
    let mut add = |address: &str, rule: Entry| {
        // Of two records of one name the first counts. What isn't a mailbox can't be looked up.
        if let Ok(mailbox) = Mailbox::parse(address.as_bytes()) {
            tables.entries.insert(mailbox, rule);
        }
    };
    for (address, route) in &office.mailboxes {
        let is_full = full.contains(route);
        add(address, if is_full { Entry::Full } else { Entry::Bag(bytes(route)) });
    }
    for (address, members) in &office.groups {
        let list = |members: &Vec<String>| {
            let members = members.iter().map(|member| bytes(member)).collect();
            Entry::List(Box::new(List { owner: None, members }))
        };
        add(address, members.as_ref().map_or(Entry::GroupGone, list));
    }
    if let Some(postmaster) = &office.postmaster {
        let own = format!("POSTMASTER@{}", office.domain);
        add(&own, Entry::Alias(Box::new([bytes(postmaster)])));
    }
    let mut domain = |name: &str, rule: DomainRule| {
        tables.domains.entry(folded(name)).or_insert(Listed { line: 0, rule });
    };
    domain(&office.domain, DomainRule::Local);
    for (name, route) in &office.domains {
        domain(name, DomainRule::Relay(bytes(route)));
    }
    tables.postmaster = office.postmaster.as_ref().map(|postmaster| bytes(postmaster));
    let networks = office.networks.iter().map(|(name, route)| (folded(name), bytes(route)));
    let internet = office.internet.as_ref().map(|route| bytes(route));
    tables.office = Some(Box::new(Extra { networks: networks.collect(), internet }));
    tables
}

fn bytes(text: &str) -> Box<[u8]> {
    text.as_bytes().into()
}

fn folded(text: &str) -> Box<[u8]> {
    text.to_ascii_lowercase().into_bytes().into()
}
