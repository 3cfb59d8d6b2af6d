//! Runs one message's computation so that a panic costs that message and nothing else. The one
//! `catch_unwind`.
//!
//! Not here: rolling back, quarantine, retry. The closure must only compute and append to buffers
//! that are taken back on a fault. The panic's text and place are kept by a hook, which is silent
//! while a message is in hand and leaves all other panics to the hook that was there before. An
//! abort, a stack overflow or a signal isn't caught here: no code in the process can. It is the
//! fence round the process (`fence`) that learns of them; when the message comes again, its fault
//! is known, and `enter` throws it: all is then as if it had panicked.

use crate::limits;
use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;

/// What struck a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The stage it was in.
    pub stage: Stage,
    /// The panic's text, cut at its limit.
    pub text: String,
    /// File and line of the panic.
    pub place: String,
}

/// How a process ended that was ended because a message took too long.
pub(super) const HANG: &str = "hang";
/// The place of a fault that no line of the source is known for.
const PROCESS: &str = "the process of the engine";

/// A stage of a message's walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It is looked for in the queue. Not fenced: a panic costs the worker.
    Frame,
    /// Header fields and envelope are read.
    Parse,
    /// Its fate is decided.
    Decide,
    /// Its records are rendered.
    Render,
    /// A report about it is rendered.
    Ndr,
    /// An event about it is rendered.
    Event,
    /// What has grown large of its part is written. Not fenced.
    Write,
}

impl Stage {
    /// All of them, in order.
    pub const ALL: [Self; 7] =
        [Self::Frame, Self::Parse, Self::Decide, Self::Render, Self::Ndr, Self::Event, Self::Write];

    /// Its number, in the order of [`Self::ALL`].
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The stage of a number; the first where there is none.
    pub fn of_number(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or(Self::Frame)
    }

    /// The stage of a name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.name() == name)
    }

    /// What happens in it can be kept from happening again: it has a fence.
    pub const fn is_fenced(self) -> bool {
        !matches!(self, Self::Frame | Self::Write)
    }

    /// Its name, in events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Frame => "frame",
            Self::Parse => "parse",
            Self::Decide => "decide",
            Self::Render => "render",
            Self::Ndr => "ndr",
            Self::Event => "event",
            Self::Write => "write",
        }
    }
}

thread_local! {
    static FENCED: Cell<bool> = const { Cell::new(false) };
    static LAST: RefCell<(String, String)> = const { RefCell::new((String::new(), String::new())) };
    static STACK: RefCell<Option<Backtrace>> = const { RefCell::new(None) };
    static KEPT: RefCell<Option<Vec<Kept>>> = const { RefCell::new(None) };
}

/// A fault, and the stack of its panic.
pub(super) type Kept = (Fault, Option<Backtrace>);

/// From now on this thread keeps its faults with their stacks: for one message that is looked into.
pub(super) fn keep() {
    KEPT.set(Some(Vec::new()));
}

/// What was kept since; nothing is kept any more.
pub(super) fn kept() -> Vec<Kept> {
    KEPT.take().unwrap_or_default()
}

/// Installs the hook, once in a process.
pub fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| if FENCED.get() { note(info) } else { before(info) }));
    });
}

/// Notes what is known of a panic. No backtrace is taken where nobody has asked to [`keep`] it: it
/// would cost a thousand times the rest.
fn note(info: &PanicHookInfo<'_>) {
    let mut text = info.payload_as_str().unwrap_or("(no text)").to_owned();
    if text.len() > limits::FAULT_TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(limits::FAULT_TEXT_BYTES_MAX));
    }
    let place =
        info.location().map_or_else(String::new, |at| format!("{}:{}", at.file(), at.line()));
    LAST.set((text, place));
    if KEPT.with_borrow(Option::is_some) {
        STACK.set(Some(Backtrace::force_capture()));
    }
}

/// Runs a stage; what panics in it becomes a fault. `stage` may be moved on while it runs.
///
/// # Errors
/// The panic, as a fault.
pub fn isolate<R>(stage: &Cell<Stage>, run: impl FnOnce() -> R) -> Result<R, Fault> {
    let outer = FENCED.replace(true);
    // What the closure leaves half done is taken back by the caller, from marks.
    let result = panic::catch_unwind(AssertUnwindSafe(run)).map_err(|payload| {
        let payload = match payload.downcast::<Fault>() {
            Ok(known) => return *known,
            Err(payload) => payload,
        };
        let (text, place) = LAST.take();
        // Dropping what was thrown is foreign code too: what that throws is leaked.
        if let Err(thrown) = panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(thrown);
        }
        let fault = Fault { stage: stage.get(), text, place };
        KEPT.with_borrow_mut(|kept| {
            if let Some(kept) = kept {
                kept.push((fault.clone(), STACK.take()));
            }
        });
        fault
    });
    FENCED.set(outer);
    result
}

/// Enters a stage: a fault that is known to strike a message there does so, without being tried
/// again; so does one that a test's marker asks for.
pub(super) fn enter(stage: Stage, known: &[Fault], marker: Option<&[u8]>) {
    if let Some(fault) = known.iter().find(|fault| fault.stage == stage) {
        panic::resume_unwind(Box::new(fault.clone()));
    }
    #[cfg(feature = "fault-injection")]
    super::inject::strike(stage, marker);
    #[cfg(not(feature = "fault-injection"))]
    let _ = marker;
}

impl Fault {
    /// That of a message which the process died of, or did not get through in time.
    pub(super) fn of_death(stage: Stage, end: &str) -> Self {
        let text = match end {
            HANG => "took longer than a message may".to_owned(),
            end => format!("died of {end}"),
        };
        Self { stage, text, place: PROCESS.to_owned() }
    }

    /// What faults of one cause have in common.
    pub fn signature(&self) -> String {
        match self.place.as_str() {
            PROCESS => format!("{} in {}", self.text, self.stage.name()),
            place => format!("panic at {place}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_fault_with_its_text_and_place() {
        install_hook();
        let stage = Cell::new(Stage::Parse);
        assert_eq!(isolate(&stage, || 7), Ok(7));
        let fault = isolate(&stage, || -> u8 {
            stage.set(Stage::Decide);
            panic!("at {}", "x".repeat(5000))
        });
        let fault = fault.unwrap_err();
        assert_eq!(fault.stage, Stage::Decide);
        assert!(fault.text.starts_with("at xxx"));
        assert_eq!(fault.text.len(), limits::FAULT_TEXT_BYTES_MAX);
        assert!(fault.place.contains("isolate.rs:"));
        assert!(!FENCED.get());
    }

    #[test]
    fn payloads_of_any_kind_and_those_that_panic_when_dropped_are_faults() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("dropped");
            }
        }
        install_hook();
        let stage = Cell::new(Stage::Render);
        let fault = isolate(&stage, || panic::panic_any(Bomb)).unwrap_err();
        assert_eq!(fault.text, "(no text)");
    }
}
