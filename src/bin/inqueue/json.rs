//! JSON objects, appended to a buffer without an allocation of their own.
//!
//! Any bytes give valid JSON in ASCII: what isn't UTF-8 becomes U+FFFD. Texts are whole, however
//! long.

use inqueue::event::json::write_whole_text;
use inqueue::queue::Damage;
use inqueue::queue::segment::reference::Lost;
use std::os::unix::ffi::OsStrExt as _;

/// Opens an object with its first member.
pub(crate) fn begin(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.push(b'{');
    text_of(out, name, value);
}

/// A further member: text.
pub(crate) fn member_text(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.push(b',');
    text_of(out, name, value);
}

fn text_of(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    key(out, name);
    text(out, value);
}

/// A further member: a number.
pub(crate) fn member_number(out: &mut Vec<u8>, name: &str, value: impl itoa::Integer) {
    out.push(b',');
    key(out, name);
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// The name of a member, and its colon.
pub(crate) fn key(out: &mut Vec<u8>, name: &str) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// A value: text.
pub(crate) fn text(out: &mut Vec<u8>, value: &[u8]) {
    out.push(b'"');
    write_whole_text(out, value);
    out.push(b'"');
}

/// A damaged range; what of it is lost, where it is a reference that leads nowhere.
pub(crate) fn damage(out: &mut Vec<u8>, file: &[u8], damage: &Damage, lost: Option<&Lost>) {
    begin(out, "damage", damage.kind.text().as_bytes());
    member_text(out, "file", file);
    member_number(out, "offset", damage.offset);
    member_number(out, "length", damage.length);
    if let Some(lost) = lost {
        member_text(out, "queue_id", &lost.queue_id);
        member_text(out, "why", lost.why.as_bytes());
        refers_to(out, lost.path.as_os_str().as_bytes(), lost.offset, lost.length);
    }
    out.push(b'}');
}

/// A further member: where a content lies that a record refers to.
pub(crate) fn refers_to(out: &mut Vec<u8>, file: &[u8], offset: u64, length: u64) {
    out.push(b',');
    key(out, "refers_to");
    begin(out, "file", file);
    member_number(out, "offset", offset);
    member_number(out, "length", length);
    out.push(b'}');
}
