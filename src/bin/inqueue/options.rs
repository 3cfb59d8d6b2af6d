//! Options that several commands share.

use anyhow::Context as _;
use clap::Args;
use inqueue::check::Clock;
use inqueue::mail::date::Time;
use inqueue::queue::envelope::{RecipientOrder, RecipientSource};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where forward-paths come from, in formats that have no envelope.
#[derive(Args, Clone, Debug)]
pub(crate) struct Recipients {
    /// Fields that name the recipients where the format has no envelope; the first that a message
    /// has counts
    #[arg(
        long,
        value_name = "FIELDS",
        default_value = "x-original-to,delivered-to,to",
        value_parser = order
    )]
    recipients: RecipientOrder,
}

impl Recipients {
    pub(crate) const fn order(&self) -> RecipientOrder {
        self.recipients
    }
}

/// Reads `x-original-to,delivered-to,to`: each at most once, at least one.
fn order(text: &str) -> Result<RecipientOrder, String> {
    let mut order = RecipientOrder([None; 3]);
    for name in text.split(',') {
        let source = match name.trim() {
            "x-original-to" => RecipientSource::XOriginalTo,
            "delivered-to" => RecipientSource::DeliveredTo,
            "to" => RecipientSource::To,
            other => return Err(format!("'{other}' is not x-original-to, delivered-to or to")),
        };
        if order.0.contains(&Some(source)) {
            return Err(format!("'{}' stands there twice", name.trim()));
        }
        // Three names, none twice: there is a free place.
        if let Some(slot) = order.0.iter_mut().find(|slot| slot.is_none()) {
            *slot = Some(source);
        }
    }
    Ok(order)
}

/// A time of RFC 3339.
pub(crate) fn time(text: &str) -> Result<Time, String> {
    Time::parse_rfc3339(text.as_bytes())
        .ok_or_else(|| "not a time of RFC 3339, as 2026-01-02T03:04:05Z".to_owned())
}

/// The clock: what was given, else the system's.
pub(crate) fn now(given: Option<Time>) -> anyhow::Result<Time> {
    #[expect(clippy::disallowed_methods, reason = "the one place that asks for the time")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    Ok(given.unwrap_or(Time::from_s(i64::try_from(now.as_secs())?)))
}

/// The name of this system, as it has it.
pub(crate) fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// What judging locks and recipients needs.
pub(crate) fn clock(given: Option<Time>, order: RecipientOrder) -> anyhow::Result<Clock> {
    Ok(Clock { now: now(given)?, host: host(), order })
}

/// A number of bytes, with K, M or G behind it for powers of 1024.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let shift = match text.bytes().last().map(|unit| unit.to_ascii_uppercase()) {
        Some(b'K') => 10,
        Some(b'M') => 20,
        Some(b'G') => 30,
        _ => 0,
    };
    let digits = if shift == 0 { text } else { text.get(..text.len() - 1).unwrap_or_default() };
    let number: u64 = digits.parse().map_err(|_| "not a size, as 65536, 64K, 32M".to_owned())?;
    match number.checked_mul(1 << shift) {
        Some(bytes) if bytes > 0 => Ok(bytes),
        _ => Err("a size from 1 byte on".to_owned()),
    }
}
