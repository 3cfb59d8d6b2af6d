//! Options that several commands share.

use clap::Args;
use inqueue::queue::envelope::{RecipientOrder, RecipientSource};

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

fn order(text: &str) -> Result<RecipientOrder, String> {
    let mut order = RecipientOrder([None; 3]);
    let mut slots = order.0.iter_mut();
    for name in text.split(',') {
        let source = match name.trim() {
            "x-original-to" => RecipientSource::XOriginalTo,
            "delivered-to" => RecipientSource::DeliveredTo,
            "to" => RecipientSource::To,
            other => return Err(format!("'{other}' is not x-original-to, delivered-to or to")),
        };
        let slot = slots.next().ok_or("more than three fields")?;
        *slot = Some(source);
    }
    Ok(order)
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
