//! The hazards: how an ordinary plan is changed into each of them.
//!
//! What it deliberately does not do: expectations. They follow from the plan (see `expect`), but
//! for damage and injected faults.
//!
//! Invariant: two neighbours in a segment are never both damaged, so that each damaged range is its
//! record's own.

mod addresses;
mod content;
mod office;
mod trouble;

use crate::World;
use crate::directory::Directory;
use crate::hazards::Hazard;
use crate::options::Format;
use crate::plan::{Maker, Plan, Style};

/// The hazard that the draw and the fixed places give message `index`.
fn drawn(world: &World, index: u64) -> Option<Hazard> {
    let options = &world.options;
    if world.shares.all {
        let torn = options.format.has_envelope();
        if torn && options.messages >= 1000 && index + 1 == options.messages {
            return Some(Hazard::Corrupt);
        }
        if options.messages >= 500 && index == options.messages / 3 {
            return Some(Hazard::HugeList);
        }
    }
    world.shares.draw(options.seed, index)
}

/// The hazard of message `index`.
pub(crate) fn hazard(world: &World, index: u64) -> Option<Hazard> {
    let corrupt =
        |index: u64| index < world.options.messages && drawn(world, index) == Some(Hazard::Corrupt);
    let own = drawn(world, index);
    if world.options.format == Format::PostOffice {
        // A record of a bag has its own 116 bytes, whatever its neighbour is.
        return own;
    }
    let beside = own == Some(Hazard::Corrupt) && index % 2 == 1;
    if beside && (corrupt(index - 1) || corrupt(index + 1)) { None } else { own }
}

/// The plan of message `index`.
pub(crate) fn plan(world: &World, index: u64) -> (Plan, crate::rng::Rng) {
    plan_in(world, &world.directory, index)
}

/// The same with the directory of one post office.
pub(crate) fn plan_in(world: &World, directory: &Directory, index: u64) -> (Plan, crate::rng::Rng) {
    let mut maker = Maker::new(world, directory, index);
    if let Some(hazard) = hazard(world, index) {
        maker.plan.hazard = Some(hazard);
        maker.plan.spec.style = Style::OriginalTo;
        maker.plan.spec.return_path = true;
        maker.apply(hazard);
    }
    maker.finish_office();
    maker.plan.settle(world.options.format);
    (maker.plan, maker.rng)
}

impl Maker<'_> {
    /// Changes the plan into the hazard.
    fn apply(&mut self, hazard: Hazard) {
        if self.apply_office(hazard) {
            return;
        }
        match hazard {
            Hazard::InvalidBoth
            | Hazard::BadResubmitted
            | Hazard::LongRecipient
            | Hazard::BadAddress
            | Hazard::HugeList
            | Hazard::DuplicateRecipient
            | Hazard::UnknownRecipient
            | Hazard::Disabled
            | Hazard::Moved
            | Hazard::Mixed
            | Hazard::NoRecipients
            | Hazard::ListExpansion
            | Hazard::Postmaster => self.addresses(hazard),
            Hazard::Corrupt
            | Hazard::FullMailbag
            | Hazard::ReportMistaken
            | Hazard::ReportMissing
            | Hazard::NdrLost
            | Hazard::NdrOfNdr
            | Hazard::DuplicateDelivery
            | Hazard::NdrLoop
            | Hazard::MessageLoop
            | Hazard::SystemMail
            | Hazard::NotDue => self.trouble(hazard),
            fault if fault.is_fault() => self.trouble(fault),
            _ => self.content(hazard),
        }
    }
}

#[cfg(test)]
mod tests;
