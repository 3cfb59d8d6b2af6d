//! The directory of a generated queue: which addresses exist, as text and as tables to expect from.
//!
//! What it deliberately does not do: reading a directory file. The tables are filled beside the
//! text, by the same calls.
//!
//! Invariants: an address is listed once; keys of the tables are in lower case; each alias, list
//! and catch-all leads to a good mailbox or a relayed domain in at most six levels, but for the
//! stale aliases, which lead to nobody.

use std::collections::{HashMap, HashSet};

use crate::bytes::{narrow, num};
use crate::postoffice::{Office, address};
use crate::rng::Rng;

/// Local domains with mailboxes.
pub(crate) const LOCAL: [&str; 4] =
    ["corp.example", "north.example", "south.example", "mail.west.example"];
/// A local domain whose unlisted addresses go to one mailbox.
pub(crate) const CATCH_ALL: &str = "catch.example";
/// A local domain without any mailbox.
pub(crate) const EMPTY: &str = "empty.example";
/// Domains that the directory relays.
pub(crate) const RELAYED: [&str; 2] = ["partner.example", "legacy.example"];
/// Domains that the directory doesn't know.
pub(crate) const REMOTE: [&str; 6] = [
    "example.net",
    "example.com",
    "mail.example.org",
    "uni.test",
    "shop.test",
    "lists.office.test",
];

const FIRST: [&str; 24] = [
    "anna", "ben", "carla", "david", "elena", "frank", "greta", "hugo", "irina", "jonas", "karin",
    "liam", "maria", "nils", "olga", "peter", "quinn", "rosa", "sven", "tina", "ulrich", "vera",
    "wim", "yusuf",
];
const LAST: [&str; 24] = [
    "adler", "becker", "chan", "diaz", "ehlers", "fischer", "garcia", "hansen", "ivanov", "jansen",
    "kim", "larsen", "moreau", "nowak", "okafor", "petrov", "quist", "rossi", "schmidt", "tanaka",
    "ueda", "vogel", "weber", "young",
];

/// What an address of the directory is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A mailbox that takes mail.
    Good,
    /// A full mailbox.
    Full,
    /// A mailbox that takes no mail.
    Disabled,
    /// Its owner has gone.
    Moved,
    /// A group whose members are lost.
    Vanished,
    /// Mail goes to these instead.
    Alias(Vec<Vec<u8>>),
    /// Mail goes to these, and comes from the owner.
    List {
        /// Who gets reports.
        owner: Option<Vec<u8>>,
        /// Who gets the mail.
        members: Vec<Vec<u8>>,
    },
}

/// What a domain of the directory is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Domain {
    /// Local, with the target of what isn't listed.
    Local(Option<Vec<u8>>),
    /// Relayed by a route.
    Relayed,
}

/// The directory: text, tables, and lists to pick from.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    pub(crate) text: Vec<u8>,
    entries: HashMap<Vec<u8>, Entry>,
    domains: HashMap<Vec<u8>, Domain>,
    system_keys: HashSet<Vec<u8>>,
    pub(crate) good: Vec<Vec<u8>>,
    pub(crate) full: Vec<Vec<u8>>,
    pub(crate) disabled: Vec<Vec<u8>>,
    pub(crate) moved: Vec<Vec<u8>>,
    pub(crate) aliases: Vec<Vec<u8>>,
    pub(crate) chains: Vec<Vec<u8>>,
    pub(crate) stale: Vec<Vec<u8>>,
    pub(crate) owned_lists: Vec<Vec<u8>>,
    pub(crate) bare_lists: Vec<Vec<u8>>,
    pub(crate) odd: Vec<Vec<u8>>,
    pub(crate) systems: Vec<Vec<u8>>,
    pub(crate) postmaster: Vec<u8>,
    /// The post office, where the queue is one.
    pub(crate) office: Option<Office>,
}

/// An address in lower case (ASCII letters), as the tables know it.
pub(crate) fn key(address: &[u8]) -> Vec<u8> {
    address.to_ascii_lowercase()
}

/// The domain of an address, in lower case.
pub(crate) fn domain(address: &[u8]) -> Vec<u8> {
    let at = address.iter().rposition(|b| *b == b'@').map_or(address.len(), |at| at + 1);
    key(address.get(at..).unwrap_or_default())
}

/// Appends a name such as `anna.schmidt12`.
pub(crate) fn person(out: &mut Vec<u8>, rng: &mut Rng, number: u64) {
    out.extend_from_slice(rng.pick(&FIRST));
    out.push(b'.');
    out.extend_from_slice(rng.pick(&LAST));
    num(out, number);
}

/// An address in a domain that the directory doesn't know.
pub(crate) fn remote(rng: &mut Rng) -> Vec<u8> {
    let mut out = Vec::with_capacity(40);
    let number = rng.below(100_000);
    person(&mut out, rng, number);
    out.push(b'@');
    out.extend_from_slice(rng.pick(&REMOTE));
    out
}

/// An address that nobody has, in a local domain.
pub(crate) fn unknown(rng: &mut Rng) -> Vec<u8> {
    let mut out = b"gone".to_vec();
    crate::bytes::hex(&mut out, rng.next() >> 16, 12);
    out.push(b'@');
    let empty = rng.chance(50);
    out.extend_from_slice(if empty { EMPTY.as_bytes() } else { rng.pick(&LOCAL) });
    out
}

impl Directory {
    /// The directory for a queue of `messages` messages.
    pub(crate) fn new(seed: u64, messages: u64) -> Self {
        let mut rng = Rng::new(seed, u64::MAX - 200);
        let mut out = Self::default();
        let size = (messages / 10).clamp(300, 50_000);
        out.text.extend_from_slice(b"# A generated directory: see docs/directory.md\n\n");
        out.add_domains();
        out.add_odd();
        for number in 0..size {
            let address = fresh(&mut rng, number);
            match rng.below(100) {
                0 => out.add_plain(&address, Entry::Full),
                1 => out.add_plain(&address, Entry::Disabled),
                2 => out.add_moved(address, &mut rng),
                3..=6 if out.good.len() > 20 => out.add_alias(address, &mut rng, number),
                7 if out.good.len() > 20 => out.add_list(&address, &mut rng),
                _ => out.add_plain(&address, Entry::Good),
            }
        }
        out.add_one_of_each(&mut rng, size);
        out
    }

    fn add_domains(&mut self) {
        let target = b"anyone@corp.example".to_vec();
        self.line(&[b"@corp.example"]);
        self.line(&[b"@empty.example"]);
        self.line(&[b"@catch.example", b"catch-all", &target]);
        self.line(&[b"@partner.example", b"relay", b"smtp:[mx.partner.example]:25"]);
        self.line(&[b"@legacy.example", b"relay"]);
        for name in LOCAL {
            self.domains.insert(name.into(), Domain::Local(None));
        }
        self.domains.insert(EMPTY.into(), Domain::Local(None));
        self.domains.insert(CATCH_ALL.into(), Domain::Local(Some(target.clone())));
        for name in RELAYED {
            self.domains.insert(name.into(), Domain::Relayed);
        }
        self.postmaster = b"postmaster@corp.example".to_vec();
        let postmaster = self.postmaster.clone();
        self.add_plain(&postmaster, Entry::Good);
        self.add_plain(&target, Entry::Good);
        self.line(&[b"postmaster", &postmaster]);
        for address in ["dirsync@corp.example", "replication@corp.example", "monitor@example.net"] {
            self.line(&[b"system", address.as_bytes()]);
            self.system_keys.insert(address.into());
            self.systems.push(address.into());
        }
    }

    /// Addresses that are good, but hard to read.
    fn add_odd(&mut self) {
        let odd = [
            "\"john doe\"@corp.example",
            "\"a@b\"@north.example",
            "\"quote\\\"d\"@south.example",
            "o'neil+tag@corp.example",
            "!#$%&*-/=?^_`{|}~@corp.example",
            "j\u{f6}rg.m\u{fc}ller@corp.example",
            "\u{438}\u{440}\u{438}\u{43d}\u{430}@north.example",
            "listed@catch.example",
        ];
        for address in odd {
            self.add_plain(address.as_bytes(), Entry::Good);
            self.odd.push(address.into());
        }
    }

    /// What every directory has, however small: one of each kind, and chains of aliases.
    fn add_one_of_each(&mut self, rng: &mut Rng, size: u64) {
        for number in size..size + 4 {
            self.add_plain(&fresh(rng, number), Entry::Full);
            self.add_plain(&fresh(rng, number + 10), Entry::Disabled);
            self.add_moved(fresh(rng, number + 20), rng);
            self.add_alias(fresh(rng, number + 30), rng, number);
            self.add_list(&fresh(rng, number + 40), rng);
            self.add_list(&fresh(rng, number + 50), rng);
            let nobody = unknown(rng);
            let stale = fresh(rng, number + 60);
            self.put_alias(&stale, vec![nobody]);
            self.stale.push(stale);
            let mut target = rng.pick(&self.good).to_vec();
            for level in 0..5 {
                let link = fresh(rng, number + 100 + level * 10);
                self.put_alias(&link, vec![target]);
                target = link;
            }
            self.chains.push(target);
        }
    }

    /// Appends a line of the text.
    pub(crate) fn line(&mut self, words: &[&[u8]]) {
        for (at, word) in words.iter().enumerate() {
            if at > 0 {
                self.text.push(if at == 1 { b' ' } else { b'\t' });
            }
            self.text.extend_from_slice(word);
        }
        self.text.push(b'\n');
    }

    /// A mailbox in the text and the tables.
    pub(crate) fn add_plain(&mut self, address: &[u8], entry: Entry) {
        let (list, word) = match entry {
            Entry::Full => (&mut self.full, Some("full")),
            Entry::Disabled => (&mut self.disabled, Some("disabled")),
            _ => (&mut self.good, None),
        };
        list.push(address.to_vec());
        match word {
            Some(word) => self.line(&[address, word.as_bytes()]),
            None => self.line(&[address]),
        }
        self.entries.insert(key(address), entry);
    }

    /// A mailbox whose owner has gone.
    pub(crate) fn add_moved(&mut self, address: Vec<u8>, rng: &mut Rng) {
        let new = if rng.chance(500) { remote(rng) } else { unknown(rng) };
        self.put_moved(address, &new);
    }

    /// The same, where it has gone being given.
    pub(crate) fn put_moved(&mut self, address: Vec<u8>, new: &[u8]) {
        self.line(&[&address, b"moved", new]);
        self.entries.insert(key(&address), Entry::Moved);
        self.moved.push(address);
    }

    fn add_alias(&mut self, address: Vec<u8>, rng: &mut Rng, number: u64) {
        let count = if rng.chance(700) { 1 } else { rng.between(2, 4) };
        let targets = (0..count).map(|_| self.target(rng, number)).collect();
        self.put_alias(&address, targets);
        self.aliases.push(address);
    }

    /// An alias in the text and the tables, but for the lists to pick from.
    pub(crate) fn put_alias(&mut self, address: &[u8], targets: Vec<Vec<u8>>) {
        let words: Vec<&[u8]> =
            [address, b"alias"].into_iter().chain(targets.iter().map(Vec::as_slice)).collect();
        self.line(&words);
        self.entries.insert(key(address), Entry::Alias(targets));
    }

    fn add_list(&mut self, address: &[u8], rng: &mut Rng) {
        let most = if rng.chance(100) { 40 } else { 8 };
        let count = rng.between(3, most);
        let members: Vec<Vec<u8>> = (0..narrow(count)).map(|_| self.target(rng, count)).collect();
        let owner = (self.owned_lists.len() <= self.bare_lists.len())
            .then(|| rng.pick(&self.good).to_vec());
        self.put_list(address, owner, members);
    }

    /// A list in the text and the tables.
    pub(crate) fn put_list(
        &mut self,
        address: &[u8],
        owner: Option<Vec<u8>>,
        members: Vec<Vec<u8>>,
    ) {
        let shown = owner.as_ref().map(|owner| [b"owner=", owner.as_slice()].concat());
        let words: Vec<&[u8]> = [address, b"list"]
            .into_iter()
            .chain(shown.as_deref())
            .chain(members.iter().map(Vec::as_slice))
            .collect();
        self.line(&words);
        let lists = if owner.is_some() { &mut self.owned_lists } else { &mut self.bare_lists };
        lists.push(address.to_vec());
        self.entries.insert(key(address), Entry::List { owner, members });
    }

    /// A target that takes mail: mostly a mailbox.
    fn target(&self, rng: &mut Rng, number: u64) -> Vec<u8> {
        match rng.below(20) {
            0 => remote(rng),
            1 => {
                let mut out = Vec::new();
                person(&mut out, rng, number);
                out.push(b'@');
                out.extend_from_slice(rng.pick(&RELAYED));
                out
            }
            _ => rng.pick(&self.good).to_vec(),
        }
    }

    /// What the address is, if it is listed. The address is to be in lower case.
    pub(crate) fn entry(&self, key: &[u8]) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// What the domain is, if the directory knows it. The domain is to be in lower case.
    pub(crate) fn domain(&self, name: &[u8]) -> Option<&Domain> {
        self.domains.get(name)
    }

    /// The address is a system's. It is to be in lower case.
    pub(crate) fn is_system(&self, key: &[u8]) -> bool {
        self.system_keys.contains(key) || self.office.is_some() && address::is_system(key)
    }

    /// The address is another form of the null reverse-path. It is to be in lower case.
    pub(crate) fn is_null(&self, key: &[u8]) -> bool {
        self.office.is_some() && address::is_postmaster(key)
    }

    /// Mail to an address in a domain that isn't known goes nowhere.
    pub(crate) fn refuses(&self, path: &[u8]) -> bool {
        self.office.as_ref().is_some_and(|one| !one.smtp || address::is_internal(path))
    }

    /// Puts an address into the tables that stands in no text: a post office knows it.
    pub(crate) fn know(&mut self, address: &[u8], entry: Entry) {
        let list = match &entry {
            Entry::Good => Some(&mut self.good),
            Entry::Full => Some(&mut self.full),
            Entry::List { .. } => Some(&mut self.bare_lists),
            _ => None,
        };
        if let Some(list) = list {
            list.push(address.to_vec());
        }
        self.entries.insert(key(address), entry);
    }

    /// Puts a domain into the tables that stands in no text.
    pub(crate) fn know_domain(&mut self, name: &[u8], domain: Domain) {
        self.domains.insert(key(name), domain);
    }
}

fn fresh(rng: &mut Rng, number: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(40);
    person(&mut out, rng, number);
    out.push(b'@');
    let first = rng.chance(500);
    out.extend_from_slice(if first {
        LOCAL.first().map_or("", |d| d).as_bytes()
    } else {
        rng.pick(&LOCAL)
    });
    out
}
