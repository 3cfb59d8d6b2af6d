//! What a post office knows of the world: its GLB, XTN and MEM files (docs/postoffice.md), as
//! mailboxes, domains and routes.
//!
//! Taken when a run is planned and kept with the plan: a run has one picture of it, whatever
//! changes meanwhile. Not here: looking up (`directory`). Invariant: what isn't an active record,
//! or has a name that isn't one, isn't there; a file that is missing or too short is an empty one.

use super::bag::{self, Key, hex_name, hex_name_of, until_nul};
use super::office::{Folder, Office};
use crate::limits;
use crate::mail::msmail;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::io;
use std::path::Path;

/// Bytes of a configuration file that are read.
const GLB_BYTES_MAX: u64 = 64 << 20;

/// What a post office knows. Mailboxes and domains are those of `msmail.internal`, in printable
/// ASCII; a route is `mailbag:NAME`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tables {
    /// Its path in the queue; empty where the queue is the post office.
    pub path: String,
    /// `NETWORK/POSTOFFICE`, as bytes.
    pub own_name: Vec<u8>,
    /// Its serial number.
    pub serial: Vec<u8>,
    /// The domain of its mailboxes.
    pub domain: String,
    /// Mailboxes and the routes to their bags.
    pub mailboxes: Vec<(String, String)>,
    /// Routes to bags that take no more.
    pub full: Vec<String>,
    /// Groups and their members; none where the file of members is missing.
    pub groups: Vec<(String, Option<Vec<String>>)>,
    /// Groups that name a mailbag of no mailbox here, and the number: it is left out.
    #[serde(default)]
    pub strangers: Vec<(String, String)>,
    /// Where mail for POSTMASTER goes: itself a mailbox, or an alias to one.
    pub postmaster: Option<String>,
    /// Domains that are reached by a bag, and the routes to it.
    pub domains: Vec<(String, String)>,
    /// Networks that are reached by a bag as a whole: what the domains of their post offices end
    /// in, and the routes.
    pub networks: Vec<(String, String)>,
    /// The route of mail for the rest of the world: the gateway SMTP.
    pub internet: Option<String>,
}

impl Tables {
    /// Reads them.
    ///
    /// # Errors
    /// A file can't be read.
    pub fn read(office: &Office, path: String) -> io::Result<Self> {
        let glb = |name: &str| {
            let mut file = Vec::new();
            office.read(Folder::Glb, name, GLB_BYTES_MAX, &mut file).map(|_| file)
        };
        let (network, post_office, serial) = master(&glb("MASTER.GLB")?);
        let mut tables = Self {
            path,
            own_name: [&network[..], b"/", &post_office].concat(),
            serial,
            domain: domain(&network, &post_office),
            ..Self::default()
        };
        let users = users(&glb("ACCESS2.GLB")?);
        for user in &users {
            tables.mailboxes.push((tables.own(&user.mailbox), route(&user.bag)));
        }
        tables.groups(office, &glb("GROUP.GLB")?, &users)?;
        tables.mailboxes.push((tables.own(b"$SYSTEM"), "mailbag:SYSTEM".to_owned()));
        let by_name = users.iter().find(|user| user.mailbox.eq_ignore_ascii_case(b"POSTMASTER"));
        let admin = || users.iter().find(|user| user.bag == "00000000");
        tables.postmaster = by_name.or_else(admin).map(|user| tables.own(&user.mailbox));
        tables.networks(office, &network, &glb("NETWORK.GLB")?)?;
        tables.full(office)?;
        Ok(tables)
    }

    fn own(&self, mailbox: &[u8]) -> String {
        path_of(&[&self.own_name[..], b"/", mailbox].concat())
    }

    fn groups(&mut self, office: &Office, file: &[u8], users: &[User]) -> io::Result<()> {
        for record in file.get(4..).unwrap_or_default().chunks_exact(51).filter(|r| is_active(r)) {
            let (Some(name), Some(mem)) = (name(record, 1), hex(record, 12)) else { continue };
            let mut members = Vec::new();
            let mem = format!("{mem}.MEM");
            let found = office.read(Folder::Mem, &mem, limits::MEM_BYTES_MAX, &mut members)?;
            let is_there = found == super::office::Found::Whole;
            let group = self.own(name);
            let mut mailboxes = Vec::new();
            for number in members.as_chunks().0 {
                let bag = hex_name_of(u32::from_le_bytes(*number));
                let bag = String::from_utf8_lossy(&bag).into_owned();
                match users.iter().find(|user| user.bag == bag) {
                    Some(user) => mailboxes.push(self.own(&user.mailbox)),
                    None => self.strangers.push((group.clone(), bag)),
                }
            }
            self.groups.push((group, is_there.then_some(mailboxes)));
        }
        Ok(())
    }

    fn networks(&mut self, office: &Office, own: &[u8], file: &[u8]) -> io::Result<()> {
        for record in file.chunks_exact(122).filter(|record| is_active(record)) {
            let Some(name_of) = name(record, 2) else { continue };
            match record.get(1) {
                Some(0x64) => self.gateway(name_of, hex(record, 33)),
                Some(0x02) => {
                    let network = name(record, 46).unwrap_or(name_of);
                    let Some(bag) = hex(record, 68) else { continue };
                    match name(record, 57) {
                        Some(name) => self.domains.push((domain(network, name), route(&bag))),
                        None => self.networks.push((network_domain(network), route(&bag))),
                    }
                }
                Some(0x00 | 0x10) => self.post_offices(office, name_of, hex(record, 13), own)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn gateway(&mut self, kind: &[u8], bag: Option<String>) {
        let Some(bag) = bag else { return };
        if kind.eq_ignore_ascii_case(b"SMTP") {
            self.internet = Some(route(&bag));
        }
        if kind.iter().all(u8::is_ascii_alphanumeric) {
            let domain = [kind, b".", msmail::ZONE].concat().to_ascii_lowercase();
            self.domains.push((String::from_utf8_lossy(&domain).into_owned(), route(&bag)));
        }
    }

    fn post_offices(
        &mut self,
        office: &Office,
        network: &[u8],
        xtn: Option<String>,
        own: &[u8],
    ) -> io::Result<()> {
        let Some(xtn) = xtn else { return Ok(()) };
        let mut file = Vec::new();
        office.read(Folder::Xtn, &format!("{xtn}.XTN"), GLB_BYTES_MAX, &mut file)?;
        for record in file.chunks_exact(698).filter(|record| is_active(record)) {
            let (Some(post_office), Some(bag)) = (name(record, 1), hex(record, 12)) else {
                continue;
            };
            let domain = domain(network, post_office);
            let is_own = network.eq_ignore_ascii_case(own) && domain == self.domain;
            if !is_own {
                self.domains.push((domain, route(&bag)));
            }
        }
        Ok(())
    }

    /// Looks which bags of mailboxes take no more.
    fn full(&mut self, office: &Office) -> io::Result<()> {
        let routes: HashSet<&String> = self.mailboxes.iter().map(|(_, route)| route).collect();
        let mut full = Vec::new();
        for route in routes {
            let Some(bag) = route.strip_prefix("mailbag:") else { continue };
            let mbg = office.path(Folder::Mbg, &format!("{bag}.MBG"));
            if slots_of(&mbg) >= bag::SLOTS_MAX && live(office, bag)? >= bag::SLOTS_MAX {
                full.push(route.clone());
            }
        }
        full.sort_unstable();
        self.full = full;
        Ok(())
    }
}

/// Slots of an MBG, by its length.
fn slots_of(mbg: &Path) -> u32 {
    let len = mbg.metadata().map_or(0, |metadata| metadata.len());
    u32::try_from(len / bag::RECORD_BYTES as u64).unwrap_or(u32::MAX)
}

/// Live slots of a bag that has all 4096; a bag without KEY has no deleted ones.
fn live(office: &Office, bag: &str) -> io::Result<u32> {
    let mut key = Vec::new();
    let name = format!("{bag}.KEY");
    office.read(Folder::Key, &name, limits::KEY_BYTES_MAX, &mut key)?;
    Ok(Key::read(&key).map_or(bag::SLOTS_MAX, |key| key.live(bag::SLOTS_MAX)))
}

/// A user of ACCESS2.
struct User {
    mailbox: Vec<u8>,
    bag: String,
}

fn users(file: &[u8]) -> Vec<User> {
    let active = file.chunks_exact(69).filter(|record| is_active(record));
    let users = active.filter_map(|record| {
        Some(User { mailbox: name(record, 1)?.to_vec(), bag: hex(record, 12)? })
    });
    users.collect()
}

/// The mailbox whose bag this is, as an address.
///
/// # Errors
/// A file can't be read.
pub fn owner(office: &Office, bag: &str) -> io::Result<Option<Vec<u8>>> {
    let mut file = Vec::new();
    office.read(Folder::Glb, "ACCESS2.GLB", GLB_BYTES_MAX, &mut file)?;
    let Some(user) = users(&file).into_iter().find(|user| user.bag == bag) else {
        return Ok(None);
    };
    Ok(Some([&own_name(office)?[..], b"/", &user.mailbox].concat()))
}

/// `NETWORK/POSTOFFICE` of a post office.
///
/// # Errors
/// MASTER.GLB can't be read.
pub fn own_name(office: &Office) -> io::Result<Vec<u8>> {
    let mut file = Vec::new();
    office.read(Folder::Glb, "MASTER.GLB", GLB_BYTES_MAX, &mut file)?;
    let (network, post_office, _) = master(&file);
    Ok([&network[..], b"/", &post_office].concat())
}

/// The serial number in a MASTER.GLB.
pub fn serial(file: &[u8]) -> Vec<u8> {
    master(file).2
}

fn master(file: &[u8]) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let field = |at: usize| name(file, at).unwrap_or_default().to_vec();
    (field(0), field(11), field(22))
}

fn is_active(record: &[u8]) -> bool {
    record.first() == Some(&1)
}

/// A name field of 11 bytes; none where it is empty.
fn name(record: &[u8], at: usize) -> Option<&[u8]> {
    record.get(at..at + 11).map(until_nul).filter(|name| !name.is_empty())
}

/// A hex name, as text.
fn hex(record: &[u8], at: usize) -> Option<String> {
    let name = hex_name(record.get(at..at + 8)?)?;
    Some(String::from_utf8_lossy(&name).into_owned())
}

fn route(bag: &str) -> String {
    format!("mailbag:{bag}")
}

fn path_of(address: &[u8]) -> String {
    let mut path = Vec::new();
    msmail::to_path(address, &mut path);
    String::from_utf8_lossy(&path).into_owned()
}

/// The domain of a post office's mailboxes, in lower case.
fn domain(network: &[u8], post_office: &[u8]) -> String {
    let path = path_of(&[network, b"/", post_office, b"/x"].concat());
    path.split_once('@').map_or_else(String::new, |(_, domain)| domain.to_ascii_lowercase())
}

/// The domain that those of all post offices of a network end in.
fn network_domain(network: &[u8]) -> String {
    domain(network, b"x").split_once('.').map_or_else(String::new, |(_, rest)| rest.to_owned())
}
