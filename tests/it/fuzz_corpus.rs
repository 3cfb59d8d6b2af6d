//! The corpora of the fuzz targets, given to the same functions as fuzzing does.
//!
//! A finding becomes a file here (fuzz/README.md). Not here: fuzzing.

use std::fs;
use std::path::{Path, PathBuf};

#[path = "../../fuzz/checks.rs"]
#[expect(unreachable_pub, reason = "the fuzz targets use it as a library")]
mod checks;

/// Files of one corpus, and their bytes: small enough to be committed and read by people.
const FILES_MAX: usize = 60;
const BYTES_MAX: usize = 200 << 10;

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn what_fuzzing_has_found_holds() {
    for (name, check) in checks::ALL {
        let paths = files(&corpora().join(name));
        assert!(!paths.is_empty(), "{name} has no corpus");
        let mut bytes = 0;
        for path in &paths {
            println!("{}", path.display());
            let data = fs::read(path).unwrap();
            bytes += data.len();
            check(&data);
            // Cut short and damaged it holds, too.
            check(&data[..data.len() / 2]);
            let mut damaged = data;
            if let Some(middle) = damaged.len().checked_div(2).filter(|at| *at > 0) {
                damaged[middle] ^= 0xFF;
            }
            check(&damaged);
        }
        assert!(paths.len() <= FILES_MAX, "{name}: {} files: minimise it", paths.len());
        assert!(bytes <= BYTES_MAX, "{name}: {bytes} bytes: minimise it");
    }
}

#[test]
fn each_target_has_a_check_and_a_corpus() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let mut names: Vec<&str> = checks::ALL.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    let stems = |folder: &str| -> Vec<String> {
        let stem = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
        files(&root.join(folder)).iter().map(stem).collect()
    };
    assert_eq!(stems("targets"), names);
    assert_eq!(stems("corpus"), names);
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    for name in names {
        assert!(manifest.contains(&format!("path = \"targets/{name}.rs\"")), "{name}");
    }
}
