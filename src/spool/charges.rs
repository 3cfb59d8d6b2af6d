//! The log of charges: which messages the engine had in hand when its process died, and what became
//! of the suspicion.
//!
//! A line for each step, as the commit log has them (`commits`). A message is charged, durably,
//! before it is tried again; then it is acquitted or convicted. What was convicted is a fault, as a
//! panic is: the message isn't tried again in this run. Not here: who dies of what (`engine`).
//! Invariants: the last line about a message counts; and a conviction stands, whatever is held of
//! the message after it, until it is void.

use super::file::RunFile;
use super::{SpoolError, commits};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Name of the log in the folder of a run.
pub const NAME: &str = "charges";

/// A step of a suspicion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// Part that the message is in.
    pub part: u32,
    /// Which of the part's messages and damages it is, from 0.
    pub index: u64,
    /// Its offset in its file; 0 where its file holds it alone.
    pub offset: u64,
    /// The stage that it was in.
    pub stage: String,
    /// How the process ended: `SIGSEGV`, `SIGKILL`, `hang`, `exit code 101`.
    pub end: String,
    /// What is held of it.
    pub verdict: Verdict,
}

/// What is held of a suspicion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It was in hand, perhaps among others; it isn't tried yet.
    Charged,
    /// It was tried alone, and nothing happened.
    Acquitted,
    /// It was tried alone, and the process died of it.
    Convicted,
    /// Its part was given up by that process: it harms nobody alone, and yet process after process
    /// died with it in hand; or it kills where nothing can keep it from doing so. The next run
    /// tries its part again.
    GivenUp,
    /// It was convicted, but so were many beside it: the program or the machine is broken, not the
    /// mail. It is tried again.
    Void,
}

/// The log, and what it comes to.
#[derive(Debug)]
pub struct Charges {
    path: PathBuf,
    /// Made with the first line.
    file: Option<RunFile>,
    good: u64,
    /// By part and index.
    last: BTreeMap<(u32, u64), Charge>,
    /// What messages are convicted of: one may kill at more than one stage.
    convicted: Vec<Charge>,
}

impl Charges {
    /// Reads the log of a run; one that isn't there is empty.
    ///
    /// # Errors
    /// It can't be read, or was altered.
    pub fn read(run: &Path) -> Result<Self, SpoolError> {
        let path = run.join(NAME);
        let (lines, good) =
            if path.exists() { commits::read_lines(&path, 0)? } else { (Vec::new(), 0) };
        let (last, convicted) = (BTreeMap::new(), Vec::new());
        let mut charges = Self { path, file: None, good, last, convicted };
        for line in lines {
            charges.hold(line);
        }
        Ok(charges)
    }

    fn hold(&mut self, charge: Charge) {
        let is_same = |other: &Charge| {
            (other.part, other.index, &other.stage) == (charge.part, charge.index, &charge.stage)
        };
        match charge.verdict {
            Verdict::Convicted => self.convicted.push(charge.clone()),
            Verdict::Void => self.convicted.retain(|convicted| !is_same(convicted)),
            Verdict::Charged | Verdict::Acquitted | Verdict::GivenUp => {}
        }
        self.last.insert((charge.part, charge.index), charge);
    }

    /// Appends steps; `sync` waits until they are on the disk.
    ///
    /// # Errors
    /// The system says so.
    pub fn append(&mut self, charges: &[Charge], sync: bool) -> Result<(), SpoolError> {
        if charges.is_empty() {
            return Ok(());
        }
        let is_new = self.file.is_none();
        let mut append = || {
            let file = match &mut self.file {
                Some(file) => file,
                none => {
                    let file = RunFile::append(&self.path)?;
                    file.set_len(self.good)?;
                    none.insert(file)
                }
            };
            let mut lines = Vec::new();
            for charge in charges {
                commits::append_line(&mut lines, charge)?;
            }
            file.write_all(&lines)?;
            if sync { file.sync_data() } else { Ok(()) }
        };
        append().map_err(SpoolError::write(&self.path))?;
        if is_new && sync {
            super::folder::sync_folder(self.path.parent().unwrap_or(&self.path))?;
        }
        for charge in charges {
            self.hold(charge.clone());
        }
        Ok(())
    }

    /// What is held of all messages that were ever charged, in order.
    pub fn all(&self) -> impl Iterator<Item = &Charge> {
        self.last.values()
    }

    /// All convictions that stand, in the order in which they were made.
    pub fn convictions(&self) -> &[Charge] {
        &self.convicted
    }

    /// What is held of a message.
    pub fn of(&self, part: u32, index: u64) -> Option<&Charge> {
        self.last.get(&(part, index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn charge(part: u32, index: u64, verdict: Verdict) -> Charge {
        let (stage, end) = ("parse".to_owned(), "SIGSEGV".to_owned());
        Charge { part, index, offset: 9, stage, end, verdict }
    }

    #[test]
    fn the_last_line_counts_and_a_torn_one_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let mut charges = Charges::read(folder.path()).unwrap();
        assert_eq!(charges.all().count(), 0);
        charges.append(&[], true).unwrap();
        assert!(!folder.path().join(NAME).exists(), "a run without deaths has no such log");
        let first = [charge(0, 7, Verdict::Charged), charge(2, 1, Verdict::Charged)];
        charges.append(&first, true).unwrap();
        charges.append(&[charge(0, 7, Verdict::Convicted)], false).unwrap();
        let path = folder.path().join(NAME);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&whole, &whole[..20]].concat()).unwrap();
        let mut again = Charges::read(folder.path()).unwrap();
        let held: Vec<_> = again.all().cloned().collect();
        assert_eq!(held, [charge(0, 7, Verdict::Convicted), charge(2, 1, Verdict::Charged)]);
        again.append(&[charge(2, 1, Verdict::Acquitted)], true).unwrap();
        let last = Charges::read(folder.path()).unwrap();
        assert_eq!(last.of(2, 1), Some(&charge(2, 1, Verdict::Acquitted)));
        assert_eq!(last.of(2, 2), None);
    }

    #[test]
    fn a_conviction_stands_until_it_is_void_whatever_is_held_of_the_message_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut charges = Charges::read(folder.path()).unwrap();
        let event = |verdict| Charge { stage: "event".to_owned(), ..charge(0, 7, verdict) };
        let (parse, event, later) =
            (charge(0, 7, Verdict::Convicted), event(Verdict::Convicted), event(Verdict::Void));
        let acquitted = charge(0, 7, Verdict::Acquitted);
        charges.append(&[parse.clone(), acquitted, event.clone()], false).unwrap();
        let read = || Charges::read(folder.path()).unwrap();
        assert_eq!(charges.convictions(), [parse.clone(), event.clone()]);
        assert_eq!(read().convictions(), [parse.clone(), event]);
        charges.append(&[later], false).unwrap();
        assert_eq!(charges.convictions(), std::slice::from_ref(&parse));
        assert_eq!(read().convictions(), [parse]);
    }
}
