//! When a message is tried, and until when: by its envelope, the policy and the clock.
//!
//! The rule stands in docs/outcomes.md. Not here: what becomes of it then.

use super::Policy;
use crate::mail::date::Time;
use crate::mail::envelope::Envelope;

/// First wait before a deferred message is tried again; doubled each time (RFC 5321, 4.5.4.1: at
/// least 30 minutes).
const BACKOFF_FIRST_S: i64 = 30 * 60;
/// Longest wait.
const BACKOFF_MAX_S: i64 = 8 * 3600;

/// When a message is tried, by its envelope alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// It is tried now.
    pub is_due: bool,
    /// Attempts made before.
    pub attempts: u32,
    /// When it is tried again, if it isn't through by then.
    pub next_attempt: Time,
    /// When trying ends.
    pub expiry: Time,
}

/// The schedule of a message.
pub fn schedule(envelope: &Envelope<'_>, policy: Policy, now: Time) -> Schedule {
    let arrival = envelope.arrival.unwrap_or(now);
    let expiry = envelope.expiry.unwrap_or_else(|| arrival.plus_s(policy.lifetime_s));
    let attempts = envelope.attempts;
    let not_before = envelope.next_attempt.filter(|at| *at > now);
    let next_attempt =
        not_before.unwrap_or_else(|| next_attempt(now, attempts.saturating_add(1), expiry));
    Schedule { is_due: not_before.is_none(), attempts, next_attempt, expiry }
}

/// When a message is tried again that was tried `attempts` times.
fn next_attempt(now: Time, attempts: u32, expiry: Time) -> Time {
    let doublings = attempts.saturating_sub(1).min(10);
    let wait_s = (BACKOFF_FIRST_S << doublings).min(BACKOFF_MAX_S);
    now.plus_s(wait_s).min(expiry.max(now))
}
