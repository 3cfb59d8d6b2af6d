//! Accepted mail that stays in the queue (`--accepted refer`): which contents a part's accepted
//! stream refers to, and by which reference.
//!
//! A content is referred to where it lies in one piece in one file; one that a segment refers to
//! itself is referred to where it lies in the end. Everything else (contents that reading puts
//! together, or takes mboxrd's quoting off) is copied. Not here: the form of a reference
//! (`queue::segment::reference`). Invariants: the reference is that of the plan, whoever makes it
//! (the engine, and the audit again); no byte of the content is read for it; names are absolute, so
//! that the folder of the run may be moved, and the queue may not.

use super::plan::{Accepted, Plan};
use crate::queue::segment::reference::Reference;
use crate::queue::segment::write::Payload;
use crate::queue::{Found, Lies};
use std::os::unix::ffi::OsStrExt as _;

/// Makes the references of a part.
#[derive(Clone, Debug)]
pub struct Referrer {
    /// The queue's folder, with a `/` behind it; that of the file, where the queue is one.
    folder: Vec<u8>,
    /// The queue's file, where it is one.
    file: Option<Vec<u8>>,
}

impl Referrer {
    /// That of a part of a plan; none where accepted mail is copied.
    pub fn of(plan: &Plan, part: u32) -> Option<Self> {
        if plan.options.accepted == Accepted::Copy {
            return None;
        }
        let queue = plan.queues.get(plan.parts.get(part as usize)?.queue)?;
        let is_folder = queue.path.is_dir();
        let path = queue.path.as_os_str().as_bytes().to_vec();
        let folder = if is_folder { Some(queue.path.as_path()) } else { queue.path.parent() };
        let mut folder = folder.map(|folder| folder.as_os_str().as_bytes().to_vec())?;
        if !folder.ends_with(b"/") {
            folder.push(b'/');
        }
        Some(Self { folder, file: (!is_folder).then_some(path) })
    }

    /// The reference to the content of a message that stands in the file `name`, in `out`, which
    /// is emptied first; `None` where it has to be copied.
    pub fn reference<'o>(
        &self,
        name: &[u8],
        found: &Found<'_>,
        payload: &Payload<'_>,
        out: &'o mut Vec<u8>,
    ) -> Option<Payload<'o>> {
        out.clear();
        match found.lies {
            Lies::Nowhere => return None,
            Lies::Here(offset) => {
                let (length, checksum) = (payload.len, payload.checksum);
                let here = Reference { offset, length, checksum, is_quoted: false, name: b"" };
                here.append(out);
                self.append_path(name, out);
            }
            Lies::There(reference) => {
                Reference { name: b"", ..reference }.append(out);
                if !reference.name.starts_with(b"/") {
                    out.extend_from_slice(&self.folder);
                }
                out.extend_from_slice(reference.name);
            }
        }
        Some(Payload::reference(out))
    }

    fn append_path(&self, name: &[u8], out: &mut Vec<u8>) {
        if let Some(file) = &self.file {
            out.extend_from_slice(file);
        } else {
            out.extend_from_slice(&self.folder);
            out.extend_from_slice(name);
        }
    }
}
