//! Hands the version of foca that the lock file names to the program.

use std::fs;

fn main() {
    println!("cargo:rerun-if-changed=Cargo.lock");
    let lock = fs::read_to_string("Cargo.lock").unwrap_or_default();
    let version = lock
        .split("[[package]]")
        .find(|part| part.contains("name = \"foca\"\n"))
        .and_then(|part| {
            part.lines()
                .find_map(|line| line.strip_prefix("version = "))
        })
        .map_or("unknown", |text| text.trim_matches('"'));
    println!("cargo:rustc-env=FOCA_VERSION={version}");
}
