//! Lists that a worker uses again from message to message.
//!
//! They borrow from the queue, and can't outlive the batch: for the next they are given on empty.
//! Not here: the part's buffers (`spool`). Invariant: what is kept between two batches is bounded.

use crate::decide::Verdict;
use crate::directory::Directory;
use crate::limits;
use crate::mail::envelope::Recipient;
use crate::mail::header::RecipientField;

/// Lists that borrow from the queue while a batch is in hand.
#[derive(Debug, Default)]
pub(super) struct Memory<'a> {
    pub(super) fields: Vec<(RecipientField, &'a [u8])>,
    pub(super) recipients: Vec<Recipient<'a>>,
    pub(super) verdict: Verdict<'a>,
    /// The post office that the batch is in.
    pub(super) office: Option<&'a Directory>,
}

impl Memory<'_> {
    /// The same memory, empty, for another batch.
    pub(super) fn recycle<'b>(mut self) -> Memory<'b> {
        self.fields.clear();
        self.recipients.clear();
        if self.fields.capacity().max(self.recipients.capacity()) > limits::RECIPIENTS_KEPT_MAX {
            (self.fields, self.recipients) = (Vec::new(), Vec::new());
        }
        // Collecting an emptied vector into one of the same layout keeps its memory.
        Memory {
            fields: self.fields.into_iter().map_while(|_| None).collect(),
            recipients: self.recipients.into_iter().map_while(|_| None).collect(),
            verdict: self.verdict.recycle(),
            office: None,
        }
    }
}
