//! The queue that ships in `samples/`: a run of it shows every outcome, and its messages are those
//! of the corpus, to the last byte.
//!
//! Not here: the run itself. samples/README.md says where the messages come from.

use crate::decide::say;
use crate::readers::{Seen, judge_all, read_parts};
use crate::real_mail::{corpus, split};
use inqueue::directory::Directory;
use inqueue::mail::date::Time;
use std::collections::HashSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("samples").join(name)
}

/// Offset of the message, and the disposition: ordinal, address, outcome and so on.
const OUTCOMES: &str = "
0     0 rpm-zzzlist@freshrpms.net relayed 2.0.0 by smtp:[mx.freshrpms.net]:25
2551  0 yyyy@localhost.netnoteinc.com dead-letter 5.1.1 [002] as IsReport
9662  0 kevin+dated+1028163438.f677b3@linux.ie failed 5.1.1 [002] to ilug-admin@linux.ie
9662  1 ilug@linux.ie expanded 2.1.5
9662  1 yyyy@localhost.spamassassin.taint.org delivered 2.1.5 of ilug-admin@linux.ie
9662  1 nobody@linux.ie failed 5.1.1 [002] to ilug-admin@linux.ie of ilug-admin@linux.ie
17860 0 albert.white@ireland.sun.com dead-letter 5.1.1 [002] as InvalidReversePath
17860 1 ilug@linux.ie expanded 2.1.5
17860 1 yyyy@localhost.spamassassin.taint.org delivered 2.1.5 of ilug-admin@linux.ie
17860 1 nobody@linux.ie failed 5.1.1 [002] to ilug-admin@linux.ie of ilug-admin@linux.ie
22169 0 ssuciu@sitelite.com relayed 2.0.0
22169 1 ilug@linux.ie expanded 2.1.5
22169 1 yyyy@localhost.spamassassin.taint.org delivered 2.1.5 of ilug-admin@linux.ie
22169 1 nobody@linux.ie failed 5.1.1 [002] to ilug-admin@linux.ie of ilug-admin@linux.ie
24124 0 zzzz@localhost.netnoteinc.com expanded 2.1.5
24124 0 yyyy@localhost.spamassassin.taint.org delivered 2.1.5
24124 0 zzzz@netnoteinc.com relayed 2.0.0
27031 0 yyyy@localhost.netnoteinc.com failed 5.1.1 [002] to ilug-admin@linux.ie
29766 0 yyyy@localhost.netnoteinc.com failed 5.1.1 [002] to exmh-users-admin@spamassassin.taint.org
33404 0 zzzz@localhost.spamassassin.taint.org failed 5.2.2 [017] to ilug-admin@linux.ie
35640 0 yyyy@localhost.spamassassin.taint.org delivered 2.1.5
38649 0 yyyy@localhost.spamassassin.taint.org delivered 2.1.5
44333 0 yyyy@localhost.spamassassin.taint.org delivered 2.1.5
48493 0 zzzz@localhost.spamassassin.taint.org deferred 4.2.2 [017]
51581 0 zzzz@localhost.spamassassin.taint.org deferred 4.2.2 [017]
54997 0 zzzz@localhost.spamassassin.taint.org deferred 4.2.2 [017]
";

#[test]
fn the_sample_queue_shows_every_outcome() {
    let directory = Directory::load(&sample("directory.txt")).unwrap();
    let now = Time::parse_rfc3339(b"2002-10-09T12:00:00Z").unwrap();
    let mut lines = String::new();
    judge_all(sample("queue.mbox").to_str().unwrap(), &directory, now, |judged| {
        for disposition in &judged.verdict.dispositions {
            write!(lines, "\n{:<5} {}", judged.found.offset, say(disposition)).unwrap();
        }
    });
    assert_eq!(lines, OUTCOMES.trim_end());
}

#[test]
fn the_sample_messages_are_those_of_the_corpus() {
    let Some(corpus) = corpus("the_sample_messages_are_those_of_the_corpus") else { return };
    let contents: HashSet<&[u8]> = corpus.iter().map(|message| split(message).1).collect();
    let queue = sample("queue.mbox");
    let found = read_parts(queue.to_str().unwrap(), 1 << 40, |seen| {
        let Seen::Message(found, Some(_)) = seen else { panic!("damage in the sample") };
        contents.contains(found.content.raw())
    });
    assert_eq!(found.concat(), [true; 15]);
}
