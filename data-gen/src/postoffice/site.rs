//! What a post office is: its name, mailboxes, groups, and the ways out of it.
//!
//! What it deliberately does not do: bytes of files (see `glb`), messages (see `letter`).
//!
//! Invariants: a site depends on the options and its place alone; a name has at most 10 bytes and
//! is in use once; each number of a bag is given once, and 0 is the Admin's.

use crate::World;
use crate::bytes::{narrow, pad, short};
use crate::directory::{Directory, Domain, Entry, key};
use crate::hazards::Hazard;
use crate::postoffice::{Office, address};
use crate::rng::Rng;

/// Post offices of one network.
const NETWORK: u64 = 10;

/// A mailbox, a record of ACCESS2.
#[derive(Debug)]
pub(super) struct Mailbox {
    pub(super) name: Vec<u8>,
    pub(super) bag: u32,
    pub(super) active: bool,
    /// All slots of its bag are live.
    pub(super) full: bool,
}

/// A group, a record of GROUP.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: Vec<u8>,
    pub(super) active: bool,
    /// The bags of its members; none: its MEM file is lost.
    pub(super) members: Option<Vec<u32>>,
}

/// A post office elsewhere, a record of an XTN file.
#[derive(Debug)]
pub(super) struct External {
    pub(super) name: Vec<u8>,
    pub(super) bag: u32,
    pub(super) active: bool,
    /// Post offices that are reached through it.
    pub(super) through: u16,
}

/// What a record of NETWORK is.
#[derive(Debug)]
pub(super) enum Way {
    /// The own network, or one that is connected: the post offices in it.
    Network(Vec<External>),
    /// A gateway, and its bag.
    Gateway(u32),
    /// A post office (or, with an empty name, any of the network) that is reached through a bag.
    Indirect(Vec<u8>, u32),
}

/// A record of NETWORK.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) active: bool,
    pub(super) name: Vec<u8>,
    pub(super) own: bool,
    pub(super) way: Way,
}

/// A post office.
#[derive(Debug)]
pub(super) struct Site {
    /// Its place among the post offices.
    pub(super) at: u64,
    /// Its folder within the queue, none where the queue is the post office.
    pub(super) folder: String,
    /// File names are written small.
    pub(super) small: bool,
    pub(super) network: Vec<u8>,
    pub(super) name: Vec<u8>,
    pub(super) mailboxes: Vec<Mailbox>,
    pub(super) groups: Vec<Group>,
    pub(super) networks: Vec<Network>,
    /// The next number of a bag.
    pub(super) next_bag: u32,
}

/// The name of the network of post office `at`: of each fourth with bytes of code page 850.
fn network_name(at: u64) -> Vec<u8> {
    let number = at / NETWORK;
    let mut out = if number % 4 == 3 { b"M\x81N".to_vec() } else { b"NET".to_vec() };
    pad(&mut out, number, 1);
    out
}

/// The name of post office `at`. The first two of a network differ in the tenth character alone.
fn office_name(at: u64) -> Vec<u8> {
    let mut out = match at % NETWORK {
        0 => return b"MEL227TRK".to_vec(),
        1 => return b"MEL227TRK0".to_vec(),
        2 => b"K\x99LN-".to_vec(),
        _ => b"OFFIC".to_vec(),
    };
    pad(&mut out, at, 5);
    out
}

const NAMES: [&str; 12] = [
    "ANNA", "BEN", "CARLA", "DAVID", "ELENA", "FRANK", "GRETA", "HUGO", "IRINA", "JONAS", "KARIN",
    "LIAM",
];
/// Names of mailboxes with what an address must escape.
const ODD: [&[u8]; 8] = [
    b"J\x94RG",
    b"\xe9\xf2\xe9\xee\xe1",
    b"JOHN DOE",
    b"A.B@C",
    b"O'NEIL+X",
    b"QUO\"TE",
    b"A=B",
    b"lower-Case",
];

impl Site {
    /// Post office `at` of the queue.
    pub(super) fn new(world: &World, at: u64) -> Self {
        let mut rng = Rng::new(world.options.seed, u64::MAX - 1_000 - at);
        let offices = world.options.post_offices;
        let mut folder = Vec::new();
        if offices > 1 {
            folder.extend_from_slice(b"PO");
            pad(&mut folder, at, 5);
        }
        let mut site = Self {
            at,
            folder: String::from_utf8_lossy(&folder).into_owned(),
            small: at % 8 == 5,
            network: network_name(at),
            name: office_name(at),
            mailboxes: Vec::new(),
            groups: Vec::new(),
            networks: Vec::new(),
            next_bag: 0,
        };
        site.add_mailboxes(world, &mut rng);
        site.add_groups(&mut rng);
        site.add_networks(offices);
        site
    }

    fn bag(&mut self) -> u32 {
        self.next_bag += 1;
        self.next_bag - 1
    }

    fn add_mailbox(&mut self, name: &[u8], active: bool, full: bool) {
        let bag = self.bag();
        self.mailboxes.push(Mailbox { name: name.to_vec(), bag, active, full });
    }

    fn add_mailboxes(&mut self, world: &World, rng: &mut Rng) {
        let options = &world.options;
        let kind = self.at % 3;
        // Every third post office has neither a postmaster nor an Admin.
        self.add_mailbox(b"ADMIN", kind != 2, false);
        if kind == 1 {
            self.add_mailbox(b"POSTMASTER", true, false);
        }
        for name in ODD {
            self.add_mailbox(name, true, false);
        }
        let fills = [Hazard::FullMailbag, Hazard::Mixed].iter().any(|one| world.shares.has(*one));
        // 4096 files each: three such post offices among many are enough.
        let last = options.post_offices.saturating_sub(1);
        let here = self.at == 0 || last >= 20 && [last / 2, last].contains(&self.at);
        if fills && here {
            self.add_mailbox(b"FULL1", true, true);
            self.add_mailbox(b"FULL2", true, true);
        }
        let users = (options.messages / options.post_offices.max(1) / 8).clamp(12, 400);
        for number in 0..users {
            let mut name = rng.pick(&NAMES).to_vec();
            pad(&mut name, number, 1);
            self.add_mailbox(&name, rng.below(30) != 0, false);
        }
    }

    fn add_groups(&mut self, rng: &mut Rng) {
        let bags: Vec<u32> = self.mailboxes.iter().map(|one| one.bag).collect();
        let mut add = |name: &[u8], active: bool, members: Option<Vec<u32>>| {
            self.groups.push(Group { name: name.to_vec(), active, members });
        };
        let mut some = |count: usize| -> Vec<u32> {
            (0..count).map(|_| bags.get(rng.place(bags.len())).copied().unwrap_or(0)).collect()
        };
        add(b"SALES", true, Some(some(3)));
        add(b"SUPPORT", true, Some(some(8)));
        // Twice the same, a number that nobody has, and one whose mailbox is deleted.
        let mut board = some(2);
        board.extend_from_slice(&[3, 0x7FFF_0000, 3]);
        board.extend(self.mailboxes.iter().find(|one| !one.active).map(|one| one.bag));
        add(b"BOARD", true, Some(board));
        add(b"B\x9aRO", true, Some(some(4)));
        add(b"EVERYONE", true, Some(bags.iter().copied().take(500).collect()));
        add(b"NOBODY", true, Some(Vec::new()));
        add(b"LOST", true, None);
        add(b"OLDGROUP", false, Some(some(2)));
    }

    fn external(&mut self, name: &[u8], active: bool, through: u16) -> External {
        External { name: name.to_vec(), bag: self.bag(), active, through }
    }

    fn add_networks(&mut self, offices: u64) {
        let mut own = Vec::new();
        let first = self.at / NETWORK * NETWORK;
        // The first two of a network are always known, so that both like names are there.
        let around = (first..first + NETWORK).filter(|at| *at < offices.max(first + 2));
        let here = self.at;
        for other in around.filter(|other| *other != here) {
            own.push(self.external(&office_name(other), true, 0));
        }
        own.push(self.external(b"BRANCH0001", true, 2));
        own.push(self.external(b"FILIALE \x81", true, 0));
        own.push(self.external(b"OLDBRANCH", false, 0));
        let partner = vec![
            self.external(b"HQ", true, 1),
            self.external(b"WAREHOUSE", true, 0),
            self.external(b"CLOSED", false, 0),
        ];
        let east = vec![self.external(b"\xcd\xcf\xd3\xcb\xd7\xc1", true, 0)];
        let gone = vec![self.external(b"THERE", true, 0)];
        let network = self.network.clone();
        let mut add = |active: bool, name: &[u8], own: bool, way: Way| {
            self.networks.push(Network { active, name: name.to_vec(), own, way });
        };
        add(true, &network, true, Way::Network(own));
        add(true, b"PARTNER", false, Way::Network(partner));
        add(true, b"EAST.\xff 1", false, Way::Network(east));
        add(false, b"GONENET", false, Way::Network(gone));
        let (x400, fax, far, wide) = (self.bag(), self.bag(), self.bag(), self.bag());
        // A post office without a way to the Internet asks the directory.
        let smtp = (self.at % 4 != 2).then(|| self.bag());
        let mut add = |name: &[u8], way: Way| {
            self.networks.push(Network { active: true, name: name.to_vec(), own: false, way });
        };
        add(b"X400", Way::Gateway(x400));
        add(b"FAX", Way::Gateway(fax));
        if let Some(bag) = smtp {
            add(b"SMTP", Way::Gateway(bag));
        }
        add(b"FARNET", Way::Indirect(b"FARPO".to_vec(), far));
        add(b"WIDENET", Way::Indirect(Vec::new(), wide));
    }

    /// The bags of what isn't here: post offices, gateways, indirect ways.
    pub(super) fn outbound(&self) -> Vec<u32> {
        let mut out = Vec::new();
        for network in &self.networks {
            match &network.way {
                Way::Network(list) => out.extend(list.iter().map(|one| one.bag)),
                Way::Gateway(bag) | Way::Indirect(_, bag) => out.push(*bag),
            }
        }
        out
    }

    /// A mailbox of this post office as a path.
    pub(super) fn path(&self, name: &[u8]) -> Vec<u8> {
        address::mailbox(&self.network, &self.name, name)
    }

    /// Who exists, as the post office and the directory file say it; its text is this post office's
    /// part of the directory file.
    pub(super) fn directory(&self, world: &World) -> Directory {
        let mut out = Directory::default();
        let mut office = self.office();
        let own = address::domain(&self.network, &self.name);
        out.know_domain(&own, Domain::Local(None));
        for one in self.mailboxes.iter().filter(|one| one.active) {
            let entry = if one.full { Entry::Full } else { Entry::Good };
            out.know(&self.path(&one.name), entry);
        }
        let named = |name: &[u8]| ODD.contains(&name);
        out.odd = self
            .mailboxes
            .iter()
            .filter(|one| named(&one.name))
            .map(|one| &one.name)
            .map(|name| self.path(name))
            .collect();
        self.know_groups(&mut out, &mut office);
        self.know_postmaster(&mut out);
        let system = self.path(b"$SYSTEM");
        out.systems = vec![
            system.clone(),
            self.path(b"*SPECIAL"),
            address::mailbox(b"PARTNER", b"HQ", b"$SYSTEM"),
        ];
        if office.smtp {
            // What has the type of the Internet, but is no mailbox of it.
            out.know_domain(&address::gateway_domain(b"SMTP"), Domain::Relayed);
        }
        for domain in office.neighbours.iter().chain(&office.beyond) {
            out.know_domain(domain, Domain::Relayed);
        }
        out.office = Some(office);
        if world.options.post_offices > 0 && self.at % 4 == 2 {
            // Without a gateway for the Internet, the file's domains count.
            let mut rng = Rng::new(world.options.seed, u64::MAX - 300);
            super::people::outside(&mut out, &mut rng);
            out.text.clear();
        }
        let mut rng = Rng::new(world.options.seed, u64::MAX - 2_000_000 - self.at);
        super::people::inside(&mut out, &mut rng, &own);
        // Mail to it is delivered, but nobody writes from it or to it by chance.
        out.know(&system, Entry::Good);
        out.good.retain(|path| *path != system && !address::is_postmaster(&key(path)));
        out
    }

    fn know_groups(&self, out: &mut Directory, office: &mut Office) {
        for group in &self.groups {
            let path = self.path(&group.name);
            let Some(members) = group.members.as_ref().filter(|_| group.active) else {
                if group.active {
                    out.know(&path, Entry::Vanished);
                }
                office.hollow.push(path);
                continue;
            };
            let member = |bag: &u32| {
                let found = self.mailboxes.iter().find(|one| one.bag == *bag && one.active);
                found.map(|one| self.path(&one.name))
            };
            let members: Vec<Vec<u8>> = members.iter().filter_map(member).collect();
            let (small, empty) = (members.len() < 10, members.is_empty());
            out.know(&path, Entry::List { owner: None, members });
            if empty {
                out.bare_lists.retain(|one| *one != path);
                office.hollow.push(path);
            } else if small {
                out.aliases.push(path);
            }
        }
    }

    fn know_postmaster(&self, out: &mut Directory) {
        let named = |name: &[u8]| self.mailboxes.iter().any(|one| one.active && one.name == name);
        let postmaster = self.path(b"POSTMASTER");
        if named(b"POSTMASTER") {
            out.postmaster = postmaster;
        } else if named(b"ADMIN") {
            out.postmaster = self.path(b"ADMIN");
            out.know(&postmaster, Entry::Alias(vec![self.path(b"ADMIN")]));
        }
    }

    fn office(&self) -> Office {
        let mut office =
            Office { network: self.network.clone(), name: self.name.clone(), ..Office::default() };
        for network in &self.networks {
            match &network.way {
                Way::Network(list) => {
                    let places =
                        if network.own { &mut office.neighbours } else { &mut office.beyond };
                    for one in list {
                        let domain = address::domain(&network.name, &one.name);
                        let known = one.active && network.active;
                        if known { places.push(domain) } else { office.nowhere.push(domain) }
                    }
                }
                Way::Gateway(_) if network.name == b"SMTP" => office.smtp = true,
                Way::Gateway(_) => office.beyond.push(address::gateway_domain(&network.name)),
                Way::Indirect(name, _) => {
                    let any: &[u8] = if name.is_empty() { b"ANYPO" } else { name };
                    office.beyond.push(address::domain(&network.name, any));
                }
            }
        }
        office.nowhere.push(address::domain(b"NONET", b"NOPO"));
        office.nowhere.push(address::domain(b"FARNET", b"OTHERPO"));
        office.nowhere.push(address::gateway_domain(b"PROFS"));
        office.nowhere.push(b"msmail.internal".to_vec());
        office
    }

    /// A number for what nobody knows the meaning of.
    pub(super) fn spread(&self, number: u64) -> u32 {
        let mixed = crate::rng::mix(number ^ (self.at << 40));
        short(narrow(mixed & 0x007F_FFFF))
    }
}
