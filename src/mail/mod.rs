//! The vocabulary of mail, as the RFCs have it: addresses, envelopes, contents, header fields,
//! statuses, dates.
//!
//! Everything here reads slices of bytes that lie elsewhere (a map, a buffer) and borrows from
//! them. No I/O; no allocation on the mail path; no function fails on any input in another way than
//! by its return value.

pub mod address;
pub mod content;
pub mod date;
pub mod envelope;
pub mod header;
pub mod msmail;
pub mod status;
