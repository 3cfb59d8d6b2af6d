//! `inqueue torture`, one round of it: the ledger is in balance, and nothing is left behind.

use crate::readers::skipped;
use crate::support::{inqueue, text};
use std::path::Path;

#[test]
fn a_round_of_torture_balances_its_ledger() {
    let generator = Path::new(env!("CARGO_BIN_EXE_inqueue")).with_file_name("inqueue-gen");
    if !generator.exists() {
        let why = "inqueue-gen isn't built (cargo build --workspace)";
        return skipped("a_round_of_torture_balances_its_ledger", why);
    }
    let folder = tempfile::tempdir().unwrap();
    for seed in ["1", "2", "3"] {
        let place = folder.path().join(seed);
        let output = inqueue()
            .args(["torture", "--messages", "300", "--minutes", "0", "--json", "--seed", seed])
            .arg("--folder")
            .arg(&place)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let ledger: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        for kind in ["lost", "doubled", "wrong", "streams_that_differ"] {
            assert_eq!(ledger[kind], 0, "{ledger:#}");
        }
        assert_eq!(ledger["rounds"], 1);
        assert!(ledger["messages"].as_u64() > Some(250), "{ledger:#}");
        assert!(!place.exists(), "the round's folder goes when all is well");
    }
}
