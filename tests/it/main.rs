//! Behaviour, through the public API, the real binary, and readers of other makers. One binary, one
//! module a subject.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends at what isn't there"
)]

mod audit;
mod binary;
mod convert;
mod crash;
mod decide;
mod differential;
mod disk;
mod event_logs;
mod event_readers;
mod events;
mod faults;
mod fence;
mod ffapi;
mod fuzz_corpus;
mod hazards;
mod hostile;
mod inspect;
mod ndr_readers;
mod office_reader;
mod postoffice;
mod power;
mod readers;
mod real_mail;
mod refer;
mod references;
mod reproduce;
mod run;
mod salvage;
mod samples;
mod segment_reader;
mod set_aside;
#[cfg(feature = "fault-injection")]
mod simulation;
mod support;
mod tidy;
mod torture;
