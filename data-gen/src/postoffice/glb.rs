//! The files that say who exists and where things go: GLB, XTN, USR, MEM (docs/postoffice.md,
//! *GLB and XTN*).
//!
//! What it deliberately does not do: what nobody published; there stand zeros, in the published
//! sizes.
//!
//! Invariant: each file's size is a fixed one, or a whole number of its records.

use super::site::{External, Group, Mailbox, Network, Site, Way};
use crate::bytes::{hex_upper, put, short};

/// Eight hexadecimal digits.
pub(super) fn hex_name(number: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(8);
    hex_upper(&mut out, u64::from(number), 8);
    out
}

/// The number of a group's MEM file, and of a network's XTN file.
pub(super) fn file_number(at: usize) -> u32 {
    short(at).saturating_add(1)
}

fn record(out: &mut Vec<u8>, length: usize, fields: &[(usize, &[u8])]) {
    let start = out.len();
    out.resize(start + length, 0);
    for (at, bytes) in fields {
        put(out, start + at, bytes);
    }
}

fn mark(active: bool) -> [u8; 1] {
    [u8::from(active)]
}

/// CONTROL: the next names of a bag and of a MAI, ATT or P1.
pub(super) fn control(next_bag: u32, next_letter: u32) -> Vec<u8> {
    [next_bag.to_le_bytes(), next_letter.to_le_bytes()].concat()
}

/// MASTER: the name of the post office.
pub(super) fn master(site: &Site) -> Vec<u8> {
    let mut serial = b"22-".to_vec();
    crate::bytes::pad(&mut serial, 10_000 + site.at, 5);
    let mut out = Vec::new();
    let fields: [(usize, &[u8]); 4] =
        [(0, &site.network), (11, &site.name), (22, &serial), (0x93, &[0x10])];
    record(&mut out, 176, &fields);
    out
}

/// ACCESS, ACCESS2 or ACCESS3: a record for each mailbox, of so many bytes; ACCESS2 has the name
/// and the bag.
pub(super) fn access(mailboxes: &[Mailbox], length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(mailboxes.len() * length);
    for one in mailboxes {
        let (active, bag) = (mark(one.active), hex_name(one.bag));
        let second: [(usize, &[u8]); 3] = [(0, &active), (1, &one.name), (12, &bag)];
        let fields = if length == 69 { &second[..] } else { &second[..1] };
        record(&mut out, length, fields);
    }
    out
}

/// GROUP: a count and a record for each group.
pub(super) fn group(groups: &[Group]) -> Vec<u8> {
    let mut out = short(groups.len()).to_le_bytes().to_vec();
    for (at, one) in groups.iter().enumerate() {
        let (active, file) = (mark(one.active), hex_name(file_number(at)));
        record(&mut out, 51, &[(0, &active), (1, &one.name), (12, &file)]);
    }
    out
}

/// MEM: the numbers of the members' bags.
pub(super) fn members(bags: &[u32]) -> Vec<u8> {
    bags.iter().take(500).flat_map(|bag| bag.to_le_bytes()).collect()
}

/// NETWORK: a record for each network, gateway and indirect way.
pub(super) fn network(networks: &[Network]) -> Vec<u8> {
    let mut out = Vec::new();
    for (at, one) in networks.iter().enumerate() {
        let (active, file) = (mark(one.active), hex_name(file_number(at)));
        let name = one.name.as_slice();
        match &one.way {
            Way::Network(_) if one.own => {
                record(&mut out, 122, &[(0, &active), (1, &[0x00]), (2, name), (13, &file)]);
            }
            Way::Network(list) => {
                let bag = hex_name(list.first().map_or(0, |first| first.bag));
                let fields: [(usize, &[u8]); 5] =
                    [(0, &active), (1, &[0x10]), (2, name), (13, &file), (33, &bag)];
                record(&mut out, 122, &fields);
            }
            Way::Gateway(bag) => {
                let bag = hex_name(*bag);
                record(&mut out, 122, &[(0, &active), (1, &[0x64]), (2, name), (33, &bag)]);
            }
            Way::Indirect(office, bag) => {
                let bag = hex_name(*bag);
                let fields: [(usize, &[u8]); 6] =
                    [(0, &active), (1, &[0x02]), (2, name), (46, name), (57, office), (68, &bag)];
                record(&mut out, 122, &fields);
            }
        }
    }
    out
}

/// XTN: the post offices of a network.
pub(super) fn external(list: &[External]) -> Vec<u8> {
    let mut out = Vec::new();
    for one in list {
        let (active, bag) = (mark(one.active), hex_name(one.bag));
        let through = one.through.to_le_bytes();
        let fields: [(usize, &[u8]); 4] =
            [(0, &active), (1, &one.name), (12, &bag), (649, &through)];
        record(&mut out, 698, &fields);
    }
    out
}

/// So many empty records behind a prefix of so many bytes.
pub(super) fn blank(prefix: usize, length: usize, count: usize) -> Vec<u8> {
    vec![0; prefix + length * count]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access2_and_group_byte_by_byte() {
        let made = access(
            &[Mailbox { name: b"J\x94RG".to_vec(), bag: 0x1A, active: true, full: false }],
            69,
        );
        let mut expected = b"\x01J\x94RG\0\0\0\0\0\0\x000000001A".to_vec();
        expected.resize(69, 0);
        assert_eq!(made, expected);
        let list = [Group { name: b"SALES".to_vec(), active: false, members: None }];
        let mut expected = b"\x01\0\0\0\0SALES\0\0\0\0\0\x0000000001".to_vec();
        expected.resize(4 + 51, 0);
        assert_eq!(group(&list), expected);
        assert_eq!(members(&[1, 0x0102_0304]), [1, 0, 0, 0, 4, 3, 2, 1]);
    }

    #[test]
    fn network_and_external_byte_by_byte() {
        let office = External { name: b"HQ".to_vec(), bag: 7, active: true, through: 0x0102 };
        let mut record = b"\x01HQ\0\0\0\0\0\0\0\0\x0000000007".to_vec();
        record.resize(649, 0);
        record.extend_from_slice(&[2, 1]);
        record.resize(698, 0);
        assert_eq!(external(std::slice::from_ref(&office)), record);
        let ways = [
            (false, Way::Network(vec![office])),
            (false, Way::Gateway(8)),
            (false, Way::Indirect(b"FARPO".to_vec(), 9)),
        ];
        let list: Vec<Network> = ways
            .into_iter()
            .map(|(own, way)| Network { active: true, name: b"N".to_vec(), own, way })
            .collect();
        let made = network(&list);
        assert_eq!(made.len(), 3 * 122);
        assert_eq!(
            &made[..41],
            b"\x01\x10N\0\0\0\0\0\0\0\0\0\x0000000001\0\0\0\0\0\0\0\0\0\0\0\x0000000007"
        );
        assert_eq!(&made[122..125], b"\x01\x64N");
        assert_eq!(&made[122 + 33..122 + 41], b"00000008");
        assert_eq!(&made[244..247], b"\x01\x02N");
        assert_eq!(&made[244 + 46..244 + 76], b"N\0\0\0\0\0\0\0\0\0\0FARPO\0\0\0\0\0\x0000000009");
    }
}
