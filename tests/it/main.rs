//! Behaviour, through the public API and the real binary. One module a subject.

mod crash;
mod run;
mod support;
