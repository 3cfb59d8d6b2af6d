//! The integration tests: one binary, one module a subject. They use the public API, the real
//! binary, and readers of other makers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends at what isn't there"
)]

mod crash;
mod decide;
mod events;
mod ndr_readers;
mod readers;
mod real_mail;
mod run;
mod samples;
mod segment_reader;
mod support;
mod tidy;
