//! Post offices that are drained, through the real binary: what is in the bags and in the streams
//! afterwards, whatever happens meanwhile.
//!
//! Not here: the formats of single files (unit tests of `queue::postoffice`), and what `audit`
//! finds where someone has altered a drained run.

pub(crate) mod crash;
mod damage;
mod full;
mod locks;
mod look;
mod outcomes;
mod proof;
mod seed;
pub(crate) mod small;
mod told;
